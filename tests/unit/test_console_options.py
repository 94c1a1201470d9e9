"""What the options of the console come to."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from procession._logs.lines import LONGEST_HELD
from procession.cli.options.console import look, prefixes
from procession.errors import UsageError
from procession.run import get_args_parser


def args(*words: str) -> Any:
    return get_args_parser().parse_args([*words, "script.py"])


def test_by_default_all_ranks_are_shown_whole() -> None:
    assert look(args(), {}) == (None, False, LONGEST_HELD, None)


@pytest.mark.parametrize(
    ("text", "ranks"), [("0", [0]), ("0,4-7", [0, 4, 5, 6, 7]), ("12 , 3-3", [3, 12])]
)
def test_console(text: str, ranks: list[int]) -> None:
    assert sorted(look(args("--console", text), {}).ranks or ()) == ranks


@pytest.mark.parametrize(("text", "size"), [("200", 200), ("64K", 65536), ("1m", 1 << 20)])
def test_line_limit(text: str, size: int) -> None:
    assert look(args("--line-limit", text), {}).limit == size


@pytest.mark.parametrize(
    ("option", "text"),
    [
        *(("--console", text) for text in ("x", "1-", "-1", "0,,1", "0;1", "1.5")),
        *(("--line-limit", text) for text in ("0", "129M", "1G", "x", "-1", "1.5K")),
    ],
)
def test_what_cannot_be_is_refused_by_name(option: str, text: str) -> None:
    with pytest.raises(UsageError, match=f"{option} .*: give"):
        look(args(f"{option}={text}"), {})


def test_prefixes() -> None:
    template = "${time} ${host} ${role_name} ${rank}/${local_rank} ${other}|"
    host = socket.gethostname()
    made = prefixes(args("--prefix", template, "--role", "x"), {}, 2, alone=True)
    assert made == {n: f"${{time}} {host} x {n}/{n} ${{other}}|" for n in (0, 1)}
    assert prefixes(args(), {}, 2, alone=True) is None


def test_ranks_are_left_open_where_there_are_other_hosts() -> None:
    environ = {"TORCHELASTIC_LOG_LINE_PREFIX_TEMPLATE": "${rank}.${local_rank}"}
    assert prefixes(args(), environ, 1, alone=False) == {0: "${rank}.0"}
