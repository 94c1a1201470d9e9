"""The hosts of a round come together at the first one's door before any worker starts.

Each tries some of the others and then the first, and says that it is there; when all have, the first
tells all to go on. So who cannot reach another is known by name while there is no worker anywhere.
"""

from __future__ import annotations

import os
import selectors
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from procession._log import Logger

if TYPE_CHECKING:
    from procession._membership.model import Member, Round

logger = Logger(__name__)

_PATIENCE = 5.0  # seconds that a connection may take, beyond those in which a host may prove lost
_PAUSE = 0.2  # seconds between two tries
_LONGEST = 512  # bytes of what a host says at the door
_GO = b"go"


def targets(rank: int, hosts: int) -> list[int]:
    """Which others a host tries, beside the first: those 1, 2, 4, ... further on. Pure.

    So each host is tried by others, and nobody tries more than a few.
    """
    steps = [2**n for n in range(hosts.bit_length()) if 2**n < hosts]
    return sorted({(rank + step) % hosts for step in steps} - {0, rank})


class Door(threading.Thread):
    """Where the others come to this host.

    Args:
        listener: A socket that listens at this host's address, and does not block.
    """

    def __init__(self, listener: socket.socket) -> None:
        super().__init__(name="procession-door", daemon=True)
        self._listener = listener
        self.port = int(listener.getsockname()[1])
        self._ear, self._bell = os.pipe()
        self._expected: tuple[str, int] = "", 0
        self._closing = False
        self._said: dict[socket.socket, bytes] = {}

    def expect(self, greeting: str, hosts: int) -> None:
        """Tell who says this to go on, once so many do."""
        self._expected = greeting, hosts
        os.write(self._bell, b"!")

    def close(self) -> None:
        """Listen no more."""
        self._closing = True
        os.write(self._bell, b"!")
        if self.ident is not None:
            self.join()
        self._listener.close()
        os.close(self._ear)
        os.close(self._bell)

    def run(self) -> None:
        """Hear who comes, until ``close``."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._ear, selectors.EVENT_READ)
            while not self._closing:
                for key, _ in selector.select():
                    if key.fileobj is self._listener:
                        self._let_in(selector)
                    elif isinstance(key.fileobj, socket.socket):
                        self._hear(selector, key.fileobj)
                    else:
                        os.read(self._ear, 4096)
                self._look(selector)
            for sock in list(self._said):
                self._drop(selector, sock)

    def _let_in(self, selector: selectors.BaseSelector) -> None:
        with suppress(OSError):
            sock, _ = self._listener.accept()
            sock.setblocking(False)
            self._said[sock] = b""
            selector.register(sock, selectors.EVENT_READ)

    def _hear(self, selector: selectors.BaseSelector, sock: socket.socket) -> None:
        try:
            data = sock.recv(_LONGEST)
        except OSError:
            data = b""
        self._said[sock] += data
        if not data or len(self._said[sock]) > _LONGEST:
            self._drop(selector, sock)

    def _look(self, selector: selectors.BaseSelector) -> None:
        """Whether all have come."""
        greeting, hosts = self._expected
        word = f"{greeting}\n".encode()
        here = [sock for sock, said in self._said.items() if said == word]
        if not hosts or len(here) < hosts:
            return
        self._expected = "", 0
        for sock in here:
            with suppress(OSError):
                sock.send(_GO)
            self._drop(selector, sock)

    def _drop(self, selector: selectors.BaseSelector, sock: socket.socket) -> None:
        selector.unregister(sock)
        del self._said[sock]
        sock.close()


class Muster(threading.Thread):
    """One host's part in the coming together of a round.

    Args:
        now: The round.
        rank: This host's.
        lease: Seconds after which a host that has died is known to be lost, and the round is over: until
            then nothing is said of one that cannot be reached.

    Attributes:
        problem: Which host could not be reached, and why; empty while there is none.
        is_over: All are there, or there is a problem.
    """

    def __init__(self, now: Round, rank: int, lease: float) -> None:
        super().__init__(name="procession-muster", daemon=True)
        self._seats = now.seats
        self._rank = rank
        self._greeting = greeting(now)
        self._patience = lease + _PATIENCE
        self._sock: socket.socket | None = None
        self._given_up = threading.Event()
        self._ear, self._bell = os.pipe()
        self.problem = ""
        self.is_over = False

    def fileno(self) -> int:
        """Return an fd that is readable once it is over."""
        return self._ear

    def run(self) -> None:
        """Try some of the others, and wait with the first for all."""
        try:
            others = targets(self._rank, len(self._seats))
            if all(self._reach(self._seats[other]) for other in others):
                self.is_over = self._reach(self._seats[0], self._greeting) or self.is_over
        finally:
            with suppress(OSError):  # nobody listens any more
                os.write(self._bell, b"!")
            os.close(self._bell)

    def close(self) -> None:
        """Give up, if it is not over; a connection that is being tried is not waited for."""
        self._given_up.set()
        sock = self._sock
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        os.close(self._ear)

    def _reach(self, seat: Member, word: str = "") -> bool:
        """Connect to a host, again and again; with a word for its door, wait for its answer."""
        deadline = time.monotonic() + self._patience
        while not self._given_up.is_set():
            try:
                left = max(deadline - time.monotonic(), _PAUSE)
                with socket.create_connection((seat.address, seat.door), left) as sock:
                    if not word or self._hear(sock, word):
                        return True
            except OSError as error:
                if time.monotonic() >= deadline:
                    self.problem = _cannot_reach(self._seats[self._rank], seat, error)
                    self.is_over = True
                    return False
            else:  # the first did not say to go on: it has come later than this host, or anew
                deadline = time.monotonic() + self._patience
            self._given_up.wait(_PAUSE)
        return False

    def _hear(self, sock: socket.socket, word: str) -> bool:
        """Say a word at the first one's door, and wait for all; False if the door is closed again."""
        self._sock = sock
        if self._given_up.is_set():
            return False
        sock.settimeout(None)  # whether all come is for the store to say
        with suppress(OSError):
            sock.sendall(f"{word}\n".encode())
            return sock.recv(len(_GO)) == _GO
        return False


def greeting(now: Round) -> str:
    """What the hosts of a round say at the first one's door. Pure."""
    return f"{now.seats[0].id} {now.generation}"


def _cannot_reach(here: Member, there: Member, error: OSError) -> str:
    return (
        f"{here.host} ({here.address}) cannot connect to {there.host} ({there.address}:{there.door}): "
        f"{error.strerror or error}. Workers need that at any port: is there a firewall between them, or "
        f"is the address wrong? --local-addr on {there.host} gives another."
    )
