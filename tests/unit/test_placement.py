"""What Slurm, Open MPI and Kubernetes tell in the environment, and what a run takes of it."""

from __future__ import annotations

import pytest

from procession._store.endpoint import Endpoint
from procession.cli.options.hub import HubWish
from procession.cli.options.nodes import Nodes, read_nodes
from procession.cli.options.placement import Placement, Said, find_placement, first_host
from procession.errors import UsageError
from procession.run import parse_args

# As of Slurm 22.05, Open MPI 4.1 and Kubernetes 1.31: recorded, but for what nobody reads here.
SLURM = {
    "SLURM_JOB_ID": "4711",
    "SLURM_JOB_NODELIST": "gpu[003-004]",
    "SLURM_NNODES": "2",
    "SLURM_NODEID": "1",
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": "1",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NODELIST": "gpu[003-004]",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
}
# What sbatch starts before any srun.
BATCH = {
    name: SLURM[name] for name in ("SLURM_JOB_ID", "SLURM_NNODES", "SLURM_NODEID", "SLURM_PROCID")
}
MPI = {
    "OMPI_COMM_WORLD_LOCAL_SIZE": "1",
    "OMPI_COMM_WORLD_RANK": "1",
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_MCA_ess_base_jobid": "161415169",
    "OMPI_MCA_orte_hnp_uri": "161415168.0;tcp://10.77.0.1,172.17.0.1:42037;tcp6://[fd00::2]:58979",
}
POD = {"JOB_COMPLETION_INDEX": "1", "KUBERNETES_SERVICE_HOST": "10.0.0.1", "HOSTNAME": "train-1"}
POD_NAME = "train-1.gang.default.svc.cluster.local"


def found(environ: dict[str, str], name: str = POD_NAME) -> Placement | None:
    return find_placement(environ, lambda: name)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("n1", "n1"),
        ("n[1-3]", "n1"),
        ("gpu[003-005,7],login1", "gpu003"),
        ("gpu[3,5]", "gpu3"),
        ("a1,b[2-3]", "a1"),
        ("rack[1-2]node[3-4]", "rack1node3"),
        ("r[1,2]n[3-4]x,z", "r1n3x"),
    ],
)
def test_the_first_of_slurms_hosts(nodes: str, first: str) -> None:
    assert first_host(nodes) == first


def test_what_slurm_tells() -> None:
    assert found(SLURM) == Placement(
        "Slurm",
        Said("2", "SLURM_STEP_NUM_NODES=2"),
        Said("1", "SLURM_NODEID=1"),
        Said("gpu003", "SLURM_STEP_NODELIST=gpu[003-004]"),
        20000 + 61 * 4711 % 12000,
    )


def test_what_open_mpi_tells() -> None:
    uri = MPI["OMPI_MCA_orte_hnp_uri"]
    assert found(MPI) == Placement(
        "Open MPI",
        Said("2", "OMPI_COMM_WORLD_SIZE=2"),
        Said("1", "OMPI_COMM_WORLD_RANK=1"),
        Said("10.77.0.1", f"OMPI_MCA_orte_hnp_uri={uri}"),
        20000 + 61 * 161415169 % 12000,
    )


@pytest.mark.parametrize(
    ("name", "first"),
    [
        (POD_NAME, "train-0.gang.default.svc.cluster.local"),
        ("set-workers-0-1.gang", "set-workers-0-0.gang"),
        ("train-1", "train-0"),
        ("node-7.example.org", None),
    ],
)
def test_what_an_indexed_job_tells(name: str, first: str | None) -> None:
    told = found(POD, name)
    assert told is not None
    assert (told.hosts, told.rank.value) == (None, "1")
    assert (told.first.value if told.first else None) == first


@pytest.mark.parametrize(
    "environ",
    [
        {},
        BATCH,
        {**SLURM, "SLURM_NODEID": "x"},
        {**MPI, "OMPI_COMM_WORLD_RANK": ""},
        {"JOB_COMPLETION_INDEX": "-1"},
    ],
)
def test_nobody_tells_anything(environ: dict[str, str]) -> None:
    assert found(environ) is None


def nodes(environ: dict[str, str], *words: str) -> Nodes | None:
    return read_nodes(parse_args([*words, "s.py"]), found(environ))


