"""Events: to JSON and back, and to their destinations."""

from __future__ import annotations

import json
import logging
import multiprocessing
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from procession import events
from procession.events import Event, EventSource, NodeState, RdzvEvent


@pytest.fixture
def listener() -> Iterator[list[str]]:
    """What a handler that a program put on the rendezvous logger has heard."""
    heard: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("torchelastic-events-dynamic_rendezvous")
    logger.addHandler(handler)
    logger.setLevel("INFO")
    yield heard
    logger.removeHandler(handler)


def test_an_event_goes_to_json_and_back() -> None:
    event = Event("n", EventSource.WORKER, 7, {"a": None, "b": 1.5, "c": "ü"})
    assert json.loads(event.serialize())["source"] == "WORKER"
    assert Event.deserialize(str(event)) == event
    assert Event.deserialize(event) is event


def test_a_rendezvous_event_goes_to_json_and_back() -> None:
    event = RdzvEvent("n", "run", "m", "host", 3, NodeState.FAILED, rank=2, error_trace="t")
    assert RdzvEvent.deserialize(event.serialize()) == event


@pytest.mark.parametrize(
    ("text", "error"),
    [("{", ValueError), ('{"name": "n"}', KeyError), ('{"source": "MARS"}', KeyError)],
)
def test_what_is_no_event_is_refused(text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        Event.deserialize(text)


def test_events_are_appended_to_a_file(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    for n in range(3):
        events.record(Event(f"e{n}", EventSource.AGENT), f"jsonl:{path}")
    assert [json.loads(line)["name"] for line in path.read_text().splitlines()] == [
        "e0",
        "e1",
        "e2",
    ]
    assert path.stat().st_mode & 0o777 == 0o600


def write_many(path: Path, who: int) -> None:
    for n in range(200):
        events.record(
            Event(f"{who}-{n}", EventSource.WORKER, metadata={"x": "y" * 3000}), f"jsonl:{path}"
        )


def test_several_processes_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_many, args=(path, who)) for who in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    names = {json.loads(line)["name"] for line in path.read_text().splitlines()}
    assert names == {f"{who}-{n}" for who in range(3) for n in range(200)}


def test_console_is_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("torchelastic-events-console").handlers.clear()  # made under another capture
    event = Event("seen", EventSource.AGENT)
    events.record(event, "console")
    logging.getLogger("torchelastic-events-console").handlers.clear()
    assert capfd.readouterr().err == f"{event}\n"


def test_null_serializes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    # pytest listens to every logger that does not propagate.
    monkeypatch.setattr(logging.getLogger("torchelastic-events-null"), "handlers", [])
    events.record(Event("n", EventSource.AGENT, metadata={"x": object()}))  # type: ignore[dict-item]


def test_an_unknown_destination_is_named() -> None:
    with pytest.raises(KeyError, match="consle: give null, console or jsonl:PATH"):
        events.record(Event("n", EventSource.AGENT), "consle")


def test_rendezvous_events_reach_a_handler_that_was_plugged_in(listener: list[str]) -> None:
    try:
        raise RuntimeError("lost")
    except RuntimeError:
        events.construct_and_record_rdzv_event("run", "m", NodeState.FAILED, rank=1)
    event = RdzvEvent.deserialize(listener[0])
    assert event.name == (
        "test_events.py:test_rendezvous_events_reach_a_handler_that_was_plugged_in"
    )
    assert (event.run_id, event.rank, event.pid > 0, bool(event.hostname)) == ("run", 1, True, True)
    assert "RuntimeError: lost" in event.error_trace


def test_a_line_that_does_not_fit_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "events"
    code = (
        "import resource, signal, sys\n"
        "from procession._os.append import append_line\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "append_line(sys.argv[1], 'x' * 60)\n"
        "append_line(sys.argv[1], 'y' * 60)\n"
    )
    argv = [sys.executable, "-c", code, str(path)]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert "OSError: [Errno 28] No space left on device" in ended.stderr
    assert path.stat().st_size == 100
