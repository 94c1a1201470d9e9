"""The process's own console: shared, slow, blocked, closed, a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from procession.testing import wait_gone

# What the children below begin with: their console is what the test passes as fd 1 and 2.
HEAD = """
import os, sys, threading, time
from procession._logs import tail
from procession.multiprocessing.tail_log import TailLog
tail._THREAD_PATIENCE = 30.0  # a thread that is held up for a second is not given up
path, other = sys.argv[1:]
def append(path, data):
    with open(path, "ab") as file:
        file.write(data)
def say(text):
    os.write(3, text.encode() + b"\\n")
"""
LINES = b"".join(b"line %d\n" % n for n in range(150_000))  # more than a pipe holds, several times
WIDE = min(1 << 20, int(Path("/proc/sys/fs/pipe-max-size").read_text()))


class Child:
    """A child whose fd 3 tells the test what it does, and whose fd 0 it waits for."""

    def __init__(self, code: str, folder: Path, stdout: int, stderr: int | None = None) -> None:
        self.path, self.other = folder / "log", folder / "other"
        heard, told = os.pipe()
        python = [sys.executable, "-c", HEAD + code, str(self.path), str(self.other)]
        self.process = subprocess.Popen(
            ["bash", "-c", 'exec 3>&"$1"; shift; exec "$@"', "-", str(told), *python],
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=stderr,
            pass_fds=[told],
            env={**os.environ, "PYTHONUNBUFFERED": ""},
        )
        os.close(told)
        self.said = os.fdopen(heard)

    def hear(self, text: str) -> None:
        """Wait until the child says this."""
        assert self.said.readline() == text + "\n"

    def heard_within(self, seconds: float) -> bool:
        """Whether the child says anything in this time."""
        return bool(select.select([self.said], [], [], seconds)[0])

    def go_on(self) -> None:
        """Let the child go beyond its next read of a line."""
        assert self.process.stdin
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def end(self) -> int:
        """Wait for its end and return its exit status."""
        assert self.process.stdin
        self.process.stdin.close()
        return self.process.wait(30)

    def drop(self) -> None:
        self.process.kill()
        with self.process:
            self.said.close()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    children.clear()
    yield tmp_path
    for child in children:
        child.drop()


children: list[Child] = []


def start(code: str, folder: Path, stdout: int, stderr: int | None = None) -> Child:
    children.append(Child(code, folder, stdout, stderr))
    return children[-1]


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for fd in ends:
        try:
            os.close(fd)
        except OSError:
            continue  # the test has closed it


def read_all(fd: int) -> bytes:
    return b"".join(iter(lambda: os.read(fd, 65536), b""))


def prefixed(data: bytes, prefix: bytes = b"[t0]:") -> bytes:
    return re.sub(rb"(?m)^(?=.)", prefix, data)


BLOCKED = """
append(path, b"".join(b"line %d\\n" % n for n in range(150_000)))
log = TailLog("t", {0: path}, sys.stdout).start()
sys.stdin.readline()
append(path, b"and more\\n")
say("main thread runs")
"""


def wait_until_full(fd: int) -> None:
    """Wait until a pipe is full, for good: the first time that it is so the tail makes it wider."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    deadline = time.monotonic() + 30
    while fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ) < WIDE or poll.poll(0):
        assert time.monotonic() < deadline
        time.sleep(0.005)  # there is no event for "no longer writable"


def wait_until_stuck(child: Child, terminal: int) -> None:
    """Wait until a terminal takes nothing more; it may call itself writable all the same."""
    poll = select.poll()
    poll.register(terminal, select.POLLOUT)
    deadline = time.monotonic() + 30
    written, since = -1, time.monotonic()
    while poll.poll(0) and time.monotonic() - since < 0.5:
        if (now := bytes_written(child)) != written:
            written, since = now, time.monotonic()
        assert time.monotonic() < deadline
        time.sleep(0.005)  # there is no event for "no longer writable"


def bytes_written(child: Child) -> int:
    """What a process has handed to write(2), by wchar of /proc/<pid>/io (proc_pid_io(5))."""
    text = Path(f"/proc/{child.process.pid}/io").read_text()
    return int(text.partition("wchar: ")[2].split()[0])


