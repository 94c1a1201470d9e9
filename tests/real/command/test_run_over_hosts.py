"""``procession run`` on several hosts, which here are several commands that meet at one place."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.real.pace import own_ports

from procession._etcd.client import Client
from procession._etcd.settings import read_settings
from procession._os.proc import children, descendants
from procession.testing import stop, wait_for_text, wait_gone

pytestmark = pytest.mark.timeout(150)

TELL = """
import json, os, sys, time
names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE",
         "ROLE_RANK", "ROLE_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RESTART_COUNT",
         "TORCHELASTIC_RUN_ID")
name = f"{os.environ['TORCHELASTIC_RESTART_COUNT']}-{os.environ['RANK']}"
line = json.dumps({**{n: os.environ[n] for n in names}, "pid": os.getpid(), "name": name})
fd = os.open(f"{sys.argv[1]}/all", os.O_WRONLY | os.O_APPEND)
os.write(fd, (line + chr(10)).encode())
"""
UNTIL_TOLD = (
    TELL
    + """
while not os.path.exists(f"{sys.argv[1]}/go"):
    time.sleep(0.02)
code = open(f"{sys.argv[1]}/go").read()
if name in code:
    sys.exit(int(code.split()[1]))
"""
)

# Seconds, of a host whose lease is waited for to run out: whoever goes on has a long one.
SHORT = "lease=5"
FENCED = "lease=10"  # a guardian that is late has 1.5 s


# Another host's name and clock, for whatever Python starts under it: launcher and workers.
DISGUISE = """
import os, time
real, uname = time.time_ns, os.uname()
time.time_ns = lambda: real() + int(os.environ["SIMULATED_SKEW"])
known = os.uname_result((uname[0], os.environ["SIMULATED_HOST"], *uname[2:]))
os.uname = lambda: known
"""
# Rank 1 raises first, and is held up at its exit; rank 0 leaves some seconds later, and is dead at once.
TWO_FAIL = """
import atexit, os, sys, threading, time
while not os.path.exists(f"{sys.argv[1]}/go"):
    time.sleep(0.02)
if os.environ["RANK"] == "0":
    while not os.path.exists(f"{sys.argv[1]}/raised"):
        time.sleep(0.02)
    time.sleep(3)
    sys.exit(5)
atexit.register(threading.Event().wait, 60)
atexit.register(open, f"{sys.argv[1]}/raised", "w")
raise ValueError("the first of all")
"""


class Hosts:
    """Commands that share a place to meet, and a directory in which their workers tell of themselves.

    Args:
        here: Where they are started.
        place: The options that name the place.
    """

    def __init__(self, here: Any, *place: str) -> None:
        self.here, self.place = here, place
        self.conf = "request_timeout=10," if "etcd" in place else ""
        self.told = here.directory / "told"
        self.told.mkdir()
        (self.told / "all").touch()
        here.file("s.py", UNTIL_TOLD)

    def disguise(self, name: str, skew: int) -> dict[str, str]:
        """An environment in which Python finds another host's name, and its clock off by some ns."""
        (self.here.directory / "sitecustomize.py").write_text(DISGUISE)
        path = f"{self.here.directory}{os.pathsep}{self.here.environ['PYTHONPATH']}"
        return {"SIMULATED_HOST": name, "SIMULATED_SKEW": str(skew), "PYTHONPATH": path}

    def report(self, rank: int) -> dict[str, Any]:
        """report.json of the host of that rank."""
        runs = self.here.directory / f"runs{rank}"
        data: dict[str, Any] = json.loads((runs / "latest" / "report.json").read_text())
        return data

    def start(
        self,
        rank: int,
        *words: str,
        conf: str = "lease=30",
        program: tuple[str, ...] = ("s.py",),
        **kw: Any,
    ) -> Any:
        options = (
            "--rdzv-conf",
            f"is_host={int(rank == 0)},{self.conf}{conf}",
            "--node-rank",
            str(rank),
        )
        return self.here.start(*self.place, *options, *words, *program, str(self.told), **kw)

    def workers(self, generation: int, count: int) -> list[dict[str, str]]:
        """What the workers of a gang have told, by rank, once all have."""
        names = [f"{generation}-{rank}" for rank in range(count)]
        for name in names:
            text = wait_for_text(self.told / "all", f'"name": "{name}"', 60)
        whole = text[: text.rfind("\n")]  # another may just be writing
        told = {worker["name"]: worker for worker in map(json.loads, whole.splitlines())}
        return [told[name] for name in names]

    def go(self, text: str = "") -> None:
        """Have the workers end: all well, or ``GENERATION-RANK STATUS``."""
        (self.told / ".go").write_text(text)
        (self.told / ".go").rename(self.told / "go")

    def end(self, process: Any) -> tuple[int, str]:
        _, err = process.communicate(timeout=60)
        return process.returncode, err


