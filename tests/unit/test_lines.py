"""The line assembler: bytes in, whole lines out, one prefix a line."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any, SupportsIndex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procession._logs import lines
from procession._logs.lines import LineAssembler, payload_after

P = b"[r0]:"
# Bytes that a stream may hold, with none of the prefix's, so that prefixes can be counted.
STREAM = st.lists(
    st.sampled_from(
        [b"a", b"\n", b"\r", b"\0", b"\xff", b"\xe2\x82", b"\xe2\x82\xac", b"word " * 9]
    )
).map(b"".join)


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    """The stream in blocks that end at these places."""
    ends = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in pairwise(ends)]


def fed(assembler: LineAssembler, *blocks: bytes) -> bytes:
    """What the assembler gives out for these blocks, in one piece."""
    return b"".join(piece for block in blocks for piece in assembler.feed(block))


@pytest.mark.parametrize(
    ("blocks", "shown", "last"),
    [
        ([], b"", b""),
        ([b""], b"", b""),
        ([b"\n"], b"P\n", b""),
        ([b"one\n"], b"Pone\n", b""),
        ([b"one\ntwo\n"], b"Pone\nPtwo\n", b""),
        ([b"one\ntwo"], b"Pone\n", b"Ptwo"),
        ([b"o", b"ne", b"\nt", b"wo"], b"Pone\n", b"Ptwo"),
        ([b"\n\n", b"\n"], b"P\nP\nP\n", b""),
        ([b"1%\r2%\r", b"3%\n"], b"P1%\r2%\r3%\n", b""),
        ([b"dos\r\n"], b"Pdos\r\n", b""),
        ([b"nul\0\n"], b"Pnul\0\n", b""),
        ([b"\xff\xfe\n"], b"P\xff\xfe\n", b""),
        ([b"\xe2", b"\x82\xac\n"], b"P\xe2\x82\xac\n", b""),
        ([b"\x85\x0b\x0c\x1c\xe2\x80\xa8\n"], b"P\x85\x0b\x0c\x1c\xe2\x80\xa8\n", b""),
    ],
)
def test_blocks_become_lines(blocks: list[bytes], shown: bytes, last: bytes) -> None:
    assembler = LineAssembler(b"P")

    assert fed(assembler, *blocks) == shown
    assert assembler.held == max(0, len(last) - 1)
    assert assembler.flush() == last
    assert assembler.flush() == b""


@given(STREAM, st.lists(st.integers(0, 10**6)), st.sampled_from([b"", P]))
def test_any_cut_gives_the_same_lines(stream: bytes, places: list[int], prefix: bytes) -> None:
    assembler = LineAssembler(prefix)

    view = fed(assembler, *cut(stream, places)) + assembler.flush()

    assert view == re.sub(rb"(?m)^(?=.|\n)", prefix, stream, flags=re.DOTALL)


@given(STREAM, st.lists(st.integers(0, 10**6)))
def test_a_filter_sees_each_line_once(stream: bytes, places: list[int]) -> None:
    seen = []

    def keep(line: bytes) -> bytes | None:
        seen.append(line)
        return line if b"a" in line else None

    assembler = LineAssembler(P, keep)
    view = fed(assembler, *cut(stream, places)) + assembler.flush()

    expected = [line for line in re.split(rb"(?<=\n)", stream) if line]
    assert seen == expected
    assert view == b"".join(P + line for line in expected if b"a" in line)


@given(STREAM, st.lists(st.integers(0, 10**6)))
def test_a_shown_part_is_continued_without_a_prefix(stream: bytes, places: list[int]) -> None:
    plain, eager = LineAssembler(P), LineAssembler(P)

    whole = fed(plain, *cut(stream, places)) + plain.flush()
    parts = b"".join(fed(eager, block) + eager.flush() for block in cut(stream, places))

    assert parts == whole


@pytest.mark.parametrize(
    ("held", "rest", "shown"),
    [
        (b"", b" more\n", b"P more\n"),  # its rest takes a prefix of its own
        (b"", b"\n", b""),  # its end has been given already
        (b"", b"\n\n", b"P\n"),
        (b"more", b"\n", b"Pmore\n"),
        (b"", b"", b""),
    ],
)
def test_an_interrupted_line(held: bytes, rest: bytes, shown: bytes) -> None:
    assembler = LineAssembler(b"P")
    assembler.feed(b"part")
    assert assembler.flush() == b"Ppart"
    assembler.feed(held)

    assembler.interrupt()

    assert fed(assembler, rest) == shown
    assert fed(assembler, b"next\n") == b"Pnext\n"


def test_a_restart_forgets_the_unfinished_line() -> None:
    assembler = LineAssembler(b"P")
    assembler.feed(b"shown")
    assembler.flush()
    assembler.feed(b"held")

    assembler.interrupt()
    assembler.restart()

    assert fed(assembler, b"\nnew\n") == b"P\nPnew\n"


class Searched:
    """How many bytes have been gone through for a newline."""

    total = 0


def counted(base: Any) -> Any:
    """A bytes-like type whose searches are counted, and whose slices are of that type."""

    def search(name: str) -> Any:
        def method(self: Any, *args: Any) -> Any:
            Searched.total += len(self)
            return getattr(base, name)(self, *args)

        return method

    def slice_of(self: Any, index: SupportsIndex | slice) -> Any:
        part = base.__getitem__(self, index)
        return type(self)(part) if isinstance(index, slice) else part

    names = ("find", "rfind", "index", "rindex", "replace", "split", "count", "partition")
    methods = {name: search(name) for name in (*names, "rpartition", "rsplit", "splitlines")}
    return type(f"Counted{base.__name__}", (base,), methods | {"__getitem__": slice_of})


@pytest.mark.parametrize("size", [1, 7, 4096])
@pytest.mark.parametrize("line", [10, 30_000])
@pytest.mark.parametrize("selective", [False, True])
def test_work_is_linear(
    monkeypatch: pytest.MonkeyPatch, size: int, line: int, selective: bool
) -> None:
    # A line of 64 MiB in 1-byte blocks is a question of the same kind: is what is held gone
    # through again with every block?
    monkeypatch.setattr(lines, "bytearray", counted(bytearray), raising=False)
    monkeypatch.setattr(lines, "bytes", counted(bytes), raising=False)
    block_type = counted(bytes)
    stream = (b"x" * (line - 1) + b"\n") * (30_000 // line) + b"rest"
    assembler = LineAssembler(P, (lambda line: line) if selective else None)
    Searched.total = 0

    for start in range(0, len(stream), size):
        assembler.feed(block_type(stream[start : start + size]))

    assert len(stream) <= Searched.total <= 3 * len(stream)


@given(
    st.lists(STREAM.map(lambda text: text.replace(b"\n", b"")), min_size=1),
    st.booleans(),
    st.booleans(),
    st.integers(0, 10**6),
)
def test_payload_after_counts_the_streams_own_bytes(
    texts: list[bytes], at_line_start: bool, ends: bool, place: int
) -> None:
    pieces = [(P, text) for text in texts]
    if not at_line_start:
        pieces[0] = (b"", texts[0])
    text = b"\n".join(prefix + payload for prefix, payload in pieces) + b"\n" * ends
    if not text:
        return
    own = (
        b"\n".join(b"p" * len(prefix) + b"x" * len(payload) for prefix, payload in pieces)
        + b"\n" * ends
    )
    cut_at = place % (len(text) + 1)

    counted_bytes = payload_after(text, cut_at, len(P), at_line_start=at_line_start)

    assert counted_bytes == len(own[cut_at:].replace(b"p", b""))
