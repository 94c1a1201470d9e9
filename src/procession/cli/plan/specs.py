"""The class that makes the places of a run's output: the usual one, or an entry point's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from procession.cli.words import suggestion
from procession.errors import UsageError
from procession.multiprocessing.logs_specs import DefaultLogsSpecs

if TYPE_CHECKING:
    from procession.cli.plan.plan import Logs
    from procession.multiprocessing.logs_specs import LogsSpecs

_GROUP = "torchrun.logs_specs"


def make_specs(logs: Logs, base: str) -> LogsSpecs:
    """Make what decides where output goes.

    Args:
        logs: What was asked for.
        base: The directory in which runs make theirs.

    Raises:
        UsageError: There is no such entry point, or it cannot be used.
    """
    # torch itself registers its own class as "default"; ours is meant, and torch stays out.
    kind = DefaultLogsSpecs if logs.specs in {None, "default"} else _entry_point(str(logs.specs))
    specs: LogsSpecs = kind(
        log_dir=base, redirects=logs.redirects, tee=logs.tee, local_ranks_filter=logs.shown
    )
    return specs


def _entry_point(name: str) -> Any:
    from importlib.metadata import entry_points

    known = {entry.name: entry for entry in entry_points(group=_GROUP)}
    if name not in known:
        names = ", ".join(sorted({*known, "default"}))
        hint = suggestion(name, known)
        raise UsageError(f"--logs-specs {name}: the group {_GROUP} has {names} alone.{hint}")
    try:
        return known[name].load()
    except (ImportError, AttributeError) as error:
        raise UsageError(f"--logs-specs {name}: {known[name].value}: {error}.") from error
