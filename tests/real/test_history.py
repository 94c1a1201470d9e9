"""The last lines of files, looked for from their ends, against all their lines."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procession._logs import history
from procession._logs.history import Part, Wish, show
from procession._logs.sinks import open_sink

LINE = st.sampled_from(
    [b"", b"keep", b"x", b"x" * 9, b"a keep" * 5, b"\xff\r", b"keep" + b"y" * 40]
)
FILE = st.tuples(st.lists(LINE, max_size=12), st.sampled_from([b"", b"part", b"keep"]))


def lines_of(whole: list[bytes], part: bytes) -> list[bytes]:
    return [line + b"\n" for line in whole] + [part] * bool(part)


@given(
    files=st.lists(FILE, min_size=1, max_size=3),
    last=st.integers(0, 6),
    greps=st.booleans(),
    merge=st.booleans(),
    block=st.integers(1, 20),
)
def test_the_last_lines(
    files: list[tuple[list[bytes], bytes]], last: int, greps: bool, merge: bool, block: int
) -> None:
    kept = [
        [b"<%d>" % n + line for line in lines_of(*file) if not greps or b"keep" in line]
        for n, file in enumerate(files)
    ]
    if merge:  # a file's time is that at which it was last written to; what goes on has none yet
        both = sorted((line for lines in kept for line in lines), key=is_begun)
        expected = both[-last or len(both) :]
    else:
        expected = [line for lines in kept for line in lines[-last or len(lines) :]]
    with tempfile.TemporaryDirectory() as folder, patch.object(history, "BLOCK", block):
        paths = [Path(folder, str(n)) for n in range(len(files))]
        for n, (path, file) in enumerate(zip(paths, files, strict=True)):
            path.write_bytes(b"".join(lines_of(*file)))
            os.utime(path, (n, n))
        shown = shown_of(paths, Wish(last=last, keep=is_kept if greps else None, merge=merge))
    assert unended(shown) == unended(b"".join(expected))


def is_begun(line: bytes) -> bool:
    return not line.endswith(b"\n")


def is_kept(line: str) -> bool:
    return "keep" in line


def unended(view: bytes) -> list[bytes]:
    """The lines of a view: where one without an end stands before another, an end is put to it."""
    return view.replace(b"<", b"\n<").split()


def shown_of(paths: list[Path], wish: Wish) -> bytes:
    view = paths[0].with_name("view")
    sink = open_sink(str(view))
    show([Part(str(path), b"<%s>" % path.name.encode(), wish) for path in paths], wish, sink)
    sink.close()
    return view.read_bytes()


@pytest.mark.parametrize("merge", [True, False])
@pytest.mark.parametrize("keep", [None, is_kept])
def test_the_last_line_is_found_without_reading_the_others(
    merge: bool, keep: Callable[[str], bool] | None, tmp_path: Path
) -> None:
    log = tmp_path / "0"
    log.write_bytes(b"keep\n" * 1_000_000 + b"x" * 200_000 + b"\nkeep the last\n")
    read = 0

    def counted(fd: int, size: int, offset: int) -> bytes:
        nonlocal read
        read += size
        return pread(fd, size, offset)

    pread = os.pread
    with patch.object(os, "pread", counted):
        assert shown_of([log], Wish(last=1, keep=keep, merge=merge)) == b"<0>keep the last\n"
    assert read < 200_000
