"""The fork server at work: imports once, then forks workers that become children of the guardian.

For each batch of orders the server forks a *mother*, who forks the workers and exits, so that they
fall to the guardian, the next subreaper above: it has their statuses and their corpses as those of any
other worker, and the server has none. Workers wait at a gate until the guardian has been told of them.
"""

from __future__ import annotations

import marshal
import os
import select
import sys
from errno import EMFILE

from procession._guardian.channel import Channel
from procession._guardian.preload import PreloadFailure, preload, wait_for
from procession._guardian.starters import LOCK_FD, Order, close_all, place, with_lock
from procession._os import lean
from procession._os.circumstances import enter
from procession._os.kernel import die_with
from procession._worker import reborn, threads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from procession._guardian.protocol import Message

    Become = Callable[[dict[str, Any]], None]

CHANNEL_FD = 4  # behind the run's lock
_MOST_AT_ONCE = 32  # orders a mother: the first of them wait at the gate for the last


def serve() -> Become:
    """Serve the guardian until it closes the channel, which ends this process.

    Returns:
        In a worker, what it is to do with the namespace of ``__main__``.
    """
    os.set_inheritable(CHANNEL_FD, False)
    channel = Channel(lean.socket(fileno=CHANNEL_FD))
    guardian = os.getppid()
    die_with(guardian)  # an import may take for ever, and would not hear of the channel's end
    if _has_hung_up(channel):  # before that was asked for
        os._exit(0)
    become = _Forker(channel, guardian).run()
    if become is None:
        os._exit(0)
    return become


class _Forker:
    """The server's side of its channel to the guardian."""

    def __init__(self, channel: Channel, guardian: int) -> None:
        self._channel = channel
        self._guardian = guardian
        self._settings: dict[str, Any] = {}
        self._alone = False  # a spare: it forks nobody
        self._env: dict[str, str] = {}  # as it was before any import, sitecustomize's too
        self._said = (b"", b"")  # what the imports have written to stdout and stderr
        self._waiting: list[tuple[int, Order]] = []

    def run(self) -> Become | None:
        """Serve; None at the end of the channel, and in a worker what it is to become."""
        while not self._channel.closed:
            self._sleep()
            for message, fds in self._channel.receive():
                self._hear(message, fds)
            self._channel.flush()
            if self._alone and self._waiting:
                return self._become(self._waiting[0][1])
            while self._waiting:
                batch, self._waiting = (
                    self._waiting[:_MOST_AT_ONCE],
                    self._waiting[_MOST_AT_ONCE:],
                )
                become = self._fork(batch)
                if become is not None:
                    return become
        return None

    def _sleep(self) -> None:
        poller = select.poll()
        poller.register(self._channel, select.POLLIN | (select.POLLOUT * self._channel.clogged))
        poller.poll()

    def _hear(self, message: Message, fds: list[int]) -> None:
        if message[0] == "preload":
            self._preload(*message[1:])
        elif message[0] == "follow":
            enter(f"/proc/{self._guardian}/cwd", message[1])
        else:
            _, serial, rank, argv, env, count = message
            if len(fds) < count:  # we may not have so many files open
                self._channel.send(("forked", [(serial, -EMFILE)]))
                close_all(fds)
            else:
                self._waiting.append((serial, Order(rank, (), argv, env, fds)))

    def _preload(
        self, modules: Sequence[str], settings: dict[str, Any], alone: bool, env: dict[str, str]
    ) -> None:
        self._settings, self._alone, self._env = settings, alone, env
        tell = lambda name: self._channel.send(("importing", name))  # noqa: E731
        _forget_ourselves()
        try:
            reborn.prepare(settings)
            report = preload(modules, lambda: reborn.import_main(settings), tell, shared=not alone)
        except PreloadFailure as failure:
            self._channel.send(("refused", {"module": failure.module, "text": failure.text}))
        else:
            self._said = (_content(1), _content(2))
            self._channel.send(("unfit" if report["unsafe"] else "ready", report))

    def _fork(self, batch: list[tuple[int, Order]]) -> Become | None:
        """Have a mother fork ``batch``, and tell the guardian; in a worker return what it becomes."""
        gate, opener = os.pipe()
        births, pen = os.pipe()
        mother = os.fork()
        if mother == 0:
            become = self._be_mother(batch, gate, pen, (births, opener))
            if become is None:
                os._exit(0)
            return become
        wait_for(mother)
        os.close(pen)
        self._channel.send(("forked", _read_births(births, batch)), [opener])
        self._drain()
        close_all([gate, opener, births, *(fd for _, order in batch for fd in order.fds)])
        return None

    def _be_mother(
        self, batch: list[tuple[int, Order]], gate: int, pen: int, closed: tuple[int, int]
    ) -> Become | None:
        close_all(closed)
        for serial, order in batch:
            try:
                pid = os.fork()
            except OSError as error:
                pid = -(error.errno or 0)
            if pid == 0:
                os.close(pen)
                others = [fd for _, other in batch if other is not order for fd in other.fds]
                return self._be_worker(order, gate, others)
            os.write(pen, marshal.dumps((serial, pid)))
        return None

    def _be_worker(self, order: Order, gate: int, others: list[int]) -> Become:
        os.setsid()
        if not os.read(gate, 1):  # server or guardian have ended: nobody has heard of us
            os._exit(1)
        die_with(self._guardian)  # to whom it has fallen by now
        close_all([*others, gate])
        become = self._become(order)
        reborn.renew()
        return become

    def _become(self, order: Order) -> Become:
        """Be the worker of ``order`` from now on."""
        self._channel.close()  # as an object: its end would close what has its number by then
        place(with_lock(order.fds, LOCK_FD))
        to_stdout, to_stderr = self._said
        _write(1, to_stdout)
        _write(2, to_stderr)
        after = dict(os.environ)
        os.environ.clear()
        os.environ.update(reborn.environment(order.env, self._env, after))
        threads.follow_environment(after, os.environ)
        return reborn.role(self._settings, order.argv, range(LOCK_FD + 1, len(order.fds) + 1))

    def _drain(self) -> None:
        while self._channel.clogged and not self._channel.closed:
            self._sleep()
            self._channel.flush()


def _has_hung_up(channel: Channel) -> bool:
    poller = select.poll()
    poller.register(channel, select.POLLIN)
    return any(event & select.POLLHUP for _, event in poller.poll(0))


def _read_births(births: int, batch: list[tuple[int, Order]]) -> list[tuple[int, int]]:
    """Return serial and pid of each worker that the mother has written down; -errno for a failure.

    She may have been killed on the way; the children of whom she did not write are known by nobody,
    and are swept.
    """
    told = {}
    with open(births, "rb", closefd=False) as file:
        for _ in batch:
            try:
                serial, pid = marshal.load(file)  # noqa: S302 - from our own child
            except (EOFError, ValueError, TypeError):
                break
            told[serial] = pid
    return [(serial, told.get(serial, 0)) for serial, _ in batch]


def _forget_ourselves() -> None:
    """Let workers import procession for themselves, if they do: their path may lead to another."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "procession"]:
        del sys.modules[name]


def _content(fd: int) -> bytes:
    try:
        return os.pread(fd, os.fstat(fd).st_size, 0)
    except OSError:  # the capture could not be had: /dev/null
        return b""


def _write(fd: int, text: bytes) -> None:
    while text:
        text = text[os.write(fd, text) :]