ETCD = pytest.param("etcd", marks=pytest.mark.program("etcd", "etcd-server"))


@pytest.fixture
def etcd(make_cluster: Callable[..., Any]) -> Any:
    """An etcd of one member."""
    return make_cluster().members[0]


@pytest.fixture
def hosts(here: Any, request: pytest.FixtureRequest) -> Hosts:
    """Hosts that meet at etcd; or, where a test says ``c10d`` or ``static``, at the hub of the first."""
    kind = getattr(request, "param", "etcd")
    if kind == "etcd":
        endpoint = request.getfixturevalue("etcd").endpoint
        return Hosts(
            here, "--rdzv-backend", "etcd", "--rdzv-endpoint", endpoint, "--rdzv-id", "job"
        )
    endpoint = f"127.0.0.1:{own_ports(1)[0]}"
    return Hosts(here, "--rdzv-backend", kind, "--rdzv-endpoint", endpoint, "--rdzv-id", "job")


everywhere = pytest.mark.parametrize("hosts", [ETCD, "c10d", "static"], indirect=True)
elastic = pytest.mark.parametrize("hosts", [ETCD, "c10d"], indirect=True)
only_etcd = pytest.mark.parametrize("hosts", [ETCD], indirect=True)


@everywhere
def test_workers_find_themselves_in_one_gang(hosts: Hosts) -> None:
    second = hosts.start(1, "--nnodes", "2", "-n", "2")
    first = hosts.start(0, "--nnodes", "2", "-n", "1")
    told = hosts.workers(0, 3)
    hosts.go()
    assert [hosts.end(process)[0] for process in (first, second)] == [0, 0]
    assert [worker["LOCAL_RANK"] for worker in told] == ["0", "0", "1"]
    assert [worker["GROUP_RANK"] for worker in told] == ["0", "1", "1"]
    assert [worker["LOCAL_WORLD_SIZE"] for worker in told] == ["1", "2", "2"]
    common = ("WORLD_SIZE", "ROLE_WORLD_SIZE", "GROUP_WORLD_SIZE", "MASTER_ADDR")
    assert {tuple(worker[name] for name in common) for worker in told} == {
        ("3", "3", "2", "127.0.0.1")
    }
    assert len({worker["MASTER_PORT"] for worker in told}) == 1
    assert {worker["TORCHELASTIC_RUN_ID"] for worker in told} == {"job"}
    assert hosts.here.left() == []


@everywhere
def test_a_failure_is_the_same_everywhere(hosts: Hosts) -> None:
    second = hosts.start(1, "--nnodes", "2", "-n", "2")
    first = hosts.start(0, "--nnodes", "2")
    hosts.workers(0, 3)
    hosts.go("0-2 42")
    ends = [hosts.end(process) for process in (first, second)]
    assert [code for code, _ in ends] == [42, 42]
    for _, text in ends:
        assert "rank      : 2 (local_rank: 1)" in text
        assert "exitcode  : 42" in text
        assert f"the run has failed: workers failed on {os.uname().nodename}" in text
    assert hosts.here.left() == []


@elastic
def test_the_first_failure_is_the_cause_whatever_the_clocks_show(hosts: Hosts) -> None:
    hosts.here.file("s.py", TWO_FAIL)
    disguises = [hosts.disguise("gpu1", 0), hosts.disguise("gpu2", -3600 * 10**9)]
    processes = [
        hosts.start(rank, "--nnodes", "2", "--log-dir", f"runs{rank}", environ=disguises[rank])
        for rank in (0, 1)
    ]
    hosts.go()
    ends = [hosts.end(process) for process in processes]
    assert [code for code, _ in ends] == [1, 1]
    reports = [text.partition("=====\n")[2].rpartition("=====\n")[0] for _, text in ends]
    assert reports[0] == reports[1]
    text = " ".join(reports[0].split())
    assert "2 hosts: failed on gpu1, gpu2" in text
    ahead = re.search(r"the clock of gpu1 is (\d+\.\d)", text)
    assert ahead
    assert abs(float(ahead[1]) - 3600) < 30  # told from when messages came, on a loaded machine
    assert "Other failures: rank 0 on gpu1 (pid: " in text
    assert text.partition("Root cause (first failure):")[2].find("host : gpu2 rank : 1") > 0
    assert text.rstrip(" =").endswith("ValueError: the first of all")
    files = [hosts.report(rank) for rank in (0, 1)]
    for same in ("root_cause", "failures", "stopped", "ledger", "hosts", "exit_code", "message"):
        assert files[0][same] == files[1][same]
    assert [failure["rank"] for failure in files[0]["failures"]] == [1, 0]
    later = files[0]["failures"][1]
    between = later["timestamp_ns"] - files[0]["root_cause"]["timestamp_ns"]
    assert between + later["doubt_ns"] > 2.9e9
    assert [host["fate"] for host in files[0]["hosts"]] == ["failed", "failed"]


