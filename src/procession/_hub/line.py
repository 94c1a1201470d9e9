"""One host's connection to the hub, as the host has it: made anew until the lease is lost."""

from __future__ import annotations

import select
import socket
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from procession._hub.frames import LIMIT, PROTOCOL, FrameError, Unframer, frame
from procession._hub.records import from_json
from procession._log import Logger
from procession._membership import codec
from procession._membership.model import Roll
from procession._store.fence import AGAIN, INTERVAL, TRY, Fence, now

if TYPE_CHECKING:
    from collections.abc import Callable

    from procession._membership.codec import Entry
    from procession._store.endpoint import Endpoint
    from procession._store.news import News

logger = Logger(__name__)

_PATIENCE = 3.0  # seconds that close() lets requests take
_FIRST_ANSWER = 10.0  # seconds
_AT_ONCE = 256 * 1024  # bytes


class Greeting(NamedTuple):
    """What a host says first.

    Attributes:
        run_id: The run's.
        nnodes: How many hosts it has, as text.
        id: The host's.
        name: What people call it.
        member: Its record.
        ttl: Seconds that its lease lasts.
    """

    run_id: str
    nnodes: str
    id: str
    name: str
    member: str
    ttl: float

    def frame(self, back: str) -> bytes:
        """As it is sent; ``back`` is the life of the hub that it has been with."""
        said = {
            **{"hello": PROTOCOL, "run": self.run_id, "nnodes": self.nnodes, "id": self.id},
            **{"name": self.name, "member": self.member, "lease": self.ttl, "back": back},
        }
        return frame(said)


