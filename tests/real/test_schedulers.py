"""Hosts that a scheduler has started: real Slurm and real mpirun, whose hosts are names on this machine.

Of Kubernetes the pods of an indexed Job are made here as its kubelet and DNS would: a network namespace, a
host name and an /etc/hosts each (https://kubernetes.io/docs/tasks/job/job-with-pod-to-pod-communication/).
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.real.etcd.net import Net
from tests.real.pace import own_ports

import procession

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="host names and Slurm's daemons need root"),
    pytest.mark.timeout(120),
]

TELL = """
import json, os
names = ("RANK", "WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR")
line = json.dumps({name: os.environ[name] for name in names})
with open(os.environ["TOLD"], "a") as file:
    file.write(line + chr(10))
"""


def environ(directory: Path) -> dict[str, str]:
    """An environment for the command; the script tells of itself in a file."""
    (directory / "s.py").write_text(TELL)
    (directory / "told").touch()
    source = str(Path(procession.__file__).parents[1])
    known = {"PYTHONPATH": source, "TOLD": str(directory / "told")}
    return {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "OMPI"))} | known


def told(directory: Path) -> list[str]:
    return sorted((directory / "told").read_text().splitlines())


RUN = [sys.executable, "-m", "procession", "run"]
LINES = [
    '{"RANK": "0", "WORLD_SIZE": "2", "GROUP_RANK": "0", "MASTER_ADDR": "%s"}',
    '{"RANK": "1", "WORLD_SIZE": "2", "GROUP_RANK": "1", "MASTER_ADDR": "%s"}',
]

# mpirun's way to a host: the rest of its words, under the host's name.
AGENT = """#!/bin/sh
while [ "${1#-}" != "$1" ]; do shift; done
host=$1; shift
exec unshare --uts sh -c "hostname $host; $*"
"""


def mpirun(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    agent = directory / "agent"
    agent.write_text(AGENT)
    agent.chmod(0o755)
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return subprocess.run(
        [
            *("mpirun", "--host", "n1:1,n2:1", "--map-by", "ppr:1:node"),
            *("--mca", "plm_rsh_agent", str(agent), "--mca", "oob_tcp_if_include", "lo"),
            *("--mca", "routed", "direct", *RUN, *words, "s.py"),
        ],
        cwd=directory,
        env=environ(directory) | root | {"TMPDIR": "/tmp"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


@pytest.mark.program("mpirun", "openmpi-bin")
def test_mpirun_starts_one_gang(tmp_path: Path) -> None:
    ended = mpirun(tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert told(tmp_path) == [line % "127.0.0.1" for line in LINES]
    assert "told by Open MPI: 2 hosts (OMPI_COMM_WORLD_SIZE=2), this is number 0" in ended.stderr


@pytest.mark.program("mpirun", "openmpi-bin")
def test_mpirun_starts_a_gang_on_each_host_if_that_is_asked_for(tmp_path: Path) -> None:
    ended = mpirun(tmp_path, "--nnodes", "1")
    assert ended.returncode == 0, ended.stderr
    alone = '{"RANK": "0", "WORLD_SIZE": "1", "GROUP_RANK": "0", "MASTER_ADDR": "127.0.0.1"}'
    assert told(tmp_path) == [alone, alone]


CONF = """
ClusterName=t
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/none
CredType=cred/none
StateSaveLocation={here}/state
SlurmdSpoolDir={here}/spool/%n
SlurmctldPidFile={here}/ctld.pid
SlurmdPidFile={here}/%n.pid
SlurmctldLogFile={here}/ctld.log
SlurmdLogFile={here}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=2
RebootProgram=/bin/true
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={first} CPUs=2 RealMemory=100
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={second} CPUs=2 RealMemory=100
PartitionName=p Nodes=n1,n2 Default=YES State=UP
"""


class Slurm:
    """A controller and the daemons of two nodes; names of nodes are found, in a mount namespace."""

    def __init__(self, here: Path) -> None:
        self.here = here
        for name in ("state", "spool/n1", "spool/n2"):
            (here / name).mkdir(parents=True)
        ports = dict(zip(("port", "first", "second"), own_ports(3), strict=True))
        conf = here / "slurm.conf"
        conf.write_text(
            CONF.format(host=socket.gethostname().partition(".")[0], here=here, **ports)
        )
        (here / "hosts").write_text("127.0.0.1 localhost n1 n2\n")
        self.environ = environ(here) | {"SLURM_CONF": str(conf)}
        self._daemons = [self._begin("slurmctld", "-D", "-f", str(conf))]
        self._daemons += [
            self._begin("slurmd", "-D", "-N", n, "-f", str(conf)) for n in ("n1", "n2")
        ]

    def _begin(self, *argv: str) -> subprocess.Popen[bytes]:
        named = ["sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', str(self.here / "hosts")]
        return subprocess.Popen(
            ["unshare", "--mount", *named, *argv],
            env=self.environ | {"PATH": f"{self.environ['PATH']}:/usr/sbin:/sbin"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def srun(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["srun", *words],
            cwd=self.here,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def wait_ready(self) -> None:
        """Until two nodes take work."""
        until = time.monotonic() + 40
        while self.srun("-N2", "--immediate=2", "true").returncode != 0:
            assert time.monotonic() < until, (self.here / "ctld.log").read_text()

    def wait_idle(self) -> None:
        """Until no step of a job is left: its daemon outlives slurmd's."""
        until = time.monotonic() + 40
        while subprocess.run(
            ["squeue", "-h"], env=self.environ, capture_output=True, check=False
        ).stdout:
            assert time.monotonic() < until, "a job does not end"

    def close(self) -> None:
        try:
            self.wait_idle()
        finally:
            for daemon in reversed(self._daemons):
                daemon.terminate()
            for daemon in self._daemons:
                try:
                    daemon.wait(20)
                except subprocess.TimeoutExpired:
                    daemon.kill()
                    daemon.wait()


