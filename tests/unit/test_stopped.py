"""What is known of stopped workers, made when it is asked for; and who is on its way out."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess

import pytest

from procession._os.proc import is_exiting
from procession.multiprocessing.errors import ProcessFailure
from procession.multiprocessing.stopped import Stopped


def failure(rank: int) -> ProcessFailure:
    return ProcessFailure(rank, 100 + rank, -15, "", timestamp_ns=rank)


def test_each_is_described_once_and_only_when_asked_for() -> None:
    asked: list[int] = []

    def describe(rank: int) -> ProcessFailure:
        asked.append(rank)
        return failure(rank)

    stopped = Stopped([3, 1, 2], describe)
    assert (len(stopped), list(stopped), 1 in stopped, 7 in stopped) == (3, [3, 1, 2], True, False)
    assert bool(stopped)
    assert asked == []
    assert stopped[1] is stopped[1]
    assert asked == [1]
    assert stopped == {rank: failure(rank) for rank in (1, 2, 3)}
    assert sorted(asked) == [1, 2, 3]
    with pytest.raises(KeyError):
        stopped[7]


def test_copies_hold_a_plain_dict() -> None:
    stopped = Stopped([1], failure)
    expected = {1: failure(1)}
    for copied in (pickle.loads(pickle.dumps(stopped)), copy.deepcopy(stopped)):
        assert type(copied) is dict
        assert copied == expected
    assert repr(stopped) == repr(expected)
    assert not Stopped([], failure)


def test_who_is_on_its_way_out() -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
        assert not is_exiting(child.pid)
        assert child.stdin
        child.stdin.close()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert is_exiting(child.pid)
    assert not is_exiting(child.pid)  # nothing is known of it