class TestBlocked:
    def test_it_blocks_nothing_and_loses_nothing(self, folder: Path, pipe: tuple[int, int]) -> None:
        reader, writer = pipe
        child = start(BLOCKED + "log.stop(); say(str(log.skipped))", folder, writer)
        wait_until_full(writer)
        child.go_on()
        child.hear("main thread runs")
        os.close(writer)

        assert read_all(reader) == prefixed(LINES + b"and more\n")
        child.hear("{}")
        assert child.end() == 0

    def test_the_end_of_patience_is_told_with_the_exact_count(
        self, folder: Path, pipe: tuple[int, int]
    ) -> None:
        reader, writer = pipe
        code = "tail.SINK_PATIENCE = 0.3\n" + BLOCKED + "log.stop(); say(repr(log.skipped))\n"
        child = start(code, folder, writer, subprocess.PIPE)
        wait_until_full(writer)
        child.go_on()
        child.hear("main thread runs")
        skipped = eval(child.said.readline())
        os.close(writer)
        shown = read_all(reader)

        assert child.end() == 0
        whole = prefixed(LINES + b"and more\n")
        assert whole.startswith(shown)
        assert shown.endswith(b"\n")
        left = len(LINES + b"and more\n") - len(shown.replace(b"[t0]:", b""))
        assert skipped == {str(child.path): left}
        assert child.process.stderr
        warning = child.process.stderr.read().decode()
        assert f"{left} bytes of {child.path} were not shown" in warning

    @pytest.mark.stress
    def test_the_time_in_which_the_launcher_is_stopped_does_not_count(
        self, folder: Path, pipe: tuple[int, int]
    ) -> None:
        """As by Ctrl-Z: the console has not refused what it was not offered."""
        reader, writer = pipe
        code = """
tail.SINK_PATIENCE = 3.0
def stop_all():
    time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGSTOP)
threading.Thread(target=stop_all).start()
log.stop()
say(str(log.skipped))
"""
        child = start("import signal\n" + BLOCKED + code, folder, writer)
        wait_until_full(writer)
        child.go_on()
        child.hear("main thread runs")
        os.waitid(os.P_PID, child.process.pid, os.WSTOPPED)
        assert wait_gone([child.process.pid], 5) == [child.process.pid]
        child.process.send_signal(signal.SIGCONT)
        assert not child.heard_within(1)
        os.close(writer)
        assert read_all(reader) == prefixed(LINES + b"and more\n")
        child.hear("{}")
        assert child.end() == 0

    def test_the_warning_does_not_block_on_the_same_console(
        self, folder: Path, pipe: tuple[int, int]
    ) -> None:
        _, writer = pipe
        code = "tail.SINK_PATIENCE = 0.3\n" + BLOCKED + "log.stop(); say('stopped')\n"
        child = start(code + "os._exit(0)", folder, writer, writer)
        wait_until_full(writer)
        child.go_on()
        child.hear("main thread runs")
        child.hear("stopped")
        assert child.end() == 0

    def test_the_patience_is_for_all_views_together(
        self, folder: Path, pipe: tuple[int, int]
    ) -> None:
        _, writer = pipe
        code = """
tail.SINK_PATIENCE = 2.0
append(path, b"x" * 3_000_000 + b"\\n")
logs = [TailLog("t", {0: path}, sys.stdout)] + [TailLog("t", {0: other}, sys.stderr) for _ in range(9)]
for log in logs: log.start()
sys.stdin.readline()
append(other, b"y\\n")
began = time.monotonic()
for log in logs: log.stop()
say(str(time.monotonic() - began < 15))  # of 20, were it for each of them
say(str(all(sum(log.skipped.values()) > 0 for log in logs)))
os._exit(0)
"""
        child = start(code, folder, writer, writer)
        wait_until_full(writer)
        child.go_on()
        child.hear("True")
        child.hear("True")

    def test_another_view_goes_on(self, folder: Path, pipe: tuple[int, int]) -> None:
        reader, writer = pipe
        code = BLOCKED + (
            "import io\nheard = threading.Event()\nclass Screen(io.StringIO):\n"
            "    def write(self, text): heard.set()\n"
            "second = TailLog('s', {0: other}, Screen()).start()\nappend(other, b'here\\n')\n"
            "say(str(heard.wait(30)))\nsecond.stop()\nsay('stopped')\nlog.stop()\n"
        )
        child = start(code, folder, writer)
        wait_until_full(writer)
        child.go_on()
        for text in ("main thread runs", "True", "stopped"):
            child.hear(text)
        os.close(writer)
        assert read_all(reader) == prefixed(LINES + b"and more\n")

    def test_a_text_stream_of_the_callers_may_block_too(
        self, folder: Path, pipe: tuple[int, int]
    ) -> None:
        _, writer = pipe
        code = """
tail.SINK_PATIENCE = tail._THREAD_PATIENCE = 0.2
release, entered = threading.Event(), threading.Event()
class Stuck:
    def write(self, text): entered.set(); release.wait()
append(path, b"never shown\\n"); append(other, b"nor this\\n")
stuck = TailLog("t", {0: path}, Stuck()).start()
entered.wait()
behind = TailLog("t", {0: other}, sys.stdout).start()
with tail.fork_guard(): say("guarded")
behind.stop(); say(repr(behind.skipped == {other: 9}))
stuck.stop(); say(repr(stuck.skipped == {path: 12}))
tail.SINK_PATIENCE = tail._THREAD_PATIENCE = 30.0
fresh = TailLog("t", {0: other}, sys.stderr).start(); fresh.stop()
release.set(); say("end")
"""
        child = start(code, folder, writer, subprocess.PIPE)
        for text in ("guarded", "True", "True", "end"):
            child.hear(text)
        assert child.process.stderr
        assert "[t0]:nor this\n" in child.process.stderr.read().decode()
        assert child.end() == 0

    def test_lag_costs_no_memory(self, folder: Path, pipe: tuple[int, int]) -> None:
        reader, writer = pipe
        code = """
import resource
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
log = TailLog("t", {0: path}, sys.stdout).start()
sys.stdin.readline()
say(str(peak() - before < 8_000_000))
log.stop()
"""
        data = LINES * 100  # 39 MB
        (folder / "log").write_bytes(data)
        child = start(code, folder, writer)
        wait_until_full(writer)
        for _ in range(20):  # more news, and so more turns, while the console is blocked
            with (folder / "log").open("ab") as log:
                log.write(b"and more\n")
        child.go_on()
        child.hear("True")
        os.close(writer)
        data += b"and more\n" * 20
        assert len(read_all(reader)) == len(data) + len(b"[t0]:") * data.count(b"\n")


