"""How long a rendezvous waits, and for how many hosts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from procession.errors import UsageError

if TYPE_CHECKING:
    from datetime import timedelta

__all__ = ["RendezvousSettings", "RendezvousTimeout"]

_DEFAULTS = {"join": 600, "last_call": 30, "close": 30, "heartbeat": 5}  # torch's, seconds


class RendezvousTimeout:
    """How long is waited; a time that is None is torch's default.

    Args:
        join: For a round (600 s).
        last_call: For hosts beyond the least number (30 s).
        close: To have the others told that there will be no further round (30 s).
        heartbeat: To give a sign of life (5 s).

    Raises:
        UsageError: A time is not positive. (A ``ValueError``.)
    """

    def __init__(
        self,
        join: timedelta | None = None,
        last_call: timedelta | None = None,
        close: timedelta | None = None,
        heartbeat: timedelta | None = None,
    ) -> None:
        self._join = _time("join", join)
        self._last_call = _time("last_call", last_call)
        self._close = _time("close", close)
        self._heartbeat = _time("heartbeat", heartbeat)

    @property
    def join(self) -> timedelta:
        """For a round."""
        return self._join

    @property
    def last_call(self) -> timedelta:
        """For hosts beyond the least number."""
        return self._last_call

    @property
    def close(self) -> timedelta:
        """To have the others told that there will be no further round."""
        return self._close

    @property
    def heartbeat(self) -> timedelta:
        """To give a sign of life."""
        return self._heartbeat


def _time(name: str, given: timedelta | None) -> timedelta:
    from datetime import timedelta

    time = timedelta(seconds=_DEFAULTS[name]) if given is None else given
    if time <= timedelta(0):
        raise UsageError(f"the {name} timeout is {time}: give more than 0")
    return time


@dataclass(repr=False, eq=False, frozen=True)
class RendezvousSettings:
    """What a rendezvous was asked to be.

    Attributes:
        run_id: The run's id.
        min_nodes: The least number of hosts.
        max_nodes: The greatest.
        timeout: How long is waited.
        keep_alive_interval: Between two signs of life.
        keep_alive_max_attempt: After so many that did not come a host is taken for dead.
    """

    run_id: str
    min_nodes: int
    max_nodes: int
    timeout: RendezvousTimeout
    keep_alive_interval: timedelta
    keep_alive_max_attempt: int
