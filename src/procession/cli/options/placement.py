"""Where a scheduler has put this process among others, one a host, as its environment tells. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_POD_PORT = 29400  # each pod has an address of its own
_FIRST_PORT, _PORTS = 20000, 12000  # below the ephemeral range, which begins at 32768


class Said(NamedTuple):
    """What one variable tells, or several.

    Attributes:
        value: What they tell.
        source: Their names and values.
    """

    value: str
    source: str


class Placement(NamedTuple):
    """This process among those of its job.

    Attributes:
        origin: The scheduler, as people call it.
        hosts: How many hosts there are; None where it does not tell.
        rank: This one's number among them.
        first: Name or address of the first host; None where it does not tell.
        port: Another for each job, where jobs share hosts.
        crowd: Where it has started several processes a host: that, as its variables tell.
    """

    origin: str
    hosts: Said | None
    rank: Said
    first: Said | None
    port: int
    crowd: str = ""


def find_placement(environ: Mapping[str, str], full_name: Callable[[], str]) -> Placement | None:
    """Look for what Slurm, Open MPI or Kubernetes tells; None where nobody tells anything.

    Args:
        environ: The environment.
        full_name: Finds this host's name with its domain; asked in a pod alone.
    """
    return _slurm(environ) or _open_mpi(environ) or _kubernetes(environ, full_name)


def first_host(nodes: str) -> str:
    """The first name of a list as Slurm writes it: ``gpu[003-005,7],login1`` begins with gpu003."""
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])*", nodes)
    return re.sub(r"\[([^\],-]*)[^\]]*\]", r"\1", first[0] if first else nodes)


def _slurm(environ: Mapping[str, str]) -> Placement | None:
    """A step that srun has begun; what a batch script runs without srun is alone on its host."""
    hosts, tasks, rank = (
        _number(environ, f"SLURM_{name}") for name in ("STEP_NUM_NODES", "STEP_NUM_TASKS", "NODEID")
    )
    nodes = environ.get("SLURM_STEP_NODELIST", "")
    if hosts is None or tasks is None or rank is None or not nodes:
        return None
    job, step = (_number(environ, f"SLURM_{name}_ID") or 0 for name in ("JOB", "STEP"))
    return Placement(
        "Slurm",
        _said(environ, "SLURM_STEP_NUM_NODES"),
        _said(environ, "SLURM_NODEID"),
        Said(first_host(nodes), f"SLURM_STEP_NODELIST={nodes}"),
        _port_of(job, step),
        "" if tasks == hosts else f"SLURM_STEP_NUM_TASKS={tasks} on {hosts} hosts",
    )


def _open_mpi(environ: Mapping[str, str]) -> Placement | None:
    """A process of mpirun, whose own address stands for the first host's: they are one as a rule."""
    size, local, rank = (
        _number(environ, f"OMPI_COMM_WORLD_{name}") for name in ("SIZE", "LOCAL_SIZE", "RANK")
    )
    if size is None or local is None or rank is None:
        return None
    uri = environ.get("OMPI_MCA_orte_hnp_uri", "")
    found = re.search(r"tcp://([^,:;]+)", uri)
    return Placement(
        "Open MPI",
        _said(environ, "OMPI_COMM_WORLD_SIZE"),
        _said(environ, "OMPI_COMM_WORLD_RANK"),
        Said(found[1], f"OMPI_MCA_orte_hnp_uri={uri}") if found else None,
        _port_of(_number(environ, "OMPI_MCA_ess_base_jobid") or 0, 0),
        "" if local == 1 else f"OMPI_COMM_WORLD_LOCAL_SIZE={local}",
    )


def _kubernetes(environ: Mapping[str, str], full_name: Callable[[], str]) -> Placement | None:
    """A pod of an indexed Job, or of a JobSet's: its host name ends with its index."""
    index = _number(environ, "JOB_COMPLETION_INDEX")
    if index is None:
        return None
    name = full_name()
    host, dot, domain = name.partition(".")
    known = host.endswith(f"-{index}")
    first = f"{host.removesuffix(str(index))}0{dot}{domain}"
    return Placement(
        "Kubernetes",
        None,
        _said(environ, "JOB_COMPLETION_INDEX"),
        Said(first, f"host name {name}") if known else None,
        _POD_PORT,
    )


def _said(environ: Mapping[str, str], name: str) -> Said:
    return Said(environ[name], f"{name}={environ[name]}")


def _number(environ: Mapping[str, str], name: str) -> int | None:
    text = environ.get(name, "")
    return int(text) if text.isascii() and text.isdigit() else None


def _port_of(job: int, step: int) -> int:
    return _FIRST_PORT + (61 * job + step) % _PORTS
