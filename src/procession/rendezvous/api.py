"""What a rendezvous handler is, what it is made of and what it returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from procession.errors import (
    RendezvousClosedError,
    RendezvousConnectionError,
    RendezvousError,
    RendezvousGracefulExitError,
    RendezvousStateError,
    RendezvousTimeoutError,
    UsageError,
)

if TYPE_CHECKING:
    from typing import TypeAlias

__all__ = [
    "RendezvousClosedError",
    "RendezvousConnectionError",
    "RendezvousError",
    "RendezvousGracefulExitError",
    "RendezvousHandler",
    "RendezvousHandlerCreator",
    "RendezvousHandlerRegistry",
    "RendezvousInfo",
    "RendezvousParameters",
    "RendezvousStateError",
    "RendezvousStoreInfo",
    "RendezvousTimeoutError",
    "rendezvous_handler_registry",
]

_YES = {"1", "true", "t", "yes", "y"}
_NO = {"0", "false", "f", "no", "n"}


@dataclass
class RendezvousStoreInfo:
    """Where the workers of a gang meet.

    Args:
        master_addr: MASTER_ADDR, a name or an address of the host of rank 0.
        master_port: MASTER_PORT.
    """

    MASTER_ADDR_KEY: ClassVar[str] = "MASTER_ADDR"
    MASTER_PORT_KEY: ClassVar[str] = "MASTER_PORT"
    master_addr: str
    master_port: int

    @staticmethod
    def build(
        rank: int, store: Any, local_addr: str | None, server_port: int | None = None
    ) -> RendezvousStoreInfo:
        """Agree on an address: the host of rank 0 names it, the others read it.

        Args:
            rank: This host's rank.
            store: Has ``set(key, bytes)`` and a ``get(key)`` that waits for the key.
            local_addr: Address of this host; its host name where it is None or empty.
            server_port: Port to name; a free one of this host where it is None or 0.
        """
        if rank == 0:
            address = local_addr or _host_name()
            port = server_port or _free_port()
            store.set(RendezvousStoreInfo.MASTER_ADDR_KEY, address.encode())
            store.set(RendezvousStoreInfo.MASTER_PORT_KEY, str(port).encode())
        return RendezvousStoreInfo(
            master_addr=store.get(RendezvousStoreInfo.MASTER_ADDR_KEY).decode(),
            master_port=int(store.get(RendezvousStoreInfo.MASTER_PORT_KEY).decode()),
        )


class RendezvousInfo:
    """What a rendezvous came to, for one host.

    Args:
        store: What the agents of the hosts exchange facts by; has torch's ``Store`` methods.
        rank: This host's rank.
        world_size: How many hosts take part.
        bootstrap_store_info: Where the workers meet.
    """

    def __init__(
        self,
        store: Any,
        rank: int,
        world_size: int,
        bootstrap_store_info: RendezvousStoreInfo,
    ) -> None:
        self._store = store
        self._rank = rank
        self._world_size = world_size
        self._bootstrap_store_info = bootstrap_store_info

    @property
    def store(self) -> Any:
        """What the agents exchange facts by."""
        return self._store

    @property
    def rank(self) -> int:
        """This host's rank."""
        return self._rank

    @property
    def world_size(self) -> int:
        """How many hosts take part."""
        return self._world_size

    @property
    def bootstrap_store_info(self) -> RendezvousStoreInfo | None:
        """Where the workers meet."""
        return self._bootstrap_store_info


class RendezvousHandler(ABC):
    """Brings one host together with the others."""

    @abstractmethod
    def get_backend(self) -> str:
        """Return the name that this kind of handler is registered by."""

    @property
    def use_agent_store(self) -> bool:
        """Whether workers may use the store that listens at MASTER_ADDR and MASTER_PORT."""
        return False

    @property
    def nobody_can_join(self) -> bool:
        """Whether ``num_nodes_waiting`` is 0 for ever, and need not be asked again and again."""
        return False

    @property
    def kill_at_ns(self) -> int:
        """When the workers of this host have to be gone, whatever becomes of its agent: others may start.

        CLOCK_BOOTTIME ns, 0 for never; asked again and again while workers run, so that it can be put off.
        """
        return 0

    @abstractmethod
    def next_rendezvous(self) -> RendezvousInfo:
        """Wait until this host takes part in a gang.

        Raises:
            RendezvousClosedError: The run is over.
            RendezvousConnectionError: The store cannot be reached.
            RendezvousStateError: What the store holds makes no sense.
            RendezvousTimeoutError: Not enough hosts came in time.
        """

    @abstractmethod
    def is_closed(self) -> bool:
        """Whether the run is known to be over; others may know it a little earlier."""

    @abstractmethod
    def set_closed(self) -> None:
        """Say that the run is over: there will be no further gang."""

    def set_succeeded(self) -> None:  # noqa: B027 - most can tell nobody
        """Say that the workers of this host have ended well: it is not missed, and nobody is taken in any more."""

    def set_failed(self, reason: str) -> str:  # noqa: ARG002
        """Have no further gang, and other hosts stop their workers, where this handler can tell them.

        Args:
            reason: What has failed here, in words.

        Returns:
            What had failed on another host before, by which all others know the run's end; "" for nothing.
        """
        return ""

    @abstractmethod
    def num_nodes_waiting(self) -> int:
        """Return how many hosts wait to be taken into the gang."""

    @abstractmethod
    def get_run_id(self) -> str:
        """Return the run's id, by which its hosts find each other."""

    @abstractmethod
    def shutdown(self) -> bool:
        """Let go of everything; True if that went well."""

    def leave(self) -> bool:
        """Let go likewise, but have the others go on without this host, as soon as they can be told."""
        return True