class Line(threading.Thread):
    """A thread that keeps a host in touch with the hub.

    Args:
        place: Where the hub is.
        greeting: What is said first.
        news: Is told what comes of it.
        clock: What a key's time of reading is taken from, ns.

    Attributes:
        fence: The lease's clock; None before the hub has let this host in.
        trouble: Why the hub has not been reached, empty where it has.
        refusal: Why the hub will not have this host.
    """

    def __init__(
        self, place: Endpoint, greeting: Greeting, news: News, clock: Callable[[], int]
    ) -> None:
        super().__init__(name="procession-hub-line", daemon=True)
        self._place = self._first = place
        self._greeting = greeting
        self._news = news
        self._clock = clock
        self._life = ""  # of the hub
        self._keys: dict[str, Entry] = {}
        self._lock = threading.Lock()
        self._waiting: deque[tuple[int, bytes]] = deque()  # asked for, and not known to be done
        self._number = 0
        self._bell, self._ear = socket.socketpair()
        self._until = float("inf")  # when this thread ends at the latest
        self._is_over = False
        self._roll_asked = 0
        self._beat, self._beat_sent, self._beat_due = 0, 0.0, 0.0
        self.fence: Fence | None = None
        self.trouble = "no answer yet"
        self.refusal = ""

    # ---- for other threads

    def keys(self) -> list[Entry]:
        """All keys that the hub has told of."""
        return list(self._keys.values())

    def call_roll(self, most: int) -> None:
        """Ask who is there, so many of them by name."""
        self._roll_asked = most
        self._bell.send(b"!")

    def ask(self, **request: Any) -> None:
        """Have the hub do something, after all that was asked before."""
        with self._lock:
            self._number += 1
            self._waiting.append((self._number, frame({"n": self._number, **request})))
            self._bell.send(b"!")

    def close(self) -> None:
        """End the thread, once the hub has done what was asked, after some seconds at most."""
        with self._lock:
            self._until = now() + (_PATIENCE if self.fence is not None else 0)
            self._bell.send(b"!")
        if self.ident is not None:
            self.join()
        self._bell.close()
        self._ear.close()

    # ---- in this one

    def run(self) -> None:
        """Keep in touch until ``close``, or until the lease is lost."""
        while self._goes_on():
            place = self._place
            try:
                with socket.create_connection(place, self._try()) as sock:
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self._talk(sock)
            except (OSError, ValueError, FrameError) as error:
                self.trouble = f"{place}: {getattr(error, 'strerror', None) or error}"
                logger.debug("%s", self.trouble)
                self._rest()
                self._place = self._place if self._life else self._first

    def _goes_on(self) -> bool:
        if self._is_over or now() >= self._until or (self._until < float("inf") and self._is_done):
            return False
        fence = self.fence
        if fence is not None and not fence.is_good:
            self._lose(fence.loss(self._place, self.trouble))
            return False
        return True

    @property
    def _is_done(self) -> bool:
        return not self._waiting

    def _lose(self, reason: str) -> None:
        self._is_over = True
        self._news.lose(reason)

    def _try(self) -> float:
        """Seconds that an answer may take; nothing is lost while there is no lease."""
        return _FIRST_ANSWER if self.fence is None else TRY * self._greeting.ttl

    def _rest(self) -> None:
        """Wait before the next try, or until there is something to say or to end."""
        pause = AGAIN * self._greeting.ttl
        poller = select.poll()
        poller.register(self._ear, select.POLLIN)
        if poller.poll(min(pause, max(self._until - now(), 0.0)) * 1000):
            self._ear.recv(4096)

    def _talk(self, sock: socket.socket) -> None:
        """Say hello and all that is waiting, and hear until there is no more sense in it."""
        frames = Unframer(LIMIT)
        self._beat_sent, self._beat_due = now(), float("inf")
        sock.sendall(self._greeting.frame(self._life))
        poller = select.poll()
        poller.register(sock, select.POLLIN)
        poller.register(self._ear, select.POLLIN)
        place, told = self._place, 0
        while place == self._place and self._goes_on():
            ready = [fd for fd, _ in poller.poll(self._timeout() * 1000)]
            if self._ear.fileno() in ready:
                self._ear.recv(4096)
            if sock.fileno() in ready:
                self._hear(sock.recv(_AT_ONCE), frames)
            if not self.trouble:
                told = self._tell(sock, told)
            self._keep_alive(sock)

    def _timeout(self) -> float:
        due = self._beat_due if self._beat_due < float("inf") else self._beat_sent + self._try()
        return max(min(due, self._until) - now(), 0.001)

    def _tell(self, sock: socket.socket, told: int) -> int:
        """Send what has not been sent over this connection."""
        with self._lock:
            fresh = [data for number, data in self._waiting if number > told]
            last = self._number
        if self._roll_asked:
            fresh.append(frame({"roll": self._roll_asked}))
            self._roll_asked = 0
        if fresh:
            sock.sendall(b"".join(fresh))
        return last

    def _keep_alive(self, sock: socket.socket) -> None:
        moment = now()
        if self._beat_due <= moment:
            self._beat, self._beat_sent, self._beat_due = self._beat + 1, moment, float("inf")
            sock.sendall(frame({"alive": self._beat}))
        elif self._beat_due == float("inf") and moment >= self._beat_sent + self._try():
            raise TimeoutError("it does not answer")

    def _hear(self, data: bytes, frames: Unframer) -> None:
        if not data:
            raise ConnectionResetError("it has broken the connection off")
        changed = False
        for said in frames.feed(data):
            if "keys" in said:
                changed = True
                self._note_keys(said)
            if "roll" in said:
                members = map(codec.read_member, from_json(said["roll"]))
                self._news.hear(Roll(tuple(members), int(said["total"])))
            for word in ("welcome", "alive", "done", "go", "refused", "lost"):
                if word in said:
                    getattr(self, f"_{word}")(said[word])
        if changed:
            self._news.see()

    def _note_keys(self, said: dict[str, Any]) -> None:
        keys = {} if "welcome" in said else dict(self._keys)
        heard = self._clock()
        fresh = (entry._replace(heard=heard) for entry in from_json(said["keys"]))
        keys.update((entry.name, entry) for entry in fresh)
        for name in said.get("gone", ()):
            keys.pop(name, None)
        self._keys = keys  # a new one each time: others read it

    def _welcome(self, life: str) -> None:
        self._life, self.trouble = str(life), ""
        self._answered()

    def _alive(self, beat: int) -> None:
        if beat == self._beat:
            self._answered()

    def _answered(self) -> None:
        if self.fence is None:
            self.fence = Fence(self._greeting.ttl, self._beat_sent)
        self.fence.sent = self._beat_sent
        self._beat_due = self._beat_sent + INTERVAL * self._greeting.ttl
        self._news.ring()

    def _done(self, number: int) -> None:
        with self._lock:
            while self._waiting and self._waiting[0][0] <= number:
                self._waiting.popleft()

    def _go(self, port: int) -> None:
        self._place = self._place._replace(port=int(port))

    def _refused(self, text: str) -> None:
        self._is_over = True
        self.refusal = f"{self._place}: {text}."
        self._news.ring()

    def _lost(self, reason: str) -> None:
        self._lose(str(reason))