@everywhere
def test_the_budget_is_the_runs(hosts: Hosts) -> None:
    words = ("--nnodes", "2", "--max-restarts", "1")
    processes = [hosts.start(rank, *words) for rank in (0, 1)]
    hosts.workers(0, 2)
    hosts.go("0-0 7")
    again = hosts.workers(1, 2)
    assert [hosts.end(process)[0] for process in processes] == [0, 0]
    assert {worker["TORCHELASTIC_RESTART_COUNT"] for worker in again} == {"1"}


@only_etcd
def test_the_policy_is_the_runs(hosts: Hosts) -> None:
    words = ("--nnodes", "2", "--max-restarts", "3", "--no-restart-on", "signal,7")
    processes = [hosts.start(rank, *words) for rank in (0, 1)]
    hosts.workers(0, 2)
    hosts.go("0-1 7")
    for code, text in map(hosts.end, processes):
        assert code == 7
        here = os.uname().nodename
        assert (
            f"the run has failed: workers failed on {here} (rank 1 on {here} failed (exit code 7); "
            "no further attempt: --no-restart-on 7)"
        ) in text


@only_etcd
def test_each_host_tells_of_its_part(hosts: Hosts) -> None:
    words = ("--nnodes", "2", "--max-restarts", "1")
    processes = [hosts.start(rank, *words) for rank in (0, 1)]
    hosts.workers(0, 2)
    hosts.go("0-1 7")
    hosts.workers(1, 2)
    assert [hosts.end(process)[0] for process in processes] == [0, 0]
    states = {}
    for path in (hosts.here.directory / "procession-runs").glob("job_*/events.jsonl"):
        told = [json.loads(line)["metadata"] for line in path.read_text().splitlines()]
        states[told[0]["group_rank"]] = [each["state"] for each in told]
        assert {each["rdzv_backend"] for each in told} == {"etcd"}
        assert told[-1]["agent_restarts"] == 1
        assert json.loads(told[0]["metadata"])["group_world_size"] == 2
    end = ["RESTARTING", "RENDEZVOUS", "START", "SUCCEEDED", "SUCCEEDED"]
    for each in states.values():
        assert (each[:2], each[-5:]) == (["RENDEZVOUS", "START"], end)
    # A host may be told to stop once it has told of its failure; the other's worker may be through.
    assert set(states[1][2:-5]) - {"STOPPING"} == {"FAILED"}
    assert set(states[0][2:-5]) <= {"STOPPING", "TERMINATED", "SUCCEEDED"}


@only_etcd
def test_all_hosts_pause_before_another_attempt(hosts: Hosts) -> None:
    words = ("--nnodes", "2", "--max-restarts", "1", "--restart-backoff", "1s")
    processes = [hosts.start(rank, *words) for rank in (0, 1)]
    hosts.workers(0, 2)
    hosts.go("0-0 7")
    hosts.workers(1, 2)
    lines = set()
    for code, text in map(hosts.end, processes):
        assert code == 0
        lines |= {line for line in text.splitlines() if "attempt 2 of 2" in line}
    assert len(lines) == 1  # the same pause on both
    name = os.uname().nodename
    line = rf"procession: attempt 2 of 2: rank 0 on {name} failed \(exit code 7\); restarting in (\S+) s"
    found = re.fullmatch(line, lines.pop())
    assert found is not None
    assert 0.7 <= float(found[1]) <= 1