class TestPipe:
    def test_no_write_tears_a_line_that_a_pipe_could_take_whole(self, folder: Path) -> None:
        # Each read of a packet pipe returns one write.
        reader, writer = os.pipe2(os.O_DIRECT)
        lines = [b"%d " % n + b"x" * (n * 37 % 5000) + b"\n" for n in range(300)]
        (folder / "log").write_bytes(b"".join(lines))
        child = start("TailLog('t', {0: path}, sys.stdout).start().stop()", folder, writer)
        os.close(writer)
        packets = list(iter(lambda: os.read(reader, 65536), b""))
        os.close(reader)

        assert b"".join(packets) == b"".join(b"[t0]:" + line for line in lines)
        assert max(map(len, packets)) <= select.PIPE_BUF
        within = 0
        for packet in packets:
            if not within:
                assert packet.startswith(b"[t0]:")
            torn = b"" if packet.endswith(b"\n") else packet[packet.rfind(b"\n") + 1 :]
            assert not torn or within or len(packet) == select.PIPE_BUF
            within = within + len(packet) if b"\n" not in packet else len(torn)
        assert child.end() == 0

    def test_lines_of_another_writer_stay_whole_beside_long_writes(
        self, folder: Path, pipe: tuple[int, int]
    ) -> None:
        reader, writer = pipe
        code = """
append(path, b"".join(b"line %d\\n" % n for n in range(150_000)))
log = TailLog("t", {0: path}, sys.stdout).start()
for n in range(3000):
    os.write(1, b"other %d\\n" % n)
log.stop()
"""
        child = start(code, folder, writer)
        os.close(writer)
        lines = read_all(reader).splitlines(keepends=True)

        others = [line for line in lines if line.startswith(b"other")]
        assert others == [b"other %d\n" % n for n in range(3000)]
        ours = [line for line in lines if not line.startswith(b"other")]
        assert b"".join(ours) == prefixed(LINES)
        assert child.end() == 0

    @pytest.mark.parametrize("blocking", [True, False])
    def test_its_flags_stay_as_they_are(
        self, folder: Path, pipe: tuple[int, int], blocking: bool
    ) -> None:
        reader, writer = pipe
        os.set_blocking(writer, blocking)
        code = BLOCKED + "log.stop()\n"
        child = start(code, folder, writer)
        wait_until_full(writer)

        assert bool(fcntl.fcntl(writer, fcntl.F_GETFL) & os.O_NONBLOCK) is not blocking
        child.go_on()
        os.close(writer)
        assert read_all(reader) == prefixed(LINES + b"and more\n")
        assert child.end() == 0

    def test_what_was_printed_before_comes_first(self, folder: Path, pipe: tuple[int, int]) -> None:
        reader, writer = pipe
        (folder / "log").write_bytes(b"line\n")
        code = "print('before')\nTailLog('t', {0: path}, sys.stdout).start().stop()\nprint('after')"
        child = start(code, folder, writer)
        os.close(writer)

        assert read_all(reader) == b"before\n[t0]:line\nafter\n"
        assert child.end() == 0

    @pytest.mark.parametrize("where", ["closed", "full"])
    def test_what_was_printed_before_and_is_lost_is_no_reason_not_to_begin(
        self, folder: Path, pipe: tuple[int, int], where: str
    ) -> None:
        with open("/dev/full", "w") as full:
            os.dup2(full.fileno(), pipe[0] if where == "closed" else pipe[1])
        code = """
print("before")
log = TailLog("t", {0: path, 1: other}, sys.stdout).start()
append(path, b"x\\n")
log.stop()
say("stopped")
os._exit(0)
"""
        child = start(code, folder, pipe[1], subprocess.DEVNULL)
        child.hear("stopped")
        assert child.end() == 0

    def test_two_streams_of_one_console_share_no_line(
        self, folder: Path, pipe: tuple[int, int]
    ) -> None:
        reader, writer = pipe
        (folder / "log").write_bytes(b"out\nunfinished")
        (folder / "other").write_bytes(b"err\nunfinished too")
        code = """
logs = [TailLog("o", {0: path}, sys.stdout), TailLog("e", {0: other}, sys.stderr)]
for log in logs: log.start()
for log in logs: log.stop()
print("mine")
"""
        child = start(code, folder, writer, writer)
        os.close(writer)
        view = read_all(reader).decode()

        assert sorted(view.splitlines()) == sorted(
            ["[o0]:out", "[o0]:unfinished", "[e0]:err", "[e0]:unfinished too", "mine"]
        )
        assert view.endswith("mine\n")
        assert child.end() == 0

    def test_a_closed_one_ends_the_view_quietly(self, folder: Path, pipe: tuple[int, int]) -> None:
        reader, writer = pipe
        child = start(
            BLOCKED + "log.stop(); say(str(log.skipped))", folder, writer, subprocess.PIPE
        )
        wait_until_full(writer)
        os.close(writer)
        os.close(reader)
        child.go_on()

        child.hear("main thread runs")
        child.hear("{}")
        assert child.process.stderr
        assert child.process.stderr.read() == b""
        assert child.end() == 0

    def test_a_closed_standard_output_is_no_error(
        self, folder: Path, pipe: tuple[int, int]
    ) -> None:
        code = (
            "sys.stdout.close(); os.close(1)\nlog = TailLog('t', {0: path}, sys.stdout).start()\n"
        )
        child = start(code + "append(path, b'x\\n'); log.stop(); say('end')", folder, pipe[1])
        child.hear("end")
        assert child.end() == 0


