"""``--tty-rank``: one rank on a terminal of its own, driven as a person would."""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from procession.testing import wait_gone


class Person:
    """Before a terminal, on which a run is started."""

    def __init__(self, here: Any) -> None:
        self.here = here
        self.fd, self.slave = os.openpty()
        self.resize(24, 80)
        self.before = termios.tcgetattr(self.slave)
        self.seen = b""
        self.process: Any = None

    def start(self, *words: str) -> None:
        def take_terminal() -> None:
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        ends = dict.fromkeys(("stdin", "stdout", "stderr"), self.slave)
        self.process = self.here.start(*words, preexec_fn=take_terminal, **ends)

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def see(self, text: str) -> str:
        """Wait until this has been shown, and return all that came with it."""
        while text.encode() not in self.seen:
            assert select.select([self.fd], [], [], 30)[0], self.seen
            self.seen += os.read(self.fd, 65536)
        shown, _, self.seen = self.seen.partition(text.encode())
        return shown.decode() + text

    def resize(self, rows: int, columns: int) -> None:
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, size)

    def wait(self) -> int:
        """Wait for the end of the run, and show the rest."""
        code: int = self.process.wait(30)
        while select.select([self.fd], [], [], 0)[0]:
            self.seen += os.read(self.fd, 65536)
        return code

    def mode_is_as_before(self) -> bool:
        return termios.tcgetattr(self.slave) == self.before

    def wait_for_other_mode(self) -> None:
        """Wait until keys are bytes; the kernel has no event for it."""
        until = time.monotonic() + 30
        while self.mode_is_as_before():
            assert time.monotonic() < until

    def close(self) -> None:
        os.close(self.fd)
        os.close(self.slave)


@pytest.fixture
def person(here: Any) -> Iterator[Person]:
    made = Person(here)
    yield made
    made.close()


def log(here: Any, rank: int = 0) -> bytes:
    path: Path = here.directory / "procession-runs" / "latest" / "attempt_0" / str(rank)
    return (path / "stdout.log").read_bytes()


TALKS = """
import os, sys
if os.environ["RANK"] == "1":
    print("the other")
    open("go").read()
    sys.exit()
print("terminal:", os.isatty(0), os.isatty(1), os.isatty(2), *os.get_terminal_size())
name = input("name? ")
print("hello", name)
breakpoint()
print("end of", name)
with open("go", "w"): pass
"""


def test_prompts_and_a_debugger(here: Any, person: Person) -> None:
    here.file("s.py", TALKS)
    os.mkfifo(here.directory / "go")
    person.start("-n", "2", "--tty-rank", "0", "s.py")
    assert "terminal: True True True 80 24" in person.see("name? ")
    assert not person.mode_is_as_before()
    person.type("bob\r")
    assert "hello bob\r\n" in person.see("(Pdb) ")
    person.type("p name * 2\r")
    assert "'bobbob'" in person.see("(Pdb) ")
    person.type("c\r")
    person.see("end of bob\r\n")
    assert person.wait() == 0
    assert person.mode_is_as_before()
    text = log(here)
    assert b"hello bob\n" in text
    assert b"'bobbob'\n(Pdb) c\nend of bob\n" in text
    assert b"\r" not in text
    assert log(here, 1) == b"the other\n"


WAITS = """
import os, signal, time
def resized(*_):  # it may come amidst a print, which print does not allow
    os.write(1, b"size %d %d\\n" % tuple(os.get_terminal_size()))
signal.signal(signal.SIGWINCH, resized)
try:
    print("ready", flush=True)
    while True: time.sleep(0.1)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    raise SystemExit(7)
"""


def test_a_window_that_changes_and_ctrl_c(here: Any, person: Person) -> None:
    here.file("s.py", WAITS)
    person.start("--tty-rank", "0", "s.py")
    person.see("ready")
    person.resize(50, 132)
    person.see("size 132 50")
    person.type("\x03")
    person.see("interrupted")  # a signal for the rank, not for the launcher
    assert person.wait() == 7
    assert person.mode_is_as_before()


@pytest.mark.parametrize("turn", range(10))
def test_ctrl_c_ends_a_program_that_knows_nothing_of_it(
    turn: int, here: Any, person: Person
) -> None:
    person.start("--tty-rank", "0", "--no-python", "sleep", "60")
    person.wait_for_other_mode()
    person.type("\x03")  # mostly before the rank has its terminal
    assert person.wait() == 128 + signal.SIGINT, turn
    assert person.mode_is_as_before()


def test_the_program_has_no_more_fds_than_any_other(here: Any, person: Person) -> None:
    counts = "for n in 0 1 2 3 4 5 6 7; do [ -e /proc/$$/fd/$n ] && echo fd $n; done; echo ended"
    person.start("--tty-rank", "0", "--no-python", "sh", "-c", counts)
    assert re.findall(r"fd (\d)", person.see("ended")) == ["0", "1", "2", "3"]
    assert person.wait() == 0


def relay_of(launcher: int) -> int:
    for tid in os.listdir(f"/proc/{launcher}/task"):
        for pid in Path(f"/proc/{launcher}/task/{tid}/children").read_text().split():
            if b"relay.py" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return int(pid)
    raise AssertionError("no relay")


def test_the_terminal_is_put_back_when_the_launcher_is_killed(here: Any, person: Person) -> None:
    here.file("s.py", WAITS)
    person.start("--tty-rank", "0", "s.py")
    person.see("ready")
    relay = relay_of(person.process.pid)
    person.process.kill()
    assert wait_gone([relay]) == []
    assert person.mode_is_as_before()
    person.process.wait()


def test_the_terminal_is_put_back_when_the_relay_is_killed(here: Any, person: Person) -> None:
    here.file("s.py", WAITS)
    person.start("--tty-rank", "0", "s.py")
    person.see("ready")
    os.kill(relay_of(person.process.pid), signal.SIGKILL)
    assert person.wait() == 128 + signal.SIGHUP  # the rank's terminal has hung up
    assert person.mode_is_as_before()


def test_without_a_terminal_the_rank_has_one_all_the_same(here: Any) -> None:
    here.file("s.py", "import os, sys; print(os.isatty(0), os.isatty(1)); print(sys.stdin.read())")
    process = here.start("--tty-rank", "0", "s.py", stdin=subprocess.PIPE)
    out, err = process.communicate("typed\n", timeout=30)
    assert (process.returncode, err) == (0, "")
    assert re.sub(r"\r|\^D|\x08", "", out) in {
        "True True\ntyped\ntyped\n\n",
        "typed\nTrue True\ntyped\n\n",
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--tty-rank", "2", "-n", "2"), "--tty-rank 2: give a local rank from 0 to 1."),
        (("--tty-rank=-1",), "--tty-rank -1: give a local rank from 0 to 0."),
        (("--tty-rank", "0", "--run-path"), "--tty-rank 0: not together with --run-path."),
        (("--tty-rank", "x"), "invalid int value: 'x'"),
    ],
)
def test_what_cannot_be(words: tuple[str, ...], said: str, here: Any) -> None:
    ended = here.script("print(1)", *words)
    assert ended.code == 2
    assert said in ended.err