@only_etcd
def test_a_signal_ends_a_pause(hosts: Hosts) -> None:
    words = ("--nnodes", "2", "--max-restarts", "1", "--restart-backoff", "10m")
    processes = [hosts.start(rank, *words) for rank in (0, 1)]
    hosts.workers(0, 2)
    hosts.go("0-0 7")
    for process in processes:
        while "restarting in" not in process.stderr.readline():
            pass
    for process in processes:
        process.send_signal(signal.SIGINT)
        assert hosts.end(process)[0] == 128 + signal.SIGINT


# Rank 1 is done as soon as both are there.
ONE_IS_DONE = """
echo '{"name": "0-'$RANK'", "pid": '$$'}' >> $0/all
test $RANK = 1 && exit
until test -e $0/go; do sleep 0.05; done
"""


@pytest.mark.stress  # for the seconds that it waits
@elastic
def test_a_host_that_is_done_waits_by_no_clock(hosts: Hosts) -> None:
    """For longer than any time that a host waits for others by."""
    program = ("sh", "-c", ONE_IS_DONE)
    conf = "join_timeout=8,last_call_timeout=1,lease=6"
    words = ("--nnodes", "2", "--no-python")
    running, done = (hosts.start(rank, *words, conf=conf, program=program) for rank in (0, 1))
    _, worker = hosts.workers(0, 2)
    wait_gone([int(worker["pid"])])
    with pytest.raises(subprocess.TimeoutExpired):
        done.wait(10)
    assert running.poll() is None
    hosts.go()
    assert [hosts.end(process)[0] for process in (running, done)] == [0, 0]


@only_etcd
def test_a_host_that_dies_before_the_next_gang_starts(hosts: Hosts) -> None:
    """It is lost, and counts as that: that it cannot be reached says nothing before its lease is over."""
    words = ("--nnodes", "1:2", "--max-restarts", "2", "--restart-backoff", "2s")
    stays = hosts.start(0, *words)  # it leads
    while "waiting for" not in stays.stderr.readline():
        pass
    dies = hosts.start(1, *words, conf=SHORT)
    hosts.workers(0, 2)
    hosts.go("0-0 7")
    while "restarting in" not in dies.stderr.readline():
        pass
    dies.kill()
    dies.communicate()
    code, text = hosts.end(stays)
    assert code == 0, text
    assert "attempt 3 of 3: lost " in text


@elastic
def test_one_host_is_ended_and_the_other_goes_on(hosts: Hosts) -> None:
    stays, leaves = (hosts.start(rank, "--nnodes", "1:2") for rank in (0, 1))
    hosts.workers(0, 2)
    leaves.send_signal(signal.SIGTERM)
    assert hosts.end(leaves)[0] == 128 + signal.SIGTERM
    alone = hosts.workers(1, 1)
    assert alone[0]["WORLD_SIZE"] == "1"
    hosts.go()
    assert hosts.end(stays)[0] == 0


# A rank finds a connection broken once the worker of the other is about to go, which waits for that.
MISSES_A_PEER = (
    """
import os, signal, sys, time
there = lambda what: os.path.exists(f"{sys.argv[1]}/{what}")
def leave(*_):
    open(f"{sys.argv[1]}/goes", "w").close()
    while not there("missed"):
        time.sleep(0.02)
    sys.exit()
first = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
misses = first and os.environ["RANK"] == MISSES
if first and not misses:
    signal.signal(signal.SIGTERM, leave)
"""
    + TELL
    + """
while not there("go"):
    if misses and there("goes"):
        open(f"{sys.argv[1]}/missed", "w").close()
        raise ConnectionResetError("by peer")
    time.sleep(0.02)
"""
)


@pytest.mark.parametrize("hosts", ["c10d"], indirect=True)
def test_who_misses_the_workers_of_a_host_that_leaves_has_not_failed(hosts: Hosts) -> None:
    hosts.here.file("s.py", f"MISSES = '0'{MISSES_A_PEER}")
    stays, leaves = (hosts.start(rank, "--nnodes", "1:2") for rank in (0, 1))
    hosts.workers(0, 2)
    leaves.send_signal(signal.SIGTERM)
    assert hosts.end(leaves)[0] == 128 + signal.SIGTERM
    hosts.workers(1, 1)
    hosts.go()
    code, text = hosts.end(stays)
    assert code == 0, text


