"""The last lines of a log: bounded, from the end, and none where there is no file to read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procession._report.evidence import final_lines, last_lines


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "stderr.log"


CASES = {
    "empty": (b"", ()),
    "one line": (b"boom\n", ("boom",)),
    "no newline at the end": (b"a\nboom", ("a", "boom")),
    "blank lines at the end": (b"a\n\nb\n \n\n", ("a", "", "b")),
    "only blank lines": (b"\n \n\n", ()),
    "progress": (b"  1%\r 50%\r100%\nboom\n", ("100%", "boom")),
    "progress that was cut": (b" 50%\r", (" 50%",)),
    "lines of Windows": (b"a\r\nb\r\n", ("a", "b")),
    "not UTF-8": (b"caf\xe9\n\0\n", ("caf\ufffd", "\0")),
    "separators that are no ends of lines": ("a\x0b\u2028b\n".encode(), ("a\x0b\u2028b",)),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_a_terminal_would_show(case: tuple[bytes, tuple[str, ...]], log: Path) -> None:
    content, expected = case
    log.write_bytes(content)
    assert last_lines(str(log)) == expected


def test_twenty_lines_by_default(log: Path) -> None:
    log.write_text("".join(f"{n}\n" for n in range(100)))
    assert last_lines(str(log)) == tuple(str(n) for n in range(80, 100))
    assert last_lines(str(log), count=2) == ("98", "99")
    assert last_lines(str(log), count=0) == ()


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(9, ("aaa", "bbb")), (8, ("aaa", "bbb")), (7, ("bbb",)), (4, ("bbb",)), (3, ("bb",)), (1, ())],
)
def test_only_whole_lines_within_the_limit(
    log: Path, limit: int, expected: tuple[str, ...]
) -> None:
    log.write_bytes(b"x\naaa\nbbb\n")
    assert last_lines(str(log), limit=limit) == expected


def test_the_end_of_a_line_longer_than_the_limit(log: Path) -> None:
    log.write_bytes(b"x" * 100_000 + b"END")
    (line,) = last_lines(str(log))
    assert len(line) == 16384
    assert line.endswith("xEND")


def test_a_sparse_terabyte_is_not_read(log: Path) -> None:
    with log.open("wb") as file:
        file.truncate(1 << 40)
        file.seek(0, os.SEEK_END)
        file.write(b"\nboom\n")
    assert last_lines(str(log)) == ("boom",)


def test_nothing_to_read(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in ("", "a\0b", fifo, tmp_path, tmp_path / "none", "/dev/zero"):
        assert last_lines(str(path)) == ()


def test_a_log_that_has_been_removed_is_not_taken_for_an_empty_one(log: Path) -> None:
    log.touch()
    assert final_lines(str(log), 1) == ()
    log.unlink()
    assert final_lines(str(log), 1) == final_lines(str(log), -6) == ("[it has been removed]",)


FAULT = """\
step 7
terminate called after throwing an instance of 'c10::Error'
Fatal Python error: Aborted

Thread 0x00007f01 (most recent call first):
  File "/a.py", line 1 in wait

Current thread 0x00007f02 (most recent call first):
  File "/t.py", line 3 in allreduce
  File "/t.py", line 9 in <module>

Extension modules: numpy._core, torch._C (total: 2)
"""
SEEN = (
    "step 7",
    "terminate called after throwing an instance of 'c10::Error'",
    "Fatal Python error: Aborted",
    "Current thread 0x00007f02 (most recent call first):",
    '  File "/t.py", line 3 in allreduce',
    '  File "/t.py", line 9 in <module>',
)
ALONE = "Fatal Python error: Segmentation fault\n\n<no Python frame>\n\nExtension modules: a\n"


@pytest.mark.parametrize(
    ("text", "exitcode", "expected"),
    [
        (FAULT, -6, SEEN),
        (ALONE, -11, ("Fatal Python error: Segmentation fault", "<no Python frame>")),
        ("boom\n", -11, ("boom",)),
        ("", -11, ()),
        (FAULT, 3, tuple(FAULT.splitlines())),
        ("early\n" + ALONE + FAULT, -6, None),
    ],
)
def test_where_faulthandler_saw_it(
    text: str, exitcode: int, expected: tuple[str, ...] | None, log: Path
) -> None:
    log.write_text(text)
    shown = final_lines(str(log), exitcode)
    if expected is None:
        assert shown[-len(SEEN) :] == SEEN
    else:
        assert shown == expected


def test_a_fault_far_from_the_end(log: Path) -> None:
    stacks = "".join(f"Thread {n} (most recent call first):\n  File {n}\n\n" for n in range(2000))
    log.write_text(f"Fatal Python error: Aborted\n\nCurrent thread 1:\n  File 1\n\n{stacks}")
    assert final_lines(str(log), -6)[-2:] == ("Current thread 1:", "  File 1")


@given(content=st.binary(max_size=60), limit=st.integers(1, 70), count=st.integers(1, 6))
def test_always_at_most_what_was_asked_for(
    content: bytes, limit: int, count: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any-stderr.log"
    path.write_bytes(content)
    lines = last_lines(str(path), count, limit)
    assert len(lines) <= count
    assert sum(map(len, lines)) <= limit
    assert not lines or lines[-1].strip()