class RendezvousParameters:
    """What a handler is made of.

    Args:
        backend: The kind of handler.
        endpoint: Where hosts meet, mostly ``HOST:PORT``.
        run_id: The run's id.
        min_nodes: The least number of hosts of a gang.
        max_nodes: The greatest.
        local_addr: Address of this host.
        **kwargs: Settings of that kind of handler.

    Raises:
        UsageError: The backend is empty or the numbers cannot be. (A ``ValueError``.)
    """

    def __init__(
        self,
        backend: str,
        endpoint: str,
        run_id: str,
        min_nodes: int,
        max_nodes: int,
        local_addr: str | None = None,
        **kwargs: Any,
    ) -> None:
        if not backend:
            raise UsageError("the rendezvous backend is empty: give a name, such as static or c10d")
        if min_nodes < 1:
            raise UsageError(f"min_nodes is {min_nodes}: give 1 or more")
        if max_nodes < min_nodes:
            raise UsageError(
                f"max_nodes is {max_nodes}: give min_nodes, which is {min_nodes}, or more"
            )
        self.backend = backend
        self.endpoint = endpoint
        self.run_id = run_id
        self.min_nodes = min_nodes
        self.max_nodes = max_nodes
        self.config = kwargs
        self.local_addr = local_addr

    def get(self, key: str, default: Any = None) -> Any:
        """Return a setting, or the default where it was not given."""
        return self.config.get(key, default)

    def get_as_bool(self, key: str, default: bool | None = None) -> bool | None:
        """Return a setting as a truth value: 1, true, t, yes, y or 0, false, f, no, n.

        Raises:
            UsageError: It is none. (A ``ValueError``.)
        """
        value = self.get(key, default)
        if value is None or isinstance(value, bool):
            return value
        text = str(value).lower() if isinstance(value, (int, str)) else ""
        if text in _YES or text in _NO:
            return text in _YES
        raise UsageError(f"{key}={value!r} among the rendezvous settings: give true or false")

    def get_as_int(self, key: str, default: int | None = None) -> int | None:
        """Return a setting as a whole number.

        Raises:
            UsageError: It is none. (A ``ValueError``.)
        """
        value = self.get(key, default)
        try:
            return None if value is None else int(value)
        except ValueError:
            given = f"{key}={value!r} among the rendezvous settings"
            raise UsageError(f"{given}: give a whole number") from None


RendezvousHandlerCreator: TypeAlias = Callable[[RendezvousParameters], RendezvousHandler]


class RendezvousHandlerRegistry:
    """Kinds of handlers by name.

    Args:
        find: Looks a name up that nobody has registered; None if there is no such kind.
    """

    def __init__(
        self, find: Callable[[str], RendezvousHandlerCreator | None] | None = None
    ) -> None:
        self._registry: dict[str, RendezvousHandlerCreator] = {}
        self._find = find or (lambda _: None)

    def register(self, backend: str, creator: RendezvousHandlerCreator) -> None:
        """Add a kind of handler.

        Args:
            backend: Its name.
            creator: Makes a handler of the parameters.

        Raises:
            UsageError: The name is empty or taken. (A ``ValueError``.)
        """
        if not backend:
            raise UsageError("the rendezvous backend is empty: register it by a name")
        if self._registry.setdefault(backend, creator) != creator:
            raise UsageError(
                f"the rendezvous backend {backend} is registered already, with "
                f"{self._registry[backend]}: register {creator} by another name"
            )

    def knows(self, backend: str) -> bool:
        """Whether there is such a kind."""
        return backend in self._registry or self._find(backend) is not None

    def create_handler(self, params: RendezvousParameters) -> RendezvousHandler:
        """Make a handler.

        Raises:
            UsageError: There is no such kind, or the parameters do not do. (A ``ValueError``.)
            RuntimeError: The handler says that it is of another kind.
        """
        creator = self._registry.get(params.backend) or self._find(params.backend)
        if creator is None:
            known = ", ".join(sorted({*self._registry, *_BUILT_IN}))
            raise UsageError(
                f"the rendezvous backend {params.backend} is not registered. There are {known}; "
                "others are added by register() or an entry point of the group torchrun.handlers"
            )
        handler = creator(params)
        if handler.get_backend() != params.backend:
            raise RuntimeError(
                f"the handler of the rendezvous backend {params.backend} says that it is one of "
                f"{handler.get_backend()}: get_backend() has to return the registered name"
            )
        return handler


_BUILT_IN = {
    "static": "procession.rendezvous.kinds:create_static",
    "c10d": "procession.rendezvous.kinds:create_c10d",
    "etcd": "procession.rendezvous.kinds:create_at_etcd",
    "etcd-v2": "procession.rendezvous.kinds:create_at_etcd",
}


def _find(backend: str) -> RendezvousHandlerCreator | None:
    from procession.rendezvous.finding import find

    return find(backend, _BUILT_IN)


rendezvous_handler_registry = RendezvousHandlerRegistry(_find)


def _host_name() -> str:
    from socket import getfqdn

    return getfqdn()


def _free_port() -> int:
    from procession._os.ports import free_port

    return free_port()