@elastic
def test_who_misses_workers_that_were_stopped_to_take_a_host_in_has_not_failed(
    hosts: Hosts,
) -> None:
    hosts.here.file("s.py", f"MISSES = '1'{MISSES_A_PEER}")
    words = ("--nnodes", "2:3")
    conf = "lease=30,last_call_timeout=0"
    first = hosts.start(0, *words, conf=conf)
    while "waiting for" not in (line := first.stderr.readline()):  # it leads
        assert line, "it has ended"
    second = hosts.start(1, *words, conf=conf)
    _, worker = hosts.workers(0, 2)
    stop(second.pid)  # it hears of the third later than of its own worker's end
    third = hosts.start(2, *words, conf=conf)
    assert not wait_gone([int(worker["pid"])])
    second.send_signal(signal.SIGCONT)
    hosts.workers(1, 3)
    hosts.go()
    for code, text in map(hosts.end, (first, second, third)):
        assert code == 0, text


CATCHES = """
import os, signal, sys
def caught(*_):
    with open(f"{sys.argv[1]}/caught", "w") as file:
        file.write("yes")
signal.signal(signal.SIGUSR1, caught)
"""


@pytest.mark.parametrize("hosts", ["c10d"], indirect=True)
def test_a_signal_is_passed_on_to_workers_that_catch_it(hosts: Hosts) -> None:
    hosts.here.file("s.py", CATCHES + UNTIL_TOLD)
    process = hosts.start(0, "--nnodes", "1:2", conf="lease=30,last_call_timeout=0")
    hosts.workers(0, 1)
    process.send_signal(signal.SIGUSR1)
    wait_for_text(hosts.told / "caught", "yes")
    hosts.go()
    assert hosts.end(process)[0] == 0


@elastic
def test_a_signal_while_hosts_are_waited_for(hosts: Hosts) -> None:
    process = hosts.start(0, "--nnodes", "2")
    while "waiting for 1 of 2 hosts (have " not in (line := process.stderr.readline()):
        assert line, "it has ended"
    process.send_signal(signal.SIGINT)
    assert hosts.end(process)[0] == 128 + signal.SIGINT
    assert not (hosts.here.directory / "procession-runs" / "latest").exists()


# As soon as it is there the worker of rank 1 stops the agent that has started it.
STOPS_ITS_AGENT = """
while read key value; do test $key = PPid: && agent=$value; done < /proc/$PPID/status
name=$TORCHELASTIC_RESTART_COUNT-$RANK
test $name = 0-1 && kill -STOP $agent
echo '{"name": "'$name'", "pid": '$$'}' >> $0/all
until test -e $0/go; do sleep 0.05; done
"""


@elastic
def test_an_agent_that_is_stopped_while_it_starts_its_workers(hosts: Hosts) -> None:
    """The guardian knows the end of the lease before the first worker is there."""
    words = ("--nnodes", "1:2", "--max-restarts", "1", "--no-python")
    program = ("sh", "-c", STOPS_ITS_AGENT)
    stays = hosts.start(0, *words, program=program)
    stopped = hosts.start(1, *words, conf=FENCED, program=program)
    old = hosts.workers(0, 2)
    hosts.workers(1, 1)
    assert not wait_gone([int(worker["pid"]) for worker in old], 0)
    stopped.send_signal(signal.SIGCONT)
    assert hosts.end(stopped)[0] == 69
    hosts.go()
    assert hosts.end(stays)[0] == 0
    assert hosts.here.left() == []


@elastic
def test_an_agent_is_killed_and_the_rest_goes_on(hosts: Hosts) -> None:
    words = ("--nnodes", "1:2", "--max-restarts", "1")
    stays, dies = hosts.start(0, *words), hosts.start(1, *words, conf=SHORT)
    old = hosts.workers(0, 2)
    dies.kill()
    dies.communicate()
    hosts.workers(1, 1)
    assert not wait_gone([int(worker["pid"]) for worker in old], 0)
    hosts.go()
    assert hosts.end(stays)[0] == 0
    assert hosts.here.left() == []


@elastic
def test_a_stopped_agents_workers_are_gone_before_the_next_gang(hosts: Hosts) -> None:
    words = ("--nnodes", "1:2", "--max-restarts", "1")
    stays, stopped = hosts.start(0, *words), hosts.start(1, *words, conf=FENCED)
    old = hosts.workers(0, 2)
    stop(stopped.pid)
    hosts.workers(1, 1)
    assert not wait_gone([int(worker["pid"]) for worker in old], 0)
    stopped.send_signal(signal.SIGCONT)
    code, text = hosts.end(stopped)
    assert code == 69, text
    hosts.go()
    assert hosts.end(stays)[0] == 0
    assert hosts.here.left() == []


