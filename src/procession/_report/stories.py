"""What a host tells the others of its workers, as JSON there and back. Pure.

It comes over the network: whatever it holds, reading it raises nothing, and what is not of its kind is
left out.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from procession._os.memory import Oom, Space
from procession._report.document import failure_json, shortened
from procession._report.ledger import Fate, Ledger, Remnant, Stuck
from procession._report.view import FailureView

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from procession._report.view import ReportView

    Row = TypeVar("Row")

LIMIT = 48 * 1024
"""Characters: the tracebacks of some workers."""

_MOST_TEXT, _MOST_ROWS = 1_000_000, 4096


class Story(NamedTuple):
    """The end of one host's workers.

    Attributes:
        failures: In order of time.
        stopped: Those that were ended because of a failure.
        ledger: How each worker ended and what was left.
    """

    failures: tuple[FailureView, ...] = ()
    stopped: tuple[FailureView, ...] = ()
    ledger: Ledger = Ledger()


def write_story(report: ReportView) -> str:
    """A host's story, cut to what fits: long texts first, then the end of long lists."""
    parts = report.ledger._asdict().items()
    ledger = {part: [row._asdict() for row in rows] for part, rows in parts}
    whole = {
        "failures": [failure_json(view) for view in report.failures],
        "stopped": [{**failure_json(view), "last_lines": []} for view in report.stopped],
        "ledger": ledger,
    }
    for texts, rows in ((None, None), (4000, 64), (400, 32), (100, 8)):
        story = whole if texts is None else shortened(whole, texts, rows or 0)
        text = json.dumps(story, separators=(",", ":"))
        if len(text) <= LIMIT:
            return text
    return ""


def read_story(text: str) -> Story:
    """A host's story; an empty one where it makes no sense."""
    try:
        data = json.loads(text) if len(text) <= _MOST_TEXT else {}
    except (ValueError, RecursionError):
        data = {}
    data = data if isinstance(data, dict) else {}
    ledger = data.get("ledger")
    ledger = ledger if isinstance(ledger, dict) else {}
    return Story(
        _read(data.get("failures"), _failure),
        _read(data.get("stopped"), _failure),
        Ledger(
            _read(ledger.get("workers"), _fate),
            _read(ledger.get("swept"), _remnant),
            _read(ledger.get("stuck"), _stuck),
        ),
    )


def _read(data: object, make: Callable[[dict[str, Any]], Row]) -> tuple[Row, ...]:
    rows = data if isinstance(data, list) else []
    return tuple(make(row) for row in rows[:_MOST_ROWS] if isinstance(row, dict))


def _failure(data: dict[str, Any]) -> FailureView:
    error = data.get("error")
    error = error if isinstance(error, dict) else {}
    return FailureView(
        rank=_int(data, "rank"),
        local_rank=_int(data, "local_rank"),
        pid=_int(data, "pid"),
        exitcode=_int(data, "exitcode"),
        timestamp_ns=_int(data, "timestamp_ns"),
        time=_str(data, "time"),
        host=_str(data, "host"),
        core_dumped=data.get("core_dumped") is True,
        duration=_float(data, "duration"),
        message=_str(error, "message"),
        exception_type=_str(error, "exception_type") or None,
        traceback=_str(error, "traceback") or None,
        last_lines=_texts(data.get("last_lines")),
        error_file=_str(data, "error_file"),
        problem=_str(data, "error_file_problem") or None,
        stdout=_str(data, "stdout"),
        stderr=_str(data, "stderr"),
        oom=_oom(data.get("oom")),
        shared_memory=_space(data.get("shared_memory")),
        core=_str(data, "core"),
        hastened_by=_str(data, "hastened_by"),
    )


def _oom(data: object) -> Oom | None:
    if not isinstance(data, dict):
        return None
    before = _int(data, "before") if isinstance(data.get("before"), int) else None
    return Oom(_str(data, "file"), before, _int(data, "now"), data.get("sure") is True)


def _space(data: object) -> Space | None:
    return Space(_int(data, "free"), _int(data, "size")) if isinstance(data, dict) else None


def _fate(data: dict[str, Any]) -> Fate:
    exitcode = data.get("exitcode")
    return Fate(
        _int(data, "rank"),
        _int(data, "pid"),
        exitcode if isinstance(exitcode, int) else None,
        data.get("core_dumped") is True,
        _str(data, "ended_by"),
        _str(data, "told") or None,
        _float(data, "lived"),
        _float(data, "after"),
        _int(data, "died_ns"),
    )


def _remnant(data: dict[str, Any]) -> Remnant:
    return Remnant(_int(data, "pid"), _str(data, "name"), _rank(data), _str(data, "signal"))


def _stuck(data: dict[str, Any]) -> Stuck:
    return Stuck(
        _int(data, "pid"),
        _str(data, "name"),
        _rank(data),
        _str(data, "state"),
        _str(data, "wchan"),
        _texts(data.get("stack")),
    )


def _int(data: dict[str, Any], key: str) -> int:
    value = data.get(key)
    return value if isinstance(value, int) and abs(value) < 2**63 else 0


def _rank(data: dict[str, Any]) -> int | None:
    return _int(data, "rank") if isinstance(data.get("rank"), int) else None


def _float(data: dict[str, Any], key: str) -> float | None:
    value = data.get(key)
    return float(value) if isinstance(value, (int, float)) and abs(value) < 1e15 else None


def _str(data: dict[str, Any], key: str) -> str:
    value = data.get(key)
    return value if isinstance(value, str) else ""


def _texts(value: object) -> tuple[str, ...]:
    return tuple(t for t in value if isinstance(t, str)) if isinstance(value, list) else ()
