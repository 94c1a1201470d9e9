"""The grammar of ``-r`` and ``-t``, and the map that comes of it."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procession.errors import UsageError
from procession.multiprocessing.std import Std, to_map

NONE, OUT, ERR, ALL = Std.NONE, Std.OUT, Std.ERR, Std.ALL
ranks = st.integers(0, 300)
values = st.sampled_from([NONE, OUT, ERR, ALL])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", NONE),
        ("1", OUT),
        ("2", ERR),
        ("3", ALL),
        ("0:3", {0: ALL}),
        ("0:3,1:0,2:1,3:2", {0: ALL, 1: NONE, 2: OUT, 3: ERR}),
        ("10:3", {10: ALL}),
        ("1234567:1", {1234567: OUT}),
        ("0-3:3", {0: ALL, 1: ALL, 2: ALL, 3: ALL}),
        ("5-5:2", {5: ERR}),
        ("0-1:3,10:1,8-9:2", {0: ALL, 1: ALL, 10: OUT, 8: ERR, 9: ERR}),
        ("0-3:3,2:0", {0: ALL, 1: ALL, 2: NONE, 3: ALL}),
        ("007:1", {7: OUT}),
    ],
)
def test_from_str(text: str, expected: object) -> None:
    assert Std.from_str(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "4", "-1", "33", "x", "3\n", " 3", "0:", ":3", "0:4", "0:3,", ",0:3", "0:3,,1:3"),
        *("0:3 ,1:3", "0;3", "0:3:3", "-1:3", "1-:3", "-3:1", "0-1-2:3", "\u0663:1", "1:\u0663"),
        *("3-0:3", "4194305:3", "0-9999999:3", "12345678:3"),
    ],
)
def test_from_str_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="give one value for every local rank") as caught:
        Std.from_str(text)
    assert isinstance(caught.value, UsageError)
    assert repr(text) in str(caught.value)


def test_a_refusal_names_the_entry_the_whole_and_the_grammar() -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the whole text is compared
        Std.from_str("0:3,7-4:1")
    assert str(caught.value) == (
        "'7-4:1' (in '0:3,7-4:1') is a range that ends before it begins: "
        "give one value for every local rank (0 none, 1 stdout, 2 stderr, 3 both), "
        "or RANKS:VALUE[,RANKS:VALUE...] where RANKS is a local rank or a range of them, "
        "such as 3 or 0:1,10:3 or 0-3:3,4-7:2"
    )


@given(st.dictionaries(ranks, values, min_size=1))
def test_a_map_written_rank_by_rank_is_read_back(given_map: dict[int, Std]) -> None:
    text = ",".join(f"{rank}:{int(value)}" for rank, value in given_map.items())
    assert Std.from_str(text) == given_map


@given(ranks, st.integers(0, 50), values)
def test_a_range_is_its_ranks_one_by_one(first: int, more: int, value: Std) -> None:
    one_by_one = ",".join(f"{rank}:{int(value)}" for rank in range(first, first + more + 1))
    assert Std.from_str(f"{first}-{first + more}:{int(value)}") == Std.from_str(one_by_one)


@given(st.text(max_size=12) | st.from_regex(r"[0-9:,\-]{1,12}", fullmatch=True))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        read = Std.from_str(text)
    except UsageError:
        return
    assert isinstance(read, (Std, dict))


@given(values, st.integers(0, 20))
def test_to_map_of_a_value_gives_it_to_all(value: Std, size: int) -> None:
    assert to_map(value, size) == dict.fromkeys(range(size), value)


@given(st.dictionaries(ranks, values), st.integers(0, 20))
def test_to_map_of_a_map_fills_up_and_cuts_off(given_map: dict[int, Std], size: int) -> None:
    mapped = to_map(given_map, size)
    assert list(mapped) == list(range(size))
    assert all(mapped[rank] == given_map.get(rank, NONE) for rank in range(size))


def test_std_is_a_flag_that_pickles() -> None:
    assert OUT | ERR is ALL
    assert not (OUT & ERR)
    assert pickle.loads(pickle.dumps({0: ALL})) == {0: ALL}
