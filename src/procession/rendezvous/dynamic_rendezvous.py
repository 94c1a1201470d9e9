"""A rendezvous at any backend that can hold one value and change it by comparison."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

from procession.rendezvous.handler import DynamicRendezvousHandler
from procession.rendezvous.settings import RendezvousSettings, RendezvousTimeout

if TYPE_CHECKING:
    from procession.rendezvous.api import RendezvousParameters

__all__ = [
    "DynamicRendezvousHandler",
    "RendezvousBackend",
    "RendezvousSettings",
    "RendezvousTimeout",
    "Token",
    "create_handler",
]

Token: TypeAlias = Any

_LOOK = 0.1  # seconds between two looks at a backend that cannot call


class RendezvousBackend(ABC):
    """Holds the state of a rendezvous."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The name of this kind of backend."""

    @abstractmethod
    def get_state(self) -> tuple[bytes, Token] | None:
        """Return the state and a token that stands for this very value, None where there is none.

        Raises:
            RendezvousConnectionError: It cannot be had.
            RendezvousStateError: It is damaged.
        """

    @abstractmethod
    def set_state(
        self, state: bytes, token: Token | None = None
    ) -> tuple[bytes, Token, bool] | None:
        """Write the state if the one that is there is that of the token (None: if none is there).

        Returns:
            The state that is there then, its token, and whether it was written.

        Raises:
            RendezvousConnectionError: It cannot be had.
            RendezvousStateError: It is damaged.
        """

    # What a backend that hears of changes does better.

    def glance(self) -> tuple[bytes, Token] | None:
        """Return the state as it was lately; asked again and again while workers run."""
        return self.get_state()

    def wait_for_change(self, seconds: float) -> None:
        """Sleep until the state may have changed, for so many seconds at most."""
        threading.Event().wait(min(seconds, _LOOK))

    def close(self) -> None:  # noqa: B027 - most hold nothing
        """Let go of what the backend holds; it may be used again."""


def create_handler(
    store: Any,
    backend: RendezvousBackend,
    params: RendezvousParameters,
    local_addr: str | None = None,
) -> DynamicRendezvousHandler:
    """Make a handler.

    Args:
        store: What the agents of a round exchange facts by, as torch's ``Store``.
        backend: Holds the state.
        params: Their settings may be ``join_timeout``, ``last_call_timeout``, ``close_timeout``,
            ``heartbeat_timeout`` and ``keep_alive_interval`` (whole seconds), and
            ``keep_alive_max_attempt``.
        local_addr: Address of this host where the parameters have none.

    Raises:
        UsageError: One of them cannot be. (A ``ValueError``.)
    """
    names = ("join", "last_call", "close", "heartbeat")
    given = {name: params.get_as_int(f"{name}_timeout") for name in names}
    times = {n: None if t is None else timedelta(seconds=t) for n, t in given.items()}
    return DynamicRendezvousHandler.from_backend(
        params.run_id,
        store,
        backend,
        params.min_nodes,
        params.max_nodes,
        params.local_addr or local_addr,
        RendezvousTimeout(**times),
        keep_alive_interval=params.get_as_int("keep_alive_interval", 5) or 5,
        keep_alive_max_attempt=params.get_as_int("keep_alive_max_attempt", 3) or 3,
    )
