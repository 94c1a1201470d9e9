"""The parser of ``procession run``: what is an option, where SCRIPT is, and whose the rest is."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procession.cli.options.actions import Default, EnvOption, EnvSwitch
from procession.errors import UsageError
from procession.run import get_args_parser, parse_args

OPTIONS = [action for action in get_args_parser()._actions if action.option_strings]
WITH_VALUE = [action for action in OPTIONS if isinstance(action, EnvOption)]
SWITCHES = [action for action in OPTIONS if isinstance(action, EnvSwitch)]
VALUES = {"start_method": "fork", "isolate": "pidns"}


def value_for(action: argparse.Action) -> str:
    """A value that the option takes and that is not its default."""
    if action.dest in VALUES:
        return VALUES[action.dest]
    return "7" if action.type is not None and action.type is not str else "seven"


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for action in OPTIONS:
        monkeypatch.delenv(f"PET_{action.dest.upper()}", raising=False)


@pytest.mark.parametrize(
    ("words", "script", "rest"),
    [
        (["s.py"], "s.py", []),
        (["s.py", "--r=16"], "s.py", ["--r=16"]),
        (["s.py", "--log", "x", "--monitor"], "s.py", ["--log", "x", "--monitor"]),
        (["s.py", "-n", "3", "--nproc-per-node=5"], "s.py", ["-n", "3", "--nproc-per-node=5"]),
        (["s.py", "--help"], "s.py", ["--help"]),
        (["s.py", "-h"], "s.py", ["-h"]),
        (["s.py", "--", "x"], "s.py", ["--", "x"]),
        (["s.py", "a", "--", "--", "b"], "s.py", ["a", "--", "--", "b"]),
        (["s.py", ""], "s.py", [""]),
        (["--", "s.py", "--", "x"], "s.py", ["--", "x"]),
        (["--", "-s.py", "-x"], "-s.py", ["-x"]),
        (["-n", "4", "s.py", "--explain"], "s.py", ["--explain"]),
        (["-n4", "s.py", "4"], "s.py", ["4"]),
        (["-n=4", "s.py"], "s.py", []),
        (["--nproc_per_node", "4", "s.py"], "s.py", []),
        (["--nproc-per-node=4", "s.py"], "s.py", []),
        (["-m", "pkg.mod", "-m"], "pkg.mod", ["-m"]),
        (["-mn", "4", "pkg.mod", "5"], "pkg.mod", ["5"]),
        (["-mn4", "pkg.mod", "5"], "pkg.mod", ["5"]),
        (["--rdzv-id", "--standalone=", "s.py"], None, None),
        (["-", "x"], "-", ["x"]),
    ],
)
def test_where_script_is(words: list[str], script: str | None, rest: list[str] | None) -> None:
    if script is None:
        with pytest.raises(SystemExit):
            parse_args(words)
        return
    args = parse_args(words)
    assert (args.training_script, args.training_script_args) == (script, rest)


@given(st.lists(st.text(max_size=8) | st.sampled_from(["--", "-h", "--r=1", "-n", "--explain"])))
def test_words_after_script_are_not_looked_at(rest: list[str]) -> None:
    args = parse_args(["-n", "2", "--standalone", "s.py", *rest])
    assert args.training_script_args == rest
    assert (args.nproc_per_node, args.standalone, args.explain) == ("2", True, False)


@pytest.mark.parametrize("action", OPTIONS, ids=lambda action: action.dest)
def test_both_spellings(action: argparse.Action) -> None:
    dashed = [name for name in action.option_strings if "-" in name[2:]]
    assert [
        name for name in dashed if f"--{name[2:].replace('-', '_')}" not in action.option_strings
    ] == []


@pytest.mark.parametrize("action", WITH_VALUE, ids=lambda action: action.dest)
def test_a_value_typed_beats_the_variable(
    action: argparse.Action, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = value_for(action)
    typed = getattr(parse_args([action.option_strings[-1], value, "s.py"]), action.dest)
    assert typed != action.default
    monkeypatch.setenv(f"PET_{action.dest.upper()}", value)
    assert getattr(parse_args(["s.py"]), action.dest) == typed
    if isinstance(action.default, (str, int, float)) and action.dest not in VALUES:
        again = parse_args([action.option_strings[0], str(action.default), "s.py"])
        assert getattr(again, action.dest) == action.default


@pytest.mark.parametrize("action", SWITCHES, ids=lambda action: action.dest)
def test_a_switch_and_its_variable(
    action: argparse.Action, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert getattr(parse_args(["s.py"]), action.dest) is False
    assert getattr(parse_args([action.option_strings[-1], "s.py"]), action.dest) is True
    for text, expected in {"1": True, "0": False, "2": True}.items():
        monkeypatch.setenv(f"PET_{action.dest.upper()}", text)
        assert getattr(parse_args(["s.py"]), action.dest) is expected


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "PET_MAX_RESTARTS",
            "x",
            "PET_MAX_RESTARTS='x' in the environment cannot be read as int.",
        ),
        (
            "PET_STANDALONE",
            "yes",
            "PET_STANDALONE='yes' in the environment: give 1 or 0, or unset it.",
        ),
        ("PET_STANDALONE", "", "PET_STANDALONE='' in the environment: give 1 or 0, or unset it."),
        (
            "PET_SHUTDOWN_TIMEOUT",
            "-3",
            "PET_SHUTDOWN_TIMEOUT='-3' in the environment cannot be read as seconds.",
        ),
        (
            "PET_START_METHOD",
            "thread",
            "PET_START_METHOD='thread' in the environment: give one of spawn, fork, forkserver.",
        ),
    ],
)
def test_a_variable_that_cannot_be(
    name: str, text: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, text)
    with pytest.raises(UsageError) as caught:
        parse_args(["s.py"])
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nporc", "4", "s.py"], "unknown option --nporc. Did you mean --nproc-per-node?"),
        (["--nproc", "4", "s.py"], "unknown option --nproc. Did you mean --nproc-per-node?"),
        (
            ["--nprocs_per_node=4", "s.py"],
            "unknown option --nprocs_per_node. Did you mean --nproc_per_node?",
        ),
        (["--logdir", "x", "s.py"], "unknown option --logdir. Did you mean --log-dir?"),
        (["--lr", "0.1", "s.py"], "unknown option --lr. It is none of procession's."),
        (["-x", "s.py"], "unknown option -x. It is none of procession's."),
        (
            ["--standalon", "--nporc", "s.py"],
            "unknown option --standalon. Did you mean --standalone?",
        ),
    ],
)
def test_an_unknown_option(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(words, capsys) == f"{message} Options of the script go after SCRIPT."


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no SCRIPT was given. For example: procession run -n 4 train.py"),
        (["-n", "4"], "no SCRIPT was given. For example: procession run -n 4 train.py"),
        (["-n"], "argument -n/--nproc-per-node/--nproc_per_node: expected one argument"),
        (
            ["--max-restarts", "x", "s.py"],
            "argument --max-restarts/--max_restarts: invalid int value: 'x'",
        ),
        (
            ["--shutdown-timeout", "-1", "s.py"],
            "argument --shutdown-timeout/--shutdown_timeout: invalid seconds value: '-1'",
        ),
        (
            ["--shutdown-timeout", "1.5", "s.py"],
            "argument --shutdown-timeout/--shutdown_timeout: invalid seconds value: '1.5'",
        ),
    ],
)
def test_a_command_line_that_cannot_be(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(words, capsys) == message


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What is said of a command line that ends with status 2, without its last line."""
    with pytest.raises(SystemExit) as caught:
        parse_args(words)
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    first, last = err.splitlines()
    assert (out, last) == ("", "All options: procession run --help")
    assert first.startswith("procession run: ")
    return first.removeprefix("procession run: ")


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_args(["-n", "4", "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert [action.dest for action in OPTIONS if action.option_strings[0] not in text] == []
    assert "--nproc_per_node" not in text


def test_others_may_add_options_and_read_what_they_know() -> None:
    parser = get_args_parser()
    parser.add_argument("--use-env", "--use_env", action="store_true")
    parser.add_argument("--color", nargs="?", default="no")
    args = parser.parse_args(["--use_env", "-n", "2", "--color", "red", "s.py", "--use-env"])
    assert (args.use_env, args.color, args.training_script_args) == (True, "red", ["--use-env"])
    known, unknown = parser.parse_known_args(["--other", "s.py"])
    assert (known.training_script, unknown) == ("s.py", ["--other"])


def test_what_nobody_asked_for_can_be_told() -> None:
    assert isinstance(parse_args(["s.py"]).tee, Default)
    assert parse_args(["s.py"]).tee == "0"
    assert not isinstance(parse_args(["-t", "0", "s.py"]).tee, Default)


def test_a_doubled_comma_stands_for_one() -> None:
    args = parse_args(["--duplicate-stdout-filters", "a,b,,c,,,d", "s.py"])
    assert args.duplicate_stdout_filters == ["a", "b,c,", "d"]


def test_seconds_may_be_without_end() -> None:
    assert parse_args(["--shutdown-timeout", "inf", "s.py"]).shutdown_timeout == float("inf")
    assert parse_args(["--shutdown-timeout", "5", "s.py"]).shutdown_timeout == 5


def test_the_table_in_the_docs_has_every_option() -> None:
    rows = (Path(__file__).parents[2] / "docs" / "command.md").read_text().splitlines()
    table = {}
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        if len(cells) == 4 and cells[0].startswith("`-"):
            table[re.findall(r"`(--?[\w-]+)", cells[0])[-1]] = cells[2]
    expected = {
        next(name for name in action.option_strings if name.startswith("--")): (
            "yes" if isinstance(action, (EnvOption, EnvSwitch)) else "no"
        )
        for action in OPTIONS
        if action.dest != "help"
    }
    assert table == expected
