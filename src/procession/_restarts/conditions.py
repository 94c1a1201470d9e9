"""What ``--restart-on`` and ``--no-restart-on`` may name, read and compared with a cause. Pure."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING, NamedTuple

from procession._restarts.cause import HOST, START
from procession.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from procession._restarts.cause import Cause

WORDS = ("signal", "oom", "exception", "same-traceback", "lost-host", "start")

_STATUSES = re.compile(r"([0-9]{1,3})(?:-([0-9]{1,3}))?")
_MOST = 255  # of an exit status
_EXCEPTION = "exception:"


class Condition(NamedTuple):
    """One of the words, and what it says.

    Attributes:
        text: As it was given.
        kind: ``status``, or one of ``WORDS``.
        low: The least exit status; the number of a signal, 0 for any.
        high: The greatest exit status.
        name: The exception's class, "" for any.
    """

    text: str
    kind: str
    low: int = 0
    high: int = 0
    name: str = ""

    def matches(self, cause: Cause, before: Cause | None) -> bool:
        """Whether a cause is such; ``before`` ended the attempt before."""
        return _MATCHES[self.kind](self, cause, before)


_MATCHES: dict[str, Callable[[Condition, Cause, Cause | None], bool]] = {
    "status": lambda self, cause, _: self.low <= cause.status <= self.high,
    "signal": lambda self, cause, _: cause.signal != 0 and self.low in {0, cause.signal},
    "oom": lambda _self, cause, _: cause.oom,
    "exception": lambda self, cause, _: _is_of(cause.exception, self.name),
    "same-traceback": lambda _self, cause, before: is_same(cause, before),
    "lost-host": lambda _self, cause, _: cause.kind == HOST,
    "start": lambda _self, cause, _: cause.kind == START,
}


def is_same(cause: Cause, before: Cause | None) -> bool:
    """Whether both raised the same class of exception at the same place."""
    return bool(cause.frames) and before is not None and cause.frames == before.frames


def _is_of(exception: str, name: str) -> bool:
    """Whether an exception's class is the one named, with all, some or none of its modules."""
    return bool(exception) and (not name or f".{exception}".endswith(f".{name}"))


def read(
    text: str, option: str, suggest: Callable[[str, Iterable[str]], str] = lambda *_: ""
) -> tuple[Condition, ...]:
    """Read a comma-separated list.

    Args:
        text: Exit statuses (``75``) and ranges of them (``64-78``), names of signals (``SIGKILL``), the
            words of ``WORDS``, and ``exception:TYPE``.
        option: For messages.
        suggest: Names the known words that are near an unknown one, as a question.

    Raises:
        UsageError: One of them is none of these.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    return tuple(_read(part, f"{option} {text}", suggest) for part in parts)


def _read(part: str, given: str, suggest: Callable[[str, Iterable[str]], str]) -> Condition:
    if part in WORDS:
        return Condition(part, part)
    if part.startswith(_EXCEPTION) and len(part) > len(_EXCEPTION):
        return Condition(part, "exception", name=part[len(_EXCEPTION) :])
    match = _STATUSES.fullmatch(part)
    if match:
        return _statuses(part, int(match[1]), int(match[2] or match[1]), given)
    names = {each.name for each in signal.Signals}
    if part in names:
        return Condition(part, "signal", low=signal.Signals[part])
    meant = f"SIG{part.upper().removeprefix('SIG')}"
    near = f" Did you mean {meant}?" if meant in names else suggest(part, (*WORDS, *names))
    raise UsageError(
        f"{given}: {part} is no such class of failures.{near} Give exit statuses (75, 64-78), signals "
        f"(SIGKILL), {', '.join(WORDS)} or exception:TYPE."
    )


def _statuses(part: str, low: int, high: int, given: str) -> Condition:
    if not 0 < low <= high <= _MOST:
        raise UsageError(
            f"{given}: {part} is no exit status of a failure. Give a number from 1 to {_MOST} (128 + n "
            "stands for signal n), or a range such as 64-78."
        )
    return Condition(part, "status", low, high)
