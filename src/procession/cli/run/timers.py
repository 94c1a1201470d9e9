"""The timer server of a run, as torchrun has one where TORCHELASTIC_ENABLE_FILE_TIMER is 1."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from procession.agent.server.watchdog import Watchdog
    from procession.multiprocessing import RunProcsResult

_VARIABLES = ("TORCHELASTIC_ENABLE_FILE_TIMER", "TORCHELASTIC_TIMER_FILE")


class RunTimers:
    """Ends workers of all attempts whose timers have run out, if that is asked for.

    Args:
        environ: The launcher's own environment.
        run_id: The run's id.

    Attributes:
        environment: What the environment of each worker has added.
    """

    def __init__(self, environ: Mapping[str, str], run_id: str) -> None:
        self.environment: dict[str, str] = {}
        self._watchdog: Watchdog | None = None
        if environ.keys().isdisjoint(_VARIABLES):
            return
        from procession.agent.server.watchdog import FILE, Watchdog, pipe_path

        enabled, path = pipe_path(environ)
        if enabled and path is not None:
            self._watchdog = Watchdog(path, run_id)
            self._watchdog.start()
        if path is not None:
            self.environment = {FILE: path}

    def explain(self, result: RunProcsResult) -> None:
        """Say of failed workers whose timers had run out that it was so."""
        if self._watchdog is not None:
            self._watchdog.explain(result.failures.values())

    def close(self) -> None:
        """End the server."""
        if self._watchdog is not None:
            self._watchdog.stop()