@pytest.fixture
def slurm() -> Iterator[Slurm]:
    # Its sockets lie deep below: the path of one has 107 characters at most (unix(7)).
    with tempfile.TemporaryDirectory(prefix="slurm-", dir="/tmp") as directory:
        made = Slurm(Path(directory))
        try:
            made.wait_ready()
            yield made
        finally:
            made.close()


@pytest.mark.program("slurmctld", "slurmctld")
@pytest.mark.program("slurmd", "slurmd")
@pytest.mark.program("srun", "slurm-client")
def test_srun_starts_one_gang(slurm: Slurm) -> None:
    ended = slurm.srun("-N2", "--ntasks-per-node=1", *RUN, "s.py")
    assert ended.returncode == 0, ended.stderr
    assert told(slurm.here) == [line % "n1" for line in LINES]
    assert "the first is n1 (SLURM_STEP_NODELIST=n[1-2])" in ended.stderr
    crowded = slurm.srun("-N2", "-n4", *RUN, "--nnodes", "2", "s.py")
    assert crowded.returncode == 2
    assert (
        "Slurm has started several processes a host (SLURM_STEP_NUM_TASKS=4 on 2" in crowded.stderr
    )


class Job:
    """The pods of an indexed Job with a headless service.

    Args:
        net: Where they are; pod number n has address n + 1.
        pods: How many there are.
    """

    def __init__(self, net: Net, pods: int) -> None:
        self.net = net
        self.names = [(f"{net.subnet}.{n + 1}", f"train-{n}") for n in range(pods)]

    def start(self, index: int, *words: str) -> subprocess.Popen[str]:
        """Start the command in a pod, which knows itself; the others' names are not there yet."""
        address, name = self.names[index]
        self._hosts(index).write_text(f"127.0.0.1 localhost\n{address} {self._full(name)} {name}\n")
        kubelet = 'mount --bind "$0" /etc/hosts && hostname "$1" && shift && exec "$@"'
        return self.net.start(
            index + 1,
            *("unshare", "--mount", "sh", "-c", kubelet, str(self._hosts(index)), name),
            *(*RUN, *words, "s.py"),
            env=environ(self.net.directory) | {"JOB_COMPLETION_INDEX": str(index)},
        )

    def publish(self, index: int) -> None:
        """Have a pod find the others by their names."""
        with self._hosts(index).open("a") as file:
            file.writelines(f"{address} {self._full(name)}\n" for address, name in self.names)

    def _hosts(self, index: int) -> Path:
        return self.net.directory / f"hosts{index}"

    def _full(self, name: str) -> str:
        return f"{name}.service.default.svc.cluster.local"


@pytest.mark.program("ip", "iproute2")
def test_pods_of_an_indexed_job_are_one_gang(tmp_path: Path) -> None:
    with Net(tmp_path, members=0) as net:
        job = Job(net, 3)
        pods = [job.start(index, "--nnodes", "3") for index in (2, 1, 0)]
        said = pods[0].stderr
        assert said is not None
        line = said.readline()
        assert "waiting for the place where the hosts meet (train-0.service.default.svc" in line
        for index in range(3):
            job.publish(index)
        ends = [(pod.communicate(timeout=60)[1], pod.returncode) for pod in pods]
        assert [code for _, code in ends] == [0, 0, 0], ends
        assert "told by Kubernetes: this is number 0 (JOB_COMPLETION_INDEX=0)" in ends[2][0]
        lines = [json.loads(line) for line in told(tmp_path)]
        assert [(line["RANK"], line["GROUP_RANK"]) for line in lines] == [
            ("0", "0"),
            ("1", "1"),
            ("2", "2"),
        ]
        assert {(line["WORLD_SIZE"], line["MASTER_ADDR"]) for line in lines} == {
            ("3", "train-0.service.default.svc.cluster.local")
        }