class TestTerminal:
    @pytest.fixture
    def terminal(self) -> Iterator[tuple[int, int]]:
        master, slave = pty.openpty()
        tty.setraw(slave)
        yield master, slave
        os.close(master)

    def read_until(self, fd: int, end: bytes) -> bytes:
        view = b""
        while not view.endswith(end):
            assert select.select([fd], [], [], 30)[0], view
            view += os.read(fd, 65536)
        return view

    def test_an_idle_part_of_a_line_is_shown_and_continued(
        self, folder: Path, terminal: tuple[int, int]
    ) -> None:
        master, slave = terminal
        code = """
log = TailLog("t", {0: path, 1: other}, sys.stdout).start()
for file, text in ((path, b"name? "), (other, b"whole\\npart"), (path, b"Ann\\n")):
    append(file, text); sys.stdin.readline()
log.stop()
"""
        child = start(code, folder, slave)
        os.close(slave)
        for shown in (b"[t0]:name? ", b"\n[t1]:whole\n[t1]:part", b"\n[t0]:Ann\n"):
            assert self.read_until(master, shown[-4:]) == shown
            child.go_on()
        assert child.end() == 0

    def test_one_rank_goes_on_in_its_line(self, folder: Path, terminal: tuple[int, int]) -> None:
        master, slave = terminal
        code = """
log = TailLog("t", {0: path}, sys.stdout).start()
for text in (b"name? ", b"Ann", b"\\nage? "):
    append(path, text); sys.stdin.readline()
log.stop()
say("stopped")
"""
        child = start(code, folder, slave)
        os.close(slave)
        for shown in (b"[t0]:name? ", b"Ann", b"\n[t0]:age? "):
            assert self.read_until(master, shown[-1:]) == shown
            child.go_on()
        child.hear("stopped")
        assert self.read_until(master, b"\n") == b"\n"  # the console is left at a line's beginning
        assert child.end() == 0

    def test_the_end_of_a_view_leaves_the_line_of_another_alone(
        self, folder: Path, terminal: tuple[int, int]
    ) -> None:
        master, slave = terminal
        code = """
logs = [TailLog("t", {0: path}, sys.stdout).start(), TailLog("e", {0: other}, sys.stderr).start()]
append(other, b"name? ")
sys.stdin.readline()
logs[0].stop()
append(other, b"Ann\\n")
logs[1].stop()
"""
        child = start(code, folder, slave, slave)
        os.close(slave)
        assert self.read_until(master, b" ") == b"[e0]:name? "
        child.go_on()
        assert self.read_until(master, b"\n") == b"Ann\n"
        assert child.end() == 0

    def test_a_message_that_waits_for_a_terminal_holds_up_no_other_place(
        self, folder: Path, pipe: tuple[int, int], terminal: tuple[int, int]
    ) -> None:
        _, slave = terminal
        termios.tcflow(slave, termios.TCOOFF)  # Ctrl-S
        code = """
import procession.cli.say
log = TailLog("t", {0: path}, sys.stdout).start()
threading.Thread(target=procession.cli.say.say, args=("text", 60.0)).start()
say("speaks")
while sys.stdin.readline():
    append(path, b"line\\n")
log.stop()
"""
        child = start(code, folder, pipe[1], slave)
        child.hear("speaks")
        for _ in range(20):  # it may not have come to its message yet
            child.go_on()
            assert select.select([pipe[0]], [], [], 20)[0]
            os.read(pipe[0], 65536)
        termios.tcflow(slave, termios.TCOON)
        os.close(slave)
        assert child.end() == 0

    def test_a_stopped_terminal_holds_up_nothing_else(
        self, folder: Path, terminal: tuple[int, int]
    ) -> None:
        _, slave = terminal
        code = (
            "tail.SINK_PATIENCE = tail._THREAD_PATIENCE = 0.3\n"
            + BLOCKED
            + "log.stop(); say(repr(log.skipped))\n"
        )
        child = start(code + "os._exit(0)", folder, slave)
        wait_until_stuck(child, slave)
        child.go_on()
        child.hear("main thread runs")
        assert re.fullmatch(r"\{.*: \d+\}\n", child.said.readline())
        assert child.end() == 0
        os.close(slave)