@elastic
def test_a_lost_host_without_a_budget(hosts: Hosts) -> None:
    words = ("--nnodes", "1:2")
    stays, dies = hosts.start(0, *words), hosts.start(1, *words, conf=SHORT)
    hosts.workers(0, 2)
    dies.kill()
    dies.communicate()
    code, text = hosts.end(stays)
    assert code == 1
    assert f"lost {os.uname().nodename}: nothing was heard" in text
    assert hosts.here.left() == []


@only_etcd
def test_without_the_store_no_worker_is_left(hosts: Hosts, etcd: Any) -> None:
    processes = [hosts.start(rank, "--nnodes", "2", conf=SHORT) for rank in (0, 1)]
    hosts.workers(0, 2)
    etcd.kill()
    for process in processes:
        code, text = hosts.end(process)
        assert code == 69
        assert "etcd has not answered for 3.5 s" in text
        assert "The workers of this host have been killed" in text
    assert hosts.here.left() == []


@pytest.mark.parametrize("fails", ["0-1 7", ""])
@only_etcd
def test_what_cannot_be_told_to_the_store_is_waited_for_aloud(
    hosts: Hosts, etcd: Any, fails: str
) -> None:
    words = ("--nnodes", "2", "--max-restarts", "1")
    processes = [hosts.start(rank, *words) for rank in (0, 1)]
    hosts.workers(0, 2)
    etcd.kill()
    hosts.go(fails)
    while "waiting for the place where the hosts meet (" not in (
        line := processes[1].stderr.readline()
    ):
        assert line, "it has ended"
    assert "Connection refused)" in line
    etcd.start()
    for code, text in map(hosts.end, processes):
        assert code == 0, text


@only_etcd
def test_who_comes_when_all_is_over_is_told(hosts: Hosts) -> None:
    process = hosts.start(0, "--nnodes", "1:2", conf="lease=30,last_call_timeout=0")
    hosts.workers(0, 1)
    hosts.go()
    assert hosts.end(process)[0] == 0
    code, text = hosts.end(hosts.start(1, "--nnodes", "1:2"))
    assert code == 69
    assert "the run is over: succeeded. For another one give another --rdzv-id." in text


@elastic
def test_a_program_that_is_not_there_ends_the_run_on_all_hosts(hosts: Hosts) -> None:
    good = hosts.start(0, "--nnodes", "2")
    bad = hosts.here.file("solver", "#!/no/such/interpreter\n", mode=0o755)
    words = (
        "--nnodes",
        "2",
        "--rdzv-conf",
        "is_host=0",
        "--node-rank",
        "1",
        "--no-python",
        str(bad),
    )
    wrong = hosts.here.start(*hosts.place, *words)
    code, text = hosts.end(wrong)
    assert code == 127
    assert "/no/such/interpreter" in text
    code, text = hosts.end(good)
    assert code == 127
    assert "/no/such/interpreter" in text


@only_etcd
def test_nobody_sees_the_password(hosts: Hosts, etcd: Any) -> None:
    client = Client(read_settings(etcd.endpoint, {}, {}))
    for path, body in (
        ("/v3/auth/user/add", {"name": "root", "password": "ex-tremely-secret"}),
        ("/v3/auth/user/grant", {"user": "root", "role": "root"}),
        ("/v3/auth/enable", {}),
    ):
        client.call(path, body)
    client.close()
    known = {"ETCDCTL_USER": "root", "ETCDCTL_PASSWORD": "ex-tremely-secret"}
    words = ("--nnodes", "1:2", "--preload", "json")
    right = hosts.start(0, *words, conf="last_call_timeout=0", environ=known)
    hosts.workers(0, 1)
    guardian = children(right.pid)
    below = set(descendants(guardian))  # the worker, and the fork server
    assert len(below) > 1
    for pid in below:
        assert b"ex-tremely-secret" not in Path(f"/proc/{pid}/environ").read_bytes()
    listing = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert "ex-tremely-secret" not in listing.stdout
    hosts.go()
    code, text = hosts.end(right)
    assert code == 0
    wrong = hosts.start(1, "--nnodes", "2", environ={**known, "ETCDCTL_PASSWORD": "guessed-it"})
    code, refusal = hosts.end(wrong)
    assert code == 2
    assert "etcd does not let root in" in refusal
    written = [
        path.read_text(errors="replace")
        for path in (hosts.here.directory / "procession-runs").rglob("*")
        if path.is_file()
    ]
    for secret in ("ex-tremely-secret", "guessed-it"):
        assert not any(secret in found for found in (*written, text, refusal))
