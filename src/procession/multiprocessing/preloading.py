"""What came of a fork server, in words. Pure."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

from procession.errors import PreloadError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["refusal", "warning"]

_WAY_OUT = "Workers are started one by one instead, which takes the time of the imports each time."
_MAIN = "__main__"


def refusal(state: str, report: Mapping[str, Any]) -> PreloadError | OSError | None:
    """Return what a start fails with, where a module cannot be imported or the server not be had.

    Args:
        state: ``ready``, ``unfit``, ``refused`` or ``lost``, as in ``_guardian/protocol.py``.
        report: What the guardian says about it.
    """
    if state != "refused":
        return None
    if "errno" in report:  # of the system: it would start no worker either
        return OSError(report["errno"], os.strerror(report["errno"]), report["program"])
    module, text = report["module"], report.get("text")
    if not module:
        return PreloadError(
            f"{report['program']} could not be a fork server: {_how_it_ended(report)}. "
            "Is it a Python, 3.8 or later, as the workers' has to be?"
        )
    if text is None:
        return PreloadError(
            f"the import of {module!r} ended the fork server: {_how_it_ended(report)}. Leave it out "
            f"of the modules to preload, or try: python -c 'import {module}'"
        )
    last = text.rstrip().rpartition("\n")[2]
    if last == f"ModuleNotFoundError: No module named {module!r}":
        return PreloadError(
            f"{module!r} cannot be preloaded: there is no module of that name. Is it spelt as in "
            f"'import {module}', and installed for the Python of the workers?"
        )
    return PreloadError(
        f"{module!r} cannot be preloaded, its import raised {last}\n{text.rstrip()}"
    )


def warning(state: str, report: Mapping[str, Any]) -> str | None:
    """Return what to warn of where the workers are not forked from the server."""
    if state == "unfit":
        found = "; ".join(f"{_import_of(name)} has left {what}" for name, what in report["unsafe"])
        return (
            f"workers are not forked: {found}, which a fork would break. {_WAY_OUT} To have "
            "interpreters wait with the imports done: --spares, or spares=."
        )
    if state == "lost":
        module = report["module"]
        during = f" in {_import_of(module)}" if module == _MAIN else ""
        return f"the fork server ended{during}: {_how_it_ended(report)}. {_WAY_OUT}"
    return None


def _import_of(module: str) -> str:
    return f"the import of {'the main module' if module == _MAIN else repr(module)}"


def _how_it_ended(report: Mapping[str, Any]) -> str:
    code = report["exitcode"]
    how = f"exit status {code}" if code >= 0 else signal.Signals(-code).name
    last = report["stderr"].rstrip().rpartition("\n")[2]
    return f"{how}; last line of its stderr: {last}" if last else how
