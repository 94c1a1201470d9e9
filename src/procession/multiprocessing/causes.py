"""From the failures of a gang to the cause that a policy of restarts asks about. Pure."""

from __future__ import annotations

from signal import SIGKILL
from typing import TYPE_CHECKING

from procession._report.errorfile import interpret
from procession._report.words import exit_name, ranks_text
from procession._restarts.cause import Cause, digest, raised_at

if TYPE_CHECKING:
    from collections.abc import Mapping

    from procession.multiprocessing.errors import ProcessFailure

__all__ = ["cause_of"]


def cause_of(
    failures: Mapping[int, ProcessFailure], host: str = "", *, asked: bool = False
) -> Cause:
    """The root cause.

    Args:
        failures: By rank, in order of time; at least one.
        host: Where, if that is to be said.
        asked: The worker left because it was asked to.
    """
    rank, root = next(iter(failures.items()))
    said = interpret(root.error_file_data)
    exception = (said.exception_type or "") if root.exitcode > 0 else ""
    traceback = (said.traceback or "") if exception else ""
    who = ranks_text([rank]) + (f" on {host}" if host else "")
    others = len(failures) - 1
    more = f", {others} more after it" if others and not asked else ""
    cause = Cause(
        exitcode=root.exitcode,
        exception=exception,
        raised_at=raised_at(traceback),
        frames=digest(exception, traceback),
        oom=_is_oom(root),
        asked=asked,
    )
    return cause._replace(words=f"{who} {_what(cause, root)}{more}")


def _is_oom(failure: ProcessFailure) -> bool:
    """Whether the report says, or supposes, that the kernel's OOM killer did it."""
    oom = failure.evidence.oom
    killed = failure.exitcode in {-SIGKILL, 128 + SIGKILL}
    return killed and oom is not None and oom.moved


def _what(cause: Cause, failure: ProcessFailure) -> str:
    how = exit_name(cause.exitcode)
    if cause.asked:
        return f"left ({how}) after the stop file was made"
    oom = failure.evidence.oom
    memory = f" (out of memory{'' if oom and oom.sure else ', likely'})" if cause.oom else ""
    if cause.exitcode < 0:
        return f"died of {how}{memory}"
    if cause.exception:
        return f"raised {cause.exception.rpartition('.')[2]}"
    return f"failed ({how}){memory}"
