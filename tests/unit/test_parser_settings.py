"""What the options say, made of their text: values, and exact words for what cannot be."""

from __future__ import annotations

import math
from argparse import Namespace
from typing import Any

import pytest

from procession.cli.options import settings
from procession.cli.words import nearest, suggestion
from procession.errors import UsageError
from procession.multiprocessing.std import Std
from procession.run import get_rdzv_endpoint, get_use_env, parse_args


def parsed(*words: str) -> Namespace:
    return parse_args([*words, "s.py"])


def said(error: pytest.ExceptionInfo[UsageError]) -> str:
    return str(error.value)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), (Std.NONE, Std.ALL)),
        (("-r", "0"), (Std.NONE, Std.NONE)),
        (("-t", "0"), (Std.NONE, Std.NONE)),
        (("-r", "3"), (Std.ALL, Std.NONE)),
        (("-t", "1"), (Std.NONE, Std.OUT)),
        (("-r", "10:3", "-t", "0-1:2"), ({10: Std.ALL}, {0: Std.ERR, 1: Std.ERR})),
    ],
)
def test_streams(words: tuple[str, ...], expected: Any) -> None:
    assert settings.streams(parsed(*words)) == expected


@pytest.mark.parametrize("name", ["PET_TEE", "PET_REDIRECTS"])
def test_a_variable_asks_too(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "0")
    assert settings.streams(parsed()) == (Std.NONE, Std.NONE)


@pytest.mark.parametrize(
    ("words", "start"),
    [
        (("-r", "4"), "--redirects 4: '4' is neither a value nor RANKS:VALUE: give one value"),
        (("-t", "0:3,x"), "--tee 0:3,x: 'x' (in '0:3,x') is neither a value nor RANKS:VALUE"),
        (("-t", ""), "--tee : '' is neither a value nor RANKS:VALUE"),
    ],
)
def test_streams_that_cannot_be(words: tuple[str, ...], start: str) -> None:
    with pytest.raises(UsageError) as caught:
        settings.streams(parsed(*words))
    assert said(caught).startswith(start)
    assert said(caught).endswith("such as 3 or 0:1,10:3 or 0-3:3,4-7:2.")


def test_ranks_shown() -> None:
    assert settings.ranks_shown("") is None
    assert settings.ranks_shown("0, 2,10") == {0, 2, 10}
    with pytest.raises(UsageError) as caught:
        settings.ranks_shown("0,-1")
    assert said(caught) == "--local-ranks-filter 0,-1: give local ranks, such as 0,1,2."


def test_signal_names() -> None:
    assert settings.signal_names("SIGTERM, SIGUSR1", "--x") == ("SIGTERM", "SIGUSR1")
    assert settings.signal_names("", "--x") == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "SIGTERM,SIGTRM",
            "--x SIGTERM,SIGTRM: there is no signal SIGTRM. Did you mean SIGTERM or SIGTRAP?",
        ),
        ("USR1", "--x USR1: there is no signal USR1. Did you mean SIGUSR1?"),
        ("15", "--x 15: there is no signal 15."),
        ("SIGKILL", "--x SIGKILL: no process can handle SIGKILL. Leave it out."),
    ],
)
def test_signals_that_cannot_be(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        settings.signal_names(text, "--x")
    assert said(caught) == message


@pytest.mark.parametrize(
    ("given", "environ", "expected"),
    [
        (None, {}, 30.0),
        (None, {"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "7"}, 7.0),
        (None, {"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "inf"}, math.inf),
        (0, {"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "7"}, 0.0),
        (5, {"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "x"}, 5.0),
    ],
)
def test_grace(given: float | None, environ: dict[str, str], expected: float) -> None:
    assert settings.grace(given, environ) == expected


def test_a_grace_that_cannot_be() -> None:
    with pytest.raises(UsageError) as caught:
        settings.grace(None, {"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "soon"})
    assert said(caught) == (
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT='soon' in the environment: "
        "give whole seconds from 0 up, or inf."
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [("h:1", ("h", 1)), ("[::1]:65535", ("[::1]", 65535)), (" h:29500 ", ("h", 29500))],
)
def test_endpoint(text: str, expected: tuple[str, int]) -> None:
    assert settings.endpoint(text, "--e") == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("h", "--e h: give HOST:PORT, such as 127.0.0.1:29500."),
        ("h:", "--e h:: give HOST:PORT, such as 127.0.0.1:29500."),
        (":1", "--e :1: give HOST:PORT, such as 127.0.0.1:29500."),
        ("h:0", "--e 0: a port is a number from 1 to 65535."),
        ("h:65536", "--e 65536: a port is a number from 1 to 65535."),
    ],
)
def test_an_endpoint_that_cannot_be(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        settings.endpoint(text, "--e")
    assert said(caught) == message


def test_what_comes_later_is_not_left_undone_in_silence() -> None:
    for name in ("null", "console", "jsonl:/x"):
        settings.check_handlers(parsed("--event-log-handler", name))
    with pytest.raises(UsageError) as caught:
        settings.check_handlers(parsed("--event-log-handler", "nul"))
    assert said(caught) == (
        "--event-log-handler nul: give null, console or jsonl:PATH. Did you mean null? events.jsonl in "
        "the run's directory is there in any case."
    )
    with pytest.raises(UsageError, match=r"^--numa-binding node: .* comes later"):
        settings.check_handlers(parsed("--numa-binding", "node"))


def test_torchs_helpers() -> None:
    assert get_rdzv_endpoint(parsed("--master-port", "1")) == "127.0.0.1:1"
    assert get_rdzv_endpoint(parsed("--rdzv-backend", "c10d")) == ""
    assert get_rdzv_endpoint(parsed("--rdzv-endpoint", "h:2")) == "h:2"
    assert get_use_env(parsed()) is True
    assert get_use_env(Namespace(use_env=False)) is False


@pytest.mark.parametrize(
    ("word", "known", "expected"),
    [
        ("runn", ["run"], ["run"]),
        ("--node", ["--node-rank", "--nnodes"], ["--node-rank"]),
        ("--lr", ["--local-ranks-filter", "--role"], []),
        ("tran.py", ["train.py", "test.py"], ["train.py"]),
        ("x", [], []),
    ],
)
def test_nearest(word: str, known: list[str], expected: list[str]) -> None:
    assert nearest(word, known)[:1] == expected[:1]
    assert suggestion(word, known).startswith(" Did you mean" if expected else "")
    assert bool(suggestion(word, known)) == bool(expected)
