"""Progress bars, colours and prompts of many ranks on one terminal, as a terminal in memory shows them."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyte
import pytest

from procession._logs.bars import TerminalSink
from procession._logs.lines import LineAssembler

# The child reads orders: a number of a log and what to append to it; "say" writes as the command does.
CHILD = """
import ast, sys
from procession._logs import tail
from procession._logs.look import Look
from procession.cli.say import say
from procession.multiprocessing.tail_log import TailLog
folder, look = sys.argv[1], ast.literal_eval(sys.argv[2])
tail._CLEARING_PATIENCE, tail._THREAD_PATIENCE = (30.0, 30.0), 30.0  # a thread that is held up for a second is not given up
paths = {n: f"{folder}/{n}" for n in range(30)}
log = TailLog("t", paths, sys.stdout, {n: f"<{n}>" for n in paths})
log.looking(Look(**look)).start()
for order in sys.stdin:
    number, text = ast.literal_eval(order)
    if number == "say":
        say(text)
    elif number == "all":  # at one time, as the tail sees it: a line waits for its like for a moment alone
        with tail.fork_guard():
            for path in paths.values():
                with open(path, "ab") as file:
                    file.write(text)
    else:
        with open(paths[number], "ab") as file:
            file.write(text)
log.stop()
"""


class Terminal:
    """A child on a terminal of which we are the screen."""

    def __init__(self, folder: Path, columns: int, rows: int, look: str, term: str) -> None:
        self.screen = pyte.Screen(columns, rows)
        self.stream = pyte.ByteStream(self.screen)
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(folder), look],
            stdin=subprocess.PIPE,
            stdout=slave,
            stderr=slave,
            env={**os.environ, "TERM": term},
        )
        os.close(slave)

    def order(self, number: int | str, text: bytes | str) -> None:
        assert self.child.stdin
        self.child.stdin.write(repr((number, text)).encode() + b"\n")
        self.child.stdin.flush()

    def rows(self) -> list[str]:
        return [row.rstrip() for row in self.screen.display if row.strip()]

    def shows(self, *rows: str) -> None:
        """Wait until the screen is this, blank rows left out."""
        self.wait_until(lambda: self.rows() == list(rows))

    def wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not condition():
            assert select.select([self.master], [], [], deadline - time.monotonic())[0], self.rows()
            self.stream.feed(os.read(self.master, 65536))

    def end(self) -> None:
        assert self.child.stdin
        self.child.stdin.close()
        try:
            while data := os.read(self.master, 65536):
                self.stream.feed(data)
        except OSError:  # EIO: the last holder of the terminal is gone
            pass
        assert self.child.wait(30) == 0


@pytest.fixture
def terminal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Terminal]:
    options = {"columns": 40, "rows": 12, "look": "{'colour': False}", "term": "xterm"}
    marker = request.node.get_closest_marker("parametrize")
    options |= getattr(request, "param", {}) if marker else {}
    terminal = Terminal(tmp_path, **options)  # type: ignore[arg-type]
    yield terminal
    with terminal.child as child:
        child.kill()
    os.close(terminal.master)


def on(**options: object) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("terminal", [options], indirect=True)


def test_bars_stay_at_the_bottom_in_the_order_of_ranks(terminal: Terminal) -> None:
    terminal.order(2, b"\r10%")
    terminal.shows("<2>10%")
    terminal.order(0, b"\r 1%")
    terminal.shows("<0> 1%", "<2>10%")
    terminal.order(1, b"a line\n")
    terminal.shows("<1>a line", "<0> 1%", "<2>10%")
    terminal.order(2, b"\r20%")
    terminal.shows("<1>a line", "<0> 1%", "<2>20%")
    terminal.order(2, b"\r100%\nnext\n")
    terminal.shows("<1>a line", "<2>100%", "<2>next", "<0> 1%")
    terminal.end()
    assert terminal.rows() == ["<1>a line", "<2>100%", "<2>next", "<0> 1%"]


def test_a_message_of_the_command_passes_above_the_bars(terminal: Terminal) -> None:
    terminal.order(0, b"\r10%")
    terminal.order(1, b"\r20%")
    terminal.shows("<0>10%", "<1>20%")
    terminal.order("say", "stopping")
    terminal.shows("procession: stopping", "<0>10%", "<1>20%")
    terminal.order(1, b"\r30%")
    terminal.shows("procession: stopping", "<0>10%", "<1>30%")
    terminal.end()


def test_a_message_of_the_command_has_a_row_of_its_own_beside_a_prompt(terminal: Terminal) -> None:
    terminal.order(1, b"name? ")
    terminal.shows("<1>name?")
    terminal.order("say", "stopping")
    terminal.shows("<1>name?", "procession: stopping")
    terminal.order(1, b"Ann\n")
    terminal.shows("<1>name?", "procession: stopping", "<1>Ann")
    terminal.end()


def test_a_prompt_has_the_bottom_until_its_line_ends(terminal: Terminal) -> None:
    terminal.order(0, b"\r10%")
    terminal.shows("<0>10%")
    terminal.order(1, b"name? ")
    terminal.shows("<1>name?")
    assert terminal.screen.cursor.x == len("<1>name? ")
    terminal.order(1, b"Ann\n")
    terminal.shows("<1>name? Ann", "<0>10%")
    terminal.end()


@on(columns=20)
def test_a_bar_takes_one_row_whatever_its_width(terminal: Terminal) -> None:
    terminal.order(0, "\r日本語日本語日本語日本語".encode())
    terminal.order(1, b"\r\x1b[31m" + b"x" * 90)
    terminal.wait_until(lambda: len(terminal.rows()) == 2)
    terminal.order(2, b"line\n")
    terminal.wait_until(lambda: len(terminal.rows()) == 3)
    first, second, third = terminal.rows()
    assert first == "<2>line"
    assert second.replace(" ", "") == "<0>日本語日本語日本"
    assert third == "<1>" + "x" * 16
    terminal.end()


@on(rows=10)
def test_more_bars_than_half_a_screen_are_counted(terminal: Terminal) -> None:
    for n in range(12):
        terminal.order(n, b"\r%d" % n)
    terminal.shows("<0>0", "<1>1", "<2>2", "<3>3", "... and 8 more")
    terminal.end()


@on(columns=19)
def test_a_terminal_that_is_too_narrow_gets_no_bars(terminal: Terminal) -> None:
    terminal.order(0, b"\r10%\r20%")
    terminal.order(1, b"line\n")
    terminal.shows("<1>line")
    terminal.order(0, b"\n")
    terminal.shows("<1>line", "<0>20%")
    terminal.end()


@on(term="dumb")
def test_a_dumb_terminal_gets_no_bars(terminal: Terminal) -> None:
    terminal.order(0, b"\r10%\r20%\n")
    terminal.shows("<0>20%")
    terminal.end()


@on(look="{'colour': True}")
def test_no_rank_colours_the_lines_of_another(terminal: Terminal) -> None:
    terminal.order(0, b"\x1b[31mred\n")
    terminal.shows("<0>red")
    terminal.order(1, b"plain\n")
    terminal.shows("<0>red", "<1>plain")
    terminal.order(0, b"still\n")
    terminal.shows("<0>red", "<1>plain", "<0>still")
    cells = [[terminal.screen.buffer[row][column].fg for column in (0, 3)] for row in range(3)]
    assert cells == [["cyan", "red"], ["brown", "default"], ["cyan", "red"]]
    terminal.end()


@on(look="{'colour': False, 'fold': True}")
def test_what_all_ranks_print_is_shown_once(terminal: Terminal) -> None:
    terminal.order("all", b"ready\n")
    terminal.shows("[0-29] (30x):ready")
    terminal.order(3, b"mine\n")
    terminal.shows("[0-29] (30x):ready", "<3>mine")
    terminal.order(3, b"part")
    terminal.shows("[0-29] (30x):ready", "<3>mine", "<3>part")
    terminal.end()


@on(look="{'colour': False, 'fold': True}")
def test_what_is_folded_has_no_head_within_a_line(terminal: Terminal) -> None:
    terminal.order(3, b"name? ")
    terminal.shows("<3>name?")
    terminal.order(3, b"Ann\nnext\n")
    terminal.shows("<3>name? Ann", "<3>next")
    terminal.order(3, b"name? ")
    terminal.shows("<3>name? Ann", "<3>next", "<3>name?")
    terminal.order(4, b"mine\n")
    terminal.shows("<3>name? Ann", "<3>next", "<3>name?", "<4>mine")
    terminal.order(3, b"Bo\n")
    terminal.shows("<3>name? Ann", "<3>next", "<3>name?", "<4>mine", "<3>Bo")
    terminal.end()


@on(look="{'colour': False, 'limit': 8}")
def test_a_long_line_is_cut_with_a_mark_that_names_its_file(
    terminal: Terminal, tmp_path: Path
) -> None:
    terminal.order(0, b"0123456789abc\nshort\n")
    terminal.wait_until(lambda: "<0>short" in terminal.rows())
    text = "".join(terminal.screen.display).replace(" ", "")
    assert f"<0>01234567[...5morebytesofthislinein{tmp_path}/0]<0>short" in text
    terminal.end()


def test_what_is_cleared_by_the_end_of_a_bar_is_only_the_bar(terminal: Terminal) -> None:
    """The stop of the view: bars become lines."""
    terminal.order(0, b"\r10%")
    terminal.order(1, b"\r20%")
    terminal.shows("<0>10%", "<1>20%")
    terminal.end()
    assert terminal.rows() == ["<0>10%", "<1>20%"]


@pytest.mark.parametrize(
    ("breaks", "columns", "up"),
    [
        (True, 80, b"\x1b[1A"),  # two bars of 49 columns
        (True, 30, b"\x1b[3A"),
        (True, 120, b"\x1b[1A"),
        (False, 30, b"\x1b[1A"),
    ],
)
def test_bars_are_erased_from_a_terminal_that_has_become_narrower(
    breaks: bool, columns: int, up: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for name in ("XTERM_VERSION", "STY"):
        monkeypatch.delenv(name, raising=False)
    if not breaks:
        monkeypatch.setenv("XTERM_VERSION", "XTerm(390)")
    master, slave = pty.openpty()
    try:
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 50, 0, 0))
        sink, owners = TerminalSink(slave), [LineAssembler(rank=n) for n in range(2)]
        for owner in owners:
            sink.put_bar(owner, b"x" * 60)
        assert sink.write()
        assert os.read(master, 65536) == b"x" * 49 + b"\r\n" + b"x" * 49
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        sink.put_lines(LineAssembler(), [b"line\n"], 5)
        assert sink.write()
        assert os.read(master, 65536).startswith(b"\r" + up + b"\x1b[Jline\r\n")
    finally:
        os.close(master)
        os.close(slave)