def test_a_step_of_slurms_is_one_gang() -> None:
    run = nodes(SLURM)
    assert run is not None
    assert (run.least, run.most, run.node_rank) == (2, 2, 1)
    assert run.hub == HubWish(Endpoint("gpu003", 20000 + 61 * 4711 % 12000), False, False)
    assert (run.master_addr, run.master_port) == ("", None)
    assert run.found == (
        "told by Slurm: 2 hosts (SLURM_STEP_NUM_NODES=2), this is number 1 (SLURM_NODEID=1), "
        "the first is gpu003 (SLURM_STEP_NODELIST=gpu[003-004])"
    )


def test_the_first_host_has_the_hub() -> None:
    run = nodes({**SLURM, "SLURM_NODEID": "0"}, "--rdzv-backend", "c10d")
    assert run is not None
    assert run.hub is not None
    assert run.hub.serves is True


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        (SLURM, ("--nnodes", "1")),
        (SLURM, ("--standalone",)),
        ({**SLURM, "SLURM_STEP_NUM_TASKS": "4"}, ()),
        ({**MPI, "OMPI_COMM_WORLD_LOCAL_SIZE": "2"}, ()),
        ({**MPI, "OMPI_COMM_WORLD_SIZE": "1", "OMPI_COMM_WORLD_RANK": "0"}, ()),
        (POD, ()),
    ],
)
def test_a_run_of_one_host_stays_one(environ: dict[str, str], words: tuple[str, ...]) -> None:
    assert nodes(environ, *words) is None


def test_a_pod_is_one_of_as_many_as_were_given() -> None:
    run = nodes(POD, "--nnodes", "4")
    assert run is not None
    assert (run.most, run.node_rank) == (4, 1)
    assert run.hub == HubWish(
        Endpoint("train-0.gang.default.svc.cluster.local", 29400), False, False
    )
    assert run.found.startswith("told by Kubernetes: this is number 1 (JOB_COMPLETION_INDEX=1), ")


@pytest.mark.parametrize(
    "words",
    [
        ("--nnodes", "2", "--node-rank", "0", "--master-addr", "a", "--master-port", "7"),
        ("--node-rank", "0", "--rdzv-endpoint", "a:7"),
    ],
)
def test_what_is_given_wins(words: tuple[str, ...]) -> None:
    run = nodes(SLURM, *words)
    assert run is not None
    assert (run.node_rank, run.hub) == (0, HubWish(Endpoint("a", 7), True, True))
    assert "number" not in run.found
    assert "first" not in run.found


def test_a_step_that_is_a_part_of_the_run_has_no_ranks_for_it() -> None:
    place = ("--rdzv-backend", "etcd", "--rdzv-endpoint", "e", "--rdzv-id", "j")
    run = nodes(SLURM, "--nnodes", "2:8", *place)
    assert run is not None
    assert (run.node_rank, run.found) == (None, "")
    whole = nodes(SLURM, *place)
    assert whole is not None
    assert whole.node_rank == 1


@pytest.mark.parametrize(
    ("environ", "words", "message"),
    [
        (
            SLURM,
            ("--nnodes", "4"),
            "--nnodes 4: Slurm has started this on 2 hosts (SLURM_STEP_NUM_NODES=2). Leave --nnodes out, or say where",
        ),
        (
            {**SLURM, "SLURM_STEP_NUM_TASKS": "4"},
            ("--nnodes", "2"),
            "--nnodes 2: Slurm has started several processes a host (SLURM_STEP_NUM_TASKS=4 on 2 hosts), and "
            "procession run is one a host, with -n workers. Have one started on each, or say where",
        ),
        (
            {"JOB_COMPLETION_INDEX": "2"},
            ("--nnodes", "2"),
            "--nnodes 2: this is a host beyond them (JOB_COMPLETION_INDEX=2). Give another number, or say where",
        ),
        (
            {k: v for k, v in MPI.items() if "hnp" not in k},
            (),
            "--nnodes 2: Open MPI does not tell which host is the first: say where the hosts meet",
        ),
    ],
)
def test_what_is_not_told_has_to_be_typed(
    environ: dict[str, str], words: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        nodes(environ, *words)
    assert str(caught.value).startswith(message)
