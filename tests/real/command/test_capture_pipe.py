"""Output that goes through a pipe: exact, patient, and nobody's death when its reader dies."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from procession._logs.scribe import Scribe
from procession.testing import stop, wait_gone

LINES = """
import os, sys
for n in range(int(sys.argv[1])):
    os.write(1, b"%07d %s\\n" % (n, b"x" * 1015))
open("done" + os.environ["RANK"], "w").close()
"""


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid():
        pytest.skip("only root may mount a file system")
    point = tmp_path / "small"
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", point], check=True)
    yield point
    subprocess.run(["umount", "--lazy", point], check=True)


def scribe_of(launcher: int) -> int:
    """The process that empties the pipes of a run."""
    for tid in os.listdir(f"/proc/{launcher}/task"):
        for pid in Path(f"/proc/{launcher}/task/{tid}/children").read_text().split():
            if b"scribe.py" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return int(pid)
    raise AssertionError("no scribe")


def wait_for(condition: Any) -> None:
    for _ in range(600):
        if condition():
            return
        subprocess.run(["sleep", "0.05"], check=True)
    raise AssertionError("it did not happen within 30 s")


@pytest.mark.parametrize("how", ["pipe", "pipe-drop", "0:pipe,1-9:pipe-drop"])
def test_every_byte_comes_through(how: str, here: Any) -> None:
    data = b"10%\r100%\nnul \0 bad \xff\n" + b"y" * 200_000 + b"\nno end"
    script = f"import os; os.write(1, {data!r}); os.write(2, b'err'); os.write(1, b'!' * 100000)"
    ended = here.script(script, "-n", "2", "--capture", how, "-r", "1", "-t", "2")
    assert ended.code == 0
    assert sorted(ended.err.splitlines()) == ["[default0]:err", "[default1]:err"]
    for rank in (0, 1):
        assert (ended.logs(rank) / "stdout.log").read_bytes() == data + b"!" * 100_000
        assert (ended.logs(rank) / "stderr.log").read_bytes() == b"err"


def test_a_child_that_lives_on_does_not_hold_up_the_end(here: Any) -> None:
    ended = here.script(
        "import subprocess; subprocess.Popen(['setsid', 'sleep', '60']); print('leader ends')",
        *("--capture", "pipe"),
    )
    assert (ended.code, ended.out) == (0, "[default0]:leader ends\n")


def test_the_death_of_the_reader_ends_nothing(here: Any) -> None:
    os.mkfifo(here.directory / "go")
    script = (
        "import os\nprint('before', flush=True)\nopen('go').read()\n"
        "for n in range(3000): print('x' * 99)\nprint('after')"
    )
    process = here.start("--capture", "pipe", here.file("s.py", script).name)
    assert process.stdout.readline() == "[default0]:before\n"
    scribe = scribe_of(process.pid)
    os.kill(scribe, signal.SIGKILL)
    wait_for(lambda: not os.path.exists(f"/proc/{scribe}"))
    with (here.directory / "go").open("w"):
        pass
    out = process.stdout.read()
    ended = here.end(process)
    assert ended.code == 0
    assert out == f"[default0]:{'x' * 99}\n" * 3000 + "[default0]:after\n"
    assert "was killed; another goes on" in ended.err


def test_the_scribe_ends_with_a_launcher_that_is_killed(here: Any) -> None:
    script = "import time; print('runs', flush=True); time.sleep(60)"
    process = here.start("--capture", "pipe", here.file("s.py", script).name)
    assert process.stdout.readline() == "[default0]:runs\n"
    scribe = scribe_of(process.pid)
    process.kill()
    assert wait_gone([scribe]) == []
    process.wait()
    wait_for(lambda: here.left() == [])


def test_on_a_full_disk_a_worker_waits_for_room(here: Any, small: Path) -> None:
    ballast = small / "ballast"
    ballast.write_bytes(b"b" * 15 * 2**20)
    here.file("s.py", LINES)
    process = here.start("--capture", "pipe", "-r", "3", "--log-dir", str(small), "s.py", "3000")
    log = small / "latest" / "attempt_0" / "0" / "stdout.log"
    wait_for(lambda: os.statvfs(small).f_bavail == 0)
    while "is full" not in (line := process.stderr.readline()):
        assert line, "the run has ended, and nobody said that the disk was full"
    assert not (here.directory / "done0").exists()
    ballast.unlink()
    ended = here.end(process)
    assert ended.code == 0
    assert log.read_bytes() == b"".join(b"%07d %s\n" % (n, b"x" * 1015) for n in range(3000))


def test_or_its_oldest_lines_are_dropped_and_counted(here: Any, small: Path) -> None:
    ballast = small / "ballast"
    ballast.write_bytes(b"b" * 15 * 2**20)
    os.mkfifo(here.directory / "go")
    script = LINES.replace("open(", "open('go').read(); open(", 1)
    here.file("s.py", script)
    words = ("--capture", "pipe-drop", "-r", "3", "--log-dir", str(small), "s.py", "20000")
    process = here.start(*words)
    with (here.directory / "go").open("w"):  # it has written 20 MB and was not held up
        ballast.unlink()
    ended = here.end(process)
    assert ended.code == 0
    match = re.search(r"(\d+) bytes of (\S+) were dropped: the disk did not take them", ended.err)
    assert match
    log = small / "latest" / "attempt_0" / "0" / "stdout.log"
    assert os.path.samefile(match[2], log)
    report = json.loads((small / "latest" / "report.json").read_text())
    assert list(report["dropped"].values()) == [int(match[1])]
    text = log.read_bytes()
    marks = [
        int(count) for count in re.findall(rb"\n\[(\d+) bytes are missing here: the disk", text)
    ]
    assert sum(marks) <= int(match[1])
    lines = re.sub(rb"\n\[\d+ bytes are missing here[^\n]*\]\n", b"", text)
    assert len(lines) + int(match[1]) == 20_000 * 1024
    numbers = [int(n) for n in re.findall(rb"(?m)^(\d{7}) x{1015}$", text)]
    assert numbers == sorted(set(numbers))


def test_a_disk_that_takes_nothing_does_not_hold_up_the_end(here: Any) -> None:
    os.mkfifo(here.directory / "go")
    script = "print('runs', flush=True); open('go').read(); print('late')"
    process = here.start("--capture", "pipe", here.file("s.py", script).name)
    assert process.stdout.readline() == "[default0]:runs\n"
    stop(scribe_of(process.pid))  # as a write to a hanging server would
    with (here.directory / "go").open("w"):
        pass
    ended = here.end(process)
    assert ended.code == 0
    assert "the last output was not written to " in ended.err
    assert "the disk took no byte for 5 s" in ended.err


def test_a_stream_that_floods_leaves_the_others_their_turns() -> None:
    """There is never a moment in which its file system, a slow one, is not behind."""
    flood, calm = 1000, 1001
    scribe = Scribe([(flood, -1, "block"), (calm, -1, "block")])
    try:
        scribe._backlogs[calm].put(b"line\n")
        turns: list[int] = []
        for _ in range(4):
            scribe._backlogs[flood].put(b"x" * 65536)
            pipe = scribe._next_pipe()
            assert pipe is not None
            turns.append(pipe)
            backlog = scribe._backlogs[pipe]
            backlog.wrote(len(backlog.next()))
    finally:
        for fd in (scribe._wakeup, scribe._waker):
            os.close(fd)
    assert turns == [flood, calm, flood, flood]


@pytest.mark.parametrize("how", ["pip", "0:tube", "3-1:pipe", "", "pipe:0", "0-2", "0:"])
def test_what_cannot_be(how: str, here: Any) -> None:
    ended = here.script("print(1)", f"--capture={how}")
    assert ended.code == 2
    assert f"--capture {how}: give file, pipe or pipe-drop, or RANKS:HOW" in ended.err
