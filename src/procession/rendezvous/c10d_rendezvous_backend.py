"""A rendezvous at torch's TCPStore, where torch is installed."""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any

from procession._os.reach import is_this_host
from procession.errors import RendezvousConnectionError, RendezvousStateError, UsageError
from procession.rendezvous.dynamic_rendezvous import RendezvousBackend
from procession.rendezvous.torch_store import tcp_store
from procession.rendezvous.utils import parse_rendezvous_endpoint

if TYPE_CHECKING:
    from procession.rendezvous.api import RendezvousParameters
    from procession.rendezvous.dynamic_rendezvous import Token

__all__ = ["C10dRendezvousBackend", "create_backend"]

_DEFAULT_PORT = 29400  # torch's
# A store's get() waits for a key, so that there is always one; torch's own mark for "no state yet".
_NONE = "Y2FuaW1hZGFt"


class C10dRendezvousBackend(RendezvousBackend):
    """The state in a key of a store.

    Args:
        store: A store of torch's with ``compare_set``.
        run_id: The run's id.

    Raises:
        UsageError: The run id is empty. (A ``ValueError``.)
        RendezvousConnectionError: The store cannot be reached.
    """

    def __init__(self, store: Any, run_id: str) -> None:
        if not run_id:
            raise UsageError("the run id is empty: give the run a name")
        self._store = store
        self._key = f"torch.rendezvous.{run_id}"
        self._asked("compare_set", self._key, "", _NONE)

    @property
    def name(self) -> str:
        """``c10d``."""
        return "c10d"

    def get_state(self) -> tuple[bytes, Token] | None:
        """Return the state and its token."""
        return self._read(self._asked("get", self._key))

    def set_state(
        self, state: bytes, token: Token | None = None
    ) -> tuple[bytes, Token, bool] | None:
        """Write the state if the one that is there is that of the token."""
        before = token.decode() if isinstance(token, bytes) and token else _NONE
        found = self._read(self._asked("compare_set", self._key, before, b64encode(state).decode()))
        return None if found is None else (*found, found[0] == state)

    def _asked(self, deed: str, *words: Any) -> Any:
        try:
            return getattr(self._store, deed)(*words)
        except (ValueError, RuntimeError, TimeoutError) as error:
            raise RendezvousConnectionError(f"the TCPStore of the rendezvous: {error}") from error

    def _read(self, text: bytes) -> tuple[bytes, Token] | None:
        if text == _NONE.encode():
            return None
        try:
            return b64decode(text, validate=True), text
        except binascii.Error as error:
            raise RendezvousStateError(f"{self._key} holds no state: {error}") from error


def create_backend(params: RendezvousParameters) -> tuple[C10dRendezvousBackend, Any]:
    """Make a backend.

    Args:
        params: ``endpoint`` is ``HOST[:PORT]``. Settings: ``is_host``, whether this host starts the
            store (where it is not given: if the endpoint is an address of this host), and
            ``read_timeout``, seconds.

    Returns:
        The backend and its store.

    Raises:
        UsageError: One of them cannot be. (A ``ValueError``.)
        RendezvousConnectionError: The store cannot be reached or started, or there is no torch.
    """
    kind = str(params.get("store_type", "tcp")).strip().lower()
    if kind != "tcp":
        raise UsageError(f"store_type={kind}: give tcp; other stores of torch's are not used here")
    timeout = params.get_as_int("read_timeout", 60) or 0
    if timeout <= 0:
        raise UsageError(f"read_timeout={timeout}: give more than 0 seconds")
    host, port = parse_rendezvous_endpoint(params.endpoint, _DEFAULT_PORT)
    store = _store(host, port, timeout, params.get_as_bool("is_host"))
    return C10dRendezvousBackend(store, params.run_id), store


def _store(host: str, port: int, timeout: float, starts: bool | None) -> Any:
    """Connect; several agents of one host may try to start the store, of which one does."""
    guessed = is_this_host(host) if starts is None else starts
    try:
        return tcp_store(host, port, timeout, is_master=guessed)
    except RendezvousConnectionError:
        if starts is not None or not guessed:
            raise
        return tcp_store(host, port, timeout, is_master=False)
