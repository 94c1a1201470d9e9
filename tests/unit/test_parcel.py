"""Values in files: there and back, one behind the other, and torn in every place."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pickle import PickleBuffer, PicklingError
from typing import Any, BinaryIO

import numpy
import pytest

from procession._os.anonymous import anonymous_file, freeze
from procession._worker import parcel, reply
from procession.multiprocessing.replies import Replies

BIG = parcel.LARGE


@pytest.fixture
def file() -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile() as made:
        yield made


VALUES = [
    None, 3, "text", b"", b"x" * (BIG + 1), list(range(1000)),
    numpy.zeros(0), numpy.arange(BIG, dtype="f8"), numpy.ones((3, BIG), "u1").T,
    {"two": [numpy.ones(BIG, "u1"), numpy.zeros(BIG + 7, "u1")], "small": numpy.ones(5)},
]  # fmt: skip


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return all(map(same, one, other))
    return bool(numpy.array_equal(one, other)) and type(one) is type(other)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_there_and_back(file: BinaryIO, value: Any) -> None:
    file.write(b"abc")  # it begins where it begins
    parcel.write(file, value)
    file.seek(3)
    assert same(parcel.read(file), value)


def test_one_behind_the_other(file: BinaryIO) -> None:
    for value in VALUES:
        parcel.write(file, value)
    file.seek(0)
    for value in VALUES:
        assert same(parcel.read(file), value)
    file.seek(0)
    for _ in VALUES[:-1]:
        parcel.skip(file)
    assert same(parcel.read(file), VALUES[-1])


def test_large_arrays_are_mapped_aligned_and_our_own(file: BinaryIO) -> None:
    parcel.write(file, VALUES[-1])
    file.seek(0)
    first, second = parcel.read(file)["two"]
    assert first.ctypes.data % 64 == second.ctypes.data % 64 == 0
    first[0] = 99
    file.seek(0)
    assert parcel.read(file)["two"][0][0] == 1


def test_a_buffer_that_lies_in_pieces_is_refused_as_by_pickle(file: BinaryIO) -> None:
    with pytest.raises(PicklingError):
        parcel.write(file, PickleBuffer(memoryview(bytes(4 * BIG))[::2]))


@pytest.mark.parametrize("value", VALUES[3:], ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("part", [0.0, 0.001, 0.5, 0.999])
def test_torn_replies_are_a_failure_of_their_rank(value: Any, part: float) -> None:
    replies = Replies()
    fd = replies.open(3)
    reply.Reply(fd).value(value)
    content = os.fstat(fd).st_size - reply.CONTENT
    os.ftruncate(fd, reply.CONTENT + int(part * content))
    replies.close(wanted=True)
    outcome = replies.take(3)
    assert (outcome.stage, outcome.value) == (reply.VALUE, None)
    assert outcome.lost.startswith("the return value of local rank 3 cannot be rebuilt here: ")
    assert outcome.problem == outcome.lost


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "before its function was called"),
        (b"\0", "before its function was called"),
        (reply.CALLED, None),
        (reply.RETURNED, "while its return value was pickled"),
        (reply.VALUE, "cannot be rebuilt here"),
        (reply.VALUE + b"\xff" * 200, "cannot be rebuilt here"),
        (reply.RAISED, ""),
        (reply.RAISED + b"\xff" * 200, ""),
        (b"?" * 200, ""),
    ],
)
def test_what_a_reply_says_of_a_worker_that_ended_with_0(
    content: bytes, problem: str | None
) -> None:
    replies = Replies()
    os.write(replies.open(0), content)
    replies.close(wanted=True)
    found = replies.take(0).problem
    assert found is problem is None or (found is not None and problem is not None)
    assert (problem or "") in (found or "")


def test_values_that_nobody_wants_are_not_rebuilt() -> None:
    replies = Replies()
    reply.Reply(replies.open(0)).value([1])
    replies.close(wanted=False)
    assert replies.take(0).value is None


@pytest.mark.full_platform
def test_a_frozen_file_can_be_read_and_not_changed() -> None:
    fd = anonymous_file("test")
    try:
        os.write(fd, b"abc")
        freeze(fd)
        assert os.pread(fd, 9, 0) == b"abc"
        for change in (lambda: os.write(fd, b"d"), lambda: os.ftruncate(fd, 0)):
            with pytest.raises(PermissionError):
                change()
    finally:
        os.close(fd)
