"""Several streams in one sink: no prefix inside a line, no two streams in one line."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procession._logs.lines import LineAssembler
from procession._logs.sinks import Sink, TextSink, open_sink

BLOCK = st.lists(st.sampled_from(["a", "b c", "\n", "\r", "\0"]), min_size=1).map("".join)
# (stream, block to feed) or (stream, None): its unfinished line is shown as it is.
STEPS = st.lists(st.tuples(st.integers(0, 2), st.one_of(st.none(), BLOCK)))


def play(sink: Sink, steps: list[tuple[int, str | None]]) -> None:
    """Feed blocks of three streams, with prefixes ``<0>`` to ``<2>``, to a sink."""
    streams = [LineAssembler(f"<{n}>".encode()) for n in range(3)]
    for n, block in steps:
        owner = streams[n]
        if block is None:
            sink.put_part(owner, owner.flush(), 0)
        elif pieces := owner.feed(block.encode()):
            sink.put_lines(owner, pieces, 0)
        if sink.size:
            sink.write()


def bodies(view: str, n: int) -> list[str]:
    """What a view shows of one stream, line by line."""
    return [line[3:] for line in view.split("\n") if line.startswith(f"<{n}>")]


@given(STEPS)
def test_a_line_is_one_streams_behind_one_prefix(steps: list[tuple[int, str | None]]) -> None:
    screen = io.StringIO(newline="")

    play(TextSink(screen), steps)

    for line in screen.getvalue().split("\n"):
        assert re.fullmatch(r"(<[012]>[^<>]*)?", line)


@given(STEPS)
def test_nothing_of_a_stream_is_lost_or_moved(steps: list[tuple[int, str | None]]) -> None:
    screen = io.StringIO(newline="")
    steps += [(n, None) for n in range(3)]

    play(TextSink(screen), steps)

    for n in range(3):
        written = "".join(block for m, block in steps if m == n and block)
        assert "".join(bodies(screen.getvalue(), n)) == written.replace("\n", "")


@given(STEPS)
def test_lines_that_nothing_interrupts_are_shown_as_written(
    steps: list[tuple[int, str | None]],
) -> None:
    screen = io.StringIO(newline="")
    steps = [step for step in steps if step[1] is not None] + [(n, None) for n in range(3)]

    play(TextSink(screen), steps)

    for n in range(3):
        written = "".join(block for m, block in steps if m == n and block)
        *lines, last = written.split("\n")
        assert bodies(screen.getvalue(), n) == lines + [last] * bool(last)


@pytest.mark.parametrize(
    ("steps", "view"),
    [
        ([(0, "part"), (0, None)], "<0>part"),
        ([(0, "part"), (0, None), (0, " more\n")], "<0>part more\n"),
        ([(0, "part"), (0, None), (1, "x\n")], "<0>part\n<1>x\n"),
        ([(0, "part"), (0, None), (1, "x\n"), (0, " more\n")], "<0>part\n<1>x\n<0> more\n"),
        ([(0, "part"), (0, None), (1, "x\n"), (0, "\nnext\n")], "<0>part\n<1>x\n<0>next\n"),
        ([(0, "a"), (0, None), (1, "b"), (1, None), (0, "c\n")], "<0>a\n<1>b\n<0>c\n"),
    ],
)
def test_interrupted_lines(steps: list[tuple[int, str | None]], view: str) -> None:
    screen = io.StringIO(newline="")

    play(TextSink(screen), steps)

    assert screen.getvalue() == view


def test_only_the_console_is_left_at_a_lines_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    views = []
    for console in (True, False):
        screen = io.StringIO()
        if console:
            monkeypatch.setattr("sys.stdout", screen)
        sink = TextSink(screen)
        play(sink, [(0, "part"), (0, None)])
        sink.finish()
        sink.write()
        views.append(screen.getvalue())

    assert views == ["<0>part\n", "<0>part"]


def test_bytes_that_are_no_text_are_replaced() -> None:
    screen, stream = io.StringIO(), LineAssembler(b"P")
    sink = TextSink(screen)

    for block in (b"\xe2\x82", b"\xac \xff\xe2", b"\n\x80\n"):
        sink.put_lines(stream, stream.feed(block), 0)
    sink.write()

    assert screen.getvalue() == "P\u20ac \ufffd\ufffd\nP\ufffd\n"


def test_characters_that_a_stream_cannot_encode_are_replaced() -> None:
    raw = io.BytesIO()
    sink, stream = TextSink(io.TextIOWrapper(raw, encoding="latin-1")), LineAssembler()

    sink.put_lines(stream, stream.feed("é €\n".encode()), 0)
    sink.write()

    assert raw.getvalue() == b"\xe9 ?\n"


class Failing(io.StringIO):
    """A stream whose writes fail in a given way."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def write(self, _: str, /) -> int:
        raise self.error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("I/O operation on closed file"), ""),
        (BrokenPipeError(32, "Broken pipe"), ""),
        (OSError(28, "No space left on device"), "No space left on device"),
        (RuntimeError("of the caller's own"), "of the caller's own"),
    ],
)
def test_a_stream_that_fails_ends_the_view_alone(
    caplog: pytest.LogCaptureFixture, error: Exception, said: str
) -> None:
    sink, stream = TextSink(Failing(error)), LineAssembler()

    for _ in range(2):
        sink.put_lines(stream, stream.feed(b"line\n"), 0)
        if sink.size:
            sink.write()

    assert sink.closed
    assert sink.size == 0
    assert [said in record.getMessage() for record in caplog.records] == ([True] if said else [])


def test_streams_on_one_place_share_a_sink(tmp_path: Any) -> None:
    path, screen = str(tmp_path / "view"), io.StringIO()
    sinks = [open_sink(path), open_sink(path), open_sink(screen), open_sink(screen)]

    keys = [sink.key for sink in sinks]

    assert keys[0] == keys[1]
    assert keys[2] == keys[3]
    assert len(set(keys)) == 2
    for sink in sinks:
        sink.close()
