"""What the report says of deaths, and the evidence for it, of workers that really die so."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

GROUPS = Path("/sys/fs/cgroup")
EATER = """\
import os
if os.environ["RANK"] == "1":
    hold = []
    while True:
        hold.append(bytearray(b"x" * (8 << 20)))
import signal
signal.pause()
"""


def flat(text: str) -> str:
    """A report without its line breaks."""
    return re.sub(r"\s+", " ", text)


@pytest.fixture
def cgroup(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A cgroup of a controller of this host, below our own, or the test cannot be made here."""
    controller: str = request.param
    own = Path("/proc/self/cgroup").read_text()
    lines = [line.split(":", 2) for line in own.splitlines()]
    path = next((p for _, names, p in lines if controller in names.split(",")), None)
    place = GROUPS / controller / (path or "").lstrip("/") / f"procession-{uuid.uuid4().hex[:8]}"
    try:
        if path is None:
            raise FileNotFoundError(controller)
        place.mkdir()
    except OSError as error:
        pytest.skip(f"no {controller} cgroup (v1) to be made here: {error}")
    yield place
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            return place.rmdir()
        except OSError:  # the last of its processes is on its way out
            time.sleep(0.02)


def run_in(here: Any, cgroup: Path, *words: str) -> Any:
    """Run the command from within a cgroup, as a batch system would."""
    enter = f'echo $$ > {cgroup}/cgroup.procs && exec "$0" "$@"'
    argv = ["sh", "-c", enter, sys.executable, "-m", "procession", "run", *words]
    return here.end(here.start_argv(argv))


@pytest.mark.parametrize("cgroup", ["memory"], indirect=True)
@pytest.mark.parametrize("wrapped", [False, True])
def test_out_of_memory(wrapped: bool, here: Any, cgroup: Path) -> None:
    """Said with the counter, of the worker itself and of a command under a shell."""
    (cgroup / "memory.limit_in_bytes").write_text(str(160 << 20))
    with suppress(OSError):  # no swap accounting
        (cgroup / "memory.memsw.limit_in_bytes").write_text(str(160 << 20))
    here.file("s.py", EATER)
    script = ("--no-python", "sh", "-c", "python3 s.py; exit $?") if wrapped else ("s.py",)
    ended = run_in(here, cgroup, "-n", "2", *script)
    assert ended.code == 137
    root = ended.report["root_cause"]
    assert (root["rank"], root["exitcode"]) == (1, 137 if wrapped else -9)
    oom = root["oom"]
    assert oom == {
        "file": f"{cgroup}/memory.oom_control",
        "before": 0,
        "now": 1,
        "sure": True,
    }
    assert "killed by the kernel's OOM killer: out of memory" in flat(ended.err)
    assert f"memory : {cgroup}/memory.oom_control: oom_kill 0, then 1" in flat(ended.err)
    fate = ended.report["ledger"]["workers"][1]
    assert fate["ended_by"] == ("itself" if wrapped else "oom killer")


def test_killed_from_outside(here: Any) -> None:
    ended = here.script(
        'import os, signal; os.environ["RANK"] == "0" and os.kill(os.getppid() and os.getpid(), 9)\n'
        "signal.pause()",
        *("-n", "2"),
    )
    assert ended.code == 137
    assert ended.report["root_cause"]["rank"] == 0
    oom = ended.report["root_cause"]["oom"]
    if oom is not None and oom["now"] == oom["before"]:  # nobody on this host ran out meanwhile
        assert "OOM killer ended nobody on this host meanwhile" in flat(ended.err)
    (first, second) = ended.report["ledger"]["workers"]
    assert (first["ended_by"], first["told"], first["exitcode"]) == ("outside", None, -9)
    assert (second["ended_by"], second["told"], second["exitcode"]) == (
        "procession",
        "SIGTERM",
        -15,
    )
    assert 0 < second["after"] < second["lived"]


def test_a_fault_points_at_its_line(here: Any) -> None:
    ended = here.script(
        "import ctypes, threading, time\n"
        "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
        "def touch_nothing():\n    ctypes.string_at(0)\n"
        "touch_nothing()"
    )
    assert ended.code == 139
    report = ended.err.rpartition("Root cause")[2]
    assert "stderr.log says where it was:" in flat(report)
    assert re.search(r'^ +File ".*s\.py", line 4 in touch_nothing$', report, re.MULTILINE)
    assert "Extension modules" not in report
    assert "time.sleep" not in report


def test_a_core_dump_and_where_it_is(here: Any) -> None:
    def allow() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2)

    here.file("s.py", "import os; os.abort()")
    ended = here.end(here.start("s.py", preexec_fn=allow))
    assert ended.code == 134
    root = ended.report["root_cause"]
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    if not root["core_dumped"]:
        pytest.skip(f"the kernel makes no core dump here (core_pattern {pattern!r})")
    assert "SIGABRT: aborted itself, as a failed C++ assertion does, core dumped" in flat(ended.err)
    if pattern == "core":
        (core,) = here.directory.glob("core*")
        assert root["core"] == str(core)
    assert f"core : {root['core']}" in flat(ended.err)


def test_a_bus_error_tells_of_shared_memory(here: Any) -> None:
    ended = here.script(
        "import mmap\n"
        "with open('f', 'wb+') as file:\n"
        "    file.truncate(8192)\n"
        "    view = mmap.mmap(file.fileno(), 8192)\n"
        "    file.truncate(0)\n"
        "    view[5000]\n"
    )
    assert ended.code == 128 + signal.SIGBUS
    status = os.statvfs("/dev/shm")
    space = ended.report["root_cause"]["shared_memory"]
    assert space["size"] == status.f_blocks * status.f_frsize
    assert "/dev/shm :" in flat(ended.err)
    assert "free after its end" in flat(ended.err)


