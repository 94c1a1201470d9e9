"""The place for a server that tells others whether an agent lives; as in torch there is none built in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from procession._log import Logger

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["HealthCheckServer", "create_healthcheck_server"]

logger = Logger(__name__)


class HealthCheckServer:
    """What an agent starts and stops; a subclass listens at the port.

    Args:
        alive_callback: Returns when the agent last made progress, in seconds since the epoch.
        port: Where to listen.
        timeout: Seconds without progress after which the agent counts as dead.
    """

    def __init__(self, alive_callback: Callable[[], int], port: int, timeout: int) -> None:
        self._alive_callback = alive_callback
        self._port = port
        self._timeout = timeout

    def start(self) -> None:
        """Listen; this one does not, and says so."""
        logger.warning("No health check server started")

    def stop(self) -> None:
        """Listen no more."""

    @property
    def alive_callback(self) -> Callable[[], int]:
        """Returns when the agent last made progress, in seconds since the epoch."""
        return self._alive_callback


def create_healthcheck_server(
    alive_callback: Callable[[], int], port: int, timeout: int
) -> HealthCheckServer:
    """Make a server; to have a real one, put a function of yours in the place of this one.

    Args:
        alive_callback: Returns when the agent last made progress, in seconds since the epoch.
        port: Where to listen.
        timeout: Seconds without progress after which the agent counts as dead.
    """
    return HealthCheckServer(alive_callback, port, timeout)
