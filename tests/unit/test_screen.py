"""What a terminal that many streams share is sent for a stream's bytes."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procession._logs import lines as lines_module
from procession._logs import screen
from procession._logs.cells import fit, rows_of
from procession._logs.screen import Colours, ScreenLines, newest

RED, BOLD, RESET = b"\x1b[31m", b"\x1b[1m", b"\x1b[0m"
TRACE = b"Traceback (most recent call last):"


def shown(*blocks: bytes, lines: ScreenLines | None = None) -> bytes:
    lines = lines or ScreenLines(b"P")
    return b"".join(piece for block in blocks for piece in lines.feed(block))


@pytest.mark.parametrize(
    ("stream", "view"),
    [
        (b"plain\n", b"Pplain\n"),
        (RED + b"red" + RESET + b"\n", b"P" + RED + b"red" + RESET + b"\n"),
        # An open colour ends with its line and begins again behind the next prefix.
        (
            RED + b"a\nb\n" + RESET + b"c\n",
            b"P\x1b[31ma\x1b[0m\nP\x1b[31mb\x1b[0m\nP\x1b[31m\x1b[0mc\n",
        ),
        # What would move the cursor, ring, or title the window is left out.
        (b"\x1b[2J\x1b[3;4Hx\x1b[K\x1b[A\x07\x08\x0c\x00\n", b"Px\n"),
        (b"\x1b]0;title\x07x\x1b]8;;http://a\x1b\\y\x1b]8;;\x1b\\\x1bcz\x1b(B\n", b"Pxyz\n"),
        (b"\x1b[1mbold\x1b(B\x1b[m x\n", b"P\x1b[1mbold\x1b[m x\n"),  # tput bold, tput sgr0
        (b"\x1bPq#0;2~~\x1b\\x\x1b_Gf=100;AAAA\x1b\\y\x1b#8z\n", b"Pxyz\n"),  # images
        (b"a\tb\n", b"Pa\tb\n"),
        (b"\xff\xe2\x82\xac\n", b"P\xff\xe2\x82\xac\n"),
        # A line that is drawn again is its newest state.
        (b" 10%\r 20%\r100%\n", b"P100%\n"),
        (b"\r 10%\r 20%\r\n", b"P 20%\n"),
        (b"dos\r\n\r\n\n", b"Pdos\nP\nP\n"),
        # Others below it, of tqdm in tqdm: the cursor goes up when they have been drawn, and down to draw them.
        (b"\ra\n\rb\x1b[A\n\n\rc\x1b[A\x1b[A\n\n\rd\x1b[A\x1b[A\n\n\re\n", b"Pa\nPb\nPe\n"),
        (b"up\n\x1b[A\rover\nnext\n", b"Pup\nPover\nPnext\n"),
        (
            b"\repoch 0\n\r1\x1b[A\n\r2\x1b[A\n\r \r\x1b[A\repoch 1\n\r1\x1b[A\n\r2\x1b[A\rend\n",
            b"Pepoch 0\nPepoch 1\nPend\n",
        ),
        (
            b"\r40%Traceback (most recent call last):\n",
            b"P40%\nPTraceback (most recent call last):\n",
        ),
        (b"\rTraceback (most recent call last):\n", b"PTraceback (most recent call last):\n"),
    ],
)
def test_lines(stream: bytes, view: bytes) -> None:
    assert shown(stream) == view


@given(
    st.lists(
        st.sampled_from(
            [
                b"a",
                b"\r",
                b"\n",
                TRACE,
                RED,
                BOLD,
                RESET,
                b"\x1b[2J",
                b"\x1b",
                b"\x1b[",
                b"A",
                b"\xff",
            ]
        )
    ).map(b"".join),
    st.integers(1, 7),
)
def test_no_cut_changes_a_line_and_no_line_leaves_a_colour_on(stream: bytes, size: int) -> None:
    whole = shown(stream)
    blocks = [stream[n : n + size] for n in range(0, len(stream), size)]
    assert shown(*blocks) == whole
    for line in whole.split(b"\n"):
        colours = Colours()
        colours.read(line)
        assert colours.again() == b""
        assert not re.search(rb"\x1b(?!\[[\d;:]*m)", line)


@pytest.mark.parametrize(
    ("text", "again"),
    [
        (b"\x1b[1;31m", b"\x1b[1;31m"),
        (b"\x1b[31m\x1b[32m", b"\x1b[32m"),
        (b"\x1b[38;5;200;1m", b"\x1b[38;5;200;1m"),
        (b"\x1b[38;2;1;2;3m\x1b[48:5:7m", b"\x1b[38;2;1;2;3;48:5:7m"),
        (b"\x1b[1;31;4m\x1b[22;39m", b"\x1b[4m"),
        (b"\x1b[31m\x1b[m", b""),
        (b"\x1b[31m\x1b[0;1m", b"\x1b[1m"),
        (b"\x1b[38m\x1b[38;9m", b"\x1b[9m"),
        (b"\x1b[999m", b""),
    ],
)
def test_what_is_on(text: bytes, again: bytes) -> None:
    colours = Colours()
    colours.read(text)
    assert colours.again() == again


class Work:
    """How many bytes have been searched or copied."""

    done = 0


def counted(base: Any) -> Any:
    """A bytes-like type that counts what is searched in it and what is copied into it."""

    def counting(name: str) -> Any:
        def method(self: Any, *args: Any) -> Any:
            result: Any = getattr(base, name)(self, *args)
            made = len(result) if isinstance(result, base) else 0
            Work.done += made if name == "__getitem__" else max(len(self), made)
            return type(self)(result) if type(result) is base else result

        return method

    def made(cls: Any, *args: Any) -> Any:
        Work.done += len(args[0]) if args and isinstance(args[0], (bytes, bytearray)) else 0
        return base.__new__(cls, *args)

    searches = ("find", "rfind", "replace", "split", "rstrip", "partition", "__contains__")
    body = {name: counting(name) for name in (*searches, "__add__", "__getitem__")}
    return type(f"Counted{base.__name__}", (base,), body | {"__new__": made})


class CountedPattern:
    def __init__(self, pattern: re.Pattern[bytes]) -> None:
        self._pattern = pattern

    def sub(self, by: bytes, text: bytes) -> bytes:
        Work.done += len(text)
        return self._pattern.sub(by, text)

    def findall(self, text: bytes) -> list[bytes]:
        Work.done += len(text)
        return self._pattern.findall(text)


@pytest.mark.parametrize("size", [1, 7, 4096])
@pytest.mark.parametrize(
    "stream",
    [
        b"x" * 30_000,
        b"x" * 15_000 + b"\r" * 15_000,
        b"\r" + b"x" * 30_000,
        (b"\r" + b"x" * 99) * 300,
        (b"x" * 99 + b"\r\n") * 300,
        (RED + b"x\n") * 5_000,
        b"x" * 15_000 + b"\x1b]" * 7_500,
        (b"\r" + b"x" * 99 + b"\x1b[A\x1b[A\n\n") * 300,
        b"x" * 30_000 + b"\x1b[A" * 500 + b"\n" * 500,
    ],
    ids=[
        *("a line", "many \\r behind a line", "a state", "states", "dos", "colours", "titles"),
        *("bars below each other", "up and down"),
    ],
)
def test_work_is_linear(monkeypatch: pytest.MonkeyPatch, stream: bytes, size: int) -> None:
    for module in (lines_module, screen):
        for base in (bytes, bytearray):
            monkeypatch.setattr(module, base.__name__, counted(base), raising=False)
    for name in ("_CONTROL", "_COLOUR"):
        monkeypatch.setattr(screen, name, CountedPattern(getattr(screen, name)))
    block_type, lines = counted(bytes), ScreenLines(b"P", redraws=True)
    blocks = [block_type(stream[start : start + size]) for start in range(0, len(stream), size)]
    Work.done = 0

    for block in [*blocks, block_type(b"\n")]:
        lines.feed(block)

    assert len(stream) <= Work.done <= 20 * len(stream)


def test_what_is_on_stays_short_however_often_it_changes() -> None:
    colours = Colours()
    for n in range(10_000):
        colours.read(b"\x1b[%d;38;5;%dm" % (30 + n % 8, n % 256))
    assert len(colours.again()) < 100


@pytest.mark.parametrize(
    ("text", "state"),
    [(b"a\rb", b"b"), (b"a\rb\r", b"b"), (b"a\r\r", b"a"), (b"\r", b""), (b"ab", b"ab")],
)
def test_newest_state(text: bytes, state: bytes) -> None:
    assert newest(text) == state


def test_a_bar_is_known_while_it_is_drawn_and_takes_no_memory() -> None:
    lines = ScreenLines(b"P", redraws=True)
    for n in range(1000):
        assert shown(b"\r" + RED + b"%d %%" % n, lines=lines) == b""
        assert lines.is_bar
        assert lines.bar == b"P" + RED + b"%d %%" % n + RESET
        assert lines.held < 20
    assert shown(b"\n", lines=lines) == b"P" + RED + b"999 %" + RESET + b"\n"
    assert not lines.is_bar


def test_lines_that_are_not_wanted_are_left_out() -> None:
    lines = ScreenLines(b"P", redraws=True, wanted=lambda line: line if b"b" in line else None)
    stream = b"10%\r20%\nb 10%\rb 20%\n" + RED + b"a\nb\n"
    assert shown(stream, lines=lines) == b"Pb 20%\nPb\n"  # a colour is switched on by what is shown
    shown(b"\rb 30%", lines=lines)
    assert not lines.is_bar  # it may turn out not to be wanted
    assert lines.selective
    assert lines.flush() == b"Pb 30%"


def test_a_prompt_is_no_bar() -> None:
    lines = ScreenLines(b"P", redraws=True)
    shown(b"name? ", lines=lines)
    assert not lines.is_bar
    assert lines.flush() == b"Pname? "
    assert shown(b"Ann\n", lines=lines) == b"Ann\n"


@pytest.mark.parametrize(
    ("text", "room", "fitting"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "abc"),
        ("日本語", 5, "日本"),
        ("e\u0301e\u0301", 1, "e\u0301"),
        ("\x1b[31mabcd\x1b[0m", 2, "\x1b[31mab\x1b[0m"),
        ("a\tb", 4, "a   "),
        ("", 0, ""),
    ],
)
def test_fit(text: str, room: int, fitting: str) -> None:
    assert fit(text, room) == fitting
    assert rows_of(fitting, room) == 1


@pytest.mark.parametrize(
    ("text", "columns", "rows"),
    [
        ("", 10, 1),
        ("0123456789", 10, 1),
        ("0123456789x", 10, 2),
        ("x" * 31, 10, 4),
        ("日本語", 3, 3),  # a wide one does not fit into the last column
        ("e\u0301" * 10, 10, 1),
        ("\x1b[38;5;200m0123456789\x1b[0m", 10, 1),
        ("0123456789x", 0, 1),
    ],
)
def test_rows_of_a_line(text: str, columns: int, rows: int) -> None:
    assert rows_of(text, columns) == rows