FAMILY = """\
import os, subprocess, sys
def start(*words, **kw):
    child = subprocess.Popen([*words], stdout=subprocess.PIPE, text=True, **kw)
    child.stdout.readline()
    while "exec" in words[-1] and open(f"/proc/{{child.pid}}/comm").read().strip() != "sleep":
        pass
    return child.pid
deaf = "trap '' TERM; echo ready; while :; do sleep 0.02; done"
meek = "echo ready; exec sleep 1000"
if os.environ["RANK"] == "1":
    start("sh", "-c", deaf)
    start("sh", "-c", meek, start_new_session=True)
    {}
"""


def test_what_a_dead_worker_left_is_named(here: Any) -> None:
    script = FAMILY.format("os._exit(3)") + "import signal; signal.pause()"
    ended = here.script(script, "-n", "2", "--shutdown-timeout", "3")
    assert ended.code == 3
    swept = {
        (each["name"], each["rank"], each["signal"]) for each in ended.report["ledger"]["swept"]
    }
    assert {("sh", 1, "SIGKILL"), ("sleep", 1, "SIGTERM")} <= swept
    text = flat(ended.err)
    assert re.search(r"left behind and ended: .*sleep of rank 1 \(SIGTERM, pids? ", text)
    assert re.search(r"sh of rank 1 \(SIGKILL, pids? ", text)


def test_a_success_that_left_something_says_so_in_one_line(here: Any) -> None:
    ended = here.script(FAMILY.format("pass"), "-n", "2", "--shutdown-timeout", "1")
    assert ended.code == 0
    (line,) = [line for line in ended.err.splitlines() if line.startswith("procession:")]
    assert re.match(r"procession: \d processes left behind and ended: ", line)
    assert "sleep of rank 1" in line


def test_a_success_that_left_nothing_says_nothing(here: Any) -> None:
    ended = here.script("import subprocess; subprocess.run(['true'])", "-n", "2")
    assert (ended.code, ended.err) == (0, "")
    workers = ended.report["ledger"]["workers"]
    assert [(each["rank"], each["exitcode"], each["ended_by"]) for each in workers] == [
        (0, 0, "itself"),
        (1, 0, "itself"),
    ]


def test_a_resource_tracker_that_leaves_by_itself_is_not_told_of(here: Any) -> None:
    ended = here.script(
        "from multiprocessing import shared_memory\n"
        "memory = shared_memory.SharedMemory(create=True, size=64)\n"
        "memory.close(); memory.unlink()",
        *("-n", "2"),
    )
    assert (ended.code, ended.err) == (0, "")


def test_a_signal_to_the_launcher_tells_who_had_to_be_killed(here: Any) -> None:
    here.file(
        "s.py",
        "import os, signal\n"
        "if os.environ['RANK'] == '1': signal.signal(signal.SIGTERM, lambda *_: None)\n"
        "print('ready', flush=True)\nwhile True: signal.pause()",
    )
    process = here.start("-n", "2", "--shutdown-timeout", "3", "s.py")
    for _ in range(2):
        assert process.stdout.readline().endswith("ready\n")
    process.send_signal(signal.SIGTERM)
    ended = here.end(process)
    assert ended.code == 143
    assert re.search(
        r"^procession: rank 1 stopped by procession \(SIGKILL\), [1-9]\d*\.\d s after our first signal$",
        ended.err,
        re.MULTILINE,
    )
    told = [each["told"] for each in ended.report["ledger"]["workers"]]
    assert told == ["SIGTERM", "SIGKILL"]


@pytest.mark.parametrize("cgroup", ["freezer"], indirect=True)
def test_a_worker_that_cannot_die_is_named_with_what_holds_it(here: Any, cgroup: Path) -> None:
    """In a frozen cgroup (v1) a process sleeps uninterruptibly, and SIGKILL waits."""
    here.file(
        "s.py",
        "import os, sys, time\n"
        "if os.environ['RANK'] == '1':\n"
        f"    open('{cgroup}/cgroup.procs', 'w').write(str(os.getpid()))\n"
        "    print('ready', flush=True)\n"
        "    while True: time.sleep(0.01)\n"
        "sys.stdin.read(1)\nsys.exit(3)",
    )
    process = here.start(*("-n", "2", "--shutdown-timeout", "1", "s.py"), stdin=subprocess.PIPE)
    assert process.stdout.readline().endswith("ready\n")
    (pid,) = map(int, (cgroup / "cgroup.procs").read_text().split())
    (cgroup / "freezer.state").write_text("FROZEN")
    while (cgroup / "freezer.state").read_text() != "FROZEN\n":
        time.sleep(0.01)  # FREEZING: not all of it has stopped yet
    try:
        process.stdin.write("x")
        process.stdin.flush()
        err = process.stderr.read()
        process.wait(30)
    finally:
        (cgroup / "freezer.state").write_text("THAWED")
    assert process.returncode == 3
    report = json.loads((here.directory / "procession-runs/latest/report.json").read_text())
    (stuck,) = report["ledger"]["stuck"]
    assert (stuck["pid"], stuck["rank"], stuck["state"][0]) == (pid, 1, "D")
    assert stuck["wchan"]
    assert stuck["stack"]
    fate = report["ledger"]["workers"][1]
    assert (fate["exitcode"], fate["ended_by"], fate["told"]) == (None, "nobody", "SIGKILL")
    assert "rank 1 could not be ended, by SIGKILL neither" in flat(err)
    assert re.search(rf"pid {pid} \(python\S*, of rank 1\) could not be ended: state D", flat(err))
