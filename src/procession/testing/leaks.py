"""What a piece of code has left behind in this process: processes, fds, threads.

Descendants are found by their parents. What has lost its parents (daemons, children of children) is
found by a brand that every descendant inherits: `branding` sets it. Whatever a program does, it does
not shed it by accident, as it does an environment variable or a descriptor.
"""

from __future__ import annotations

import gc
import os
import resource
import select
import sys
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from procession._os import proc
from procession.testing.waiting import describe

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

__all__ = ["Inventory", "branding"]

_GLANCE = 0.01  # seconds between two looks at what may yet go
# multiprocessing's own, which live as long as the process once something has asked for them.
_LASTING = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")
# Begins the names of the files that shared values live in (multiprocessing/heap.py).
_HEAP = "/pym-"


class Inventory(NamedTuple):
    """What there is: each kind by its number (pid, fd, thread id), with a description.

    Attributes:
        processes: Descendants that live, and children that ended and were never waited for;
            but for multiprocessing's own servants, which stay.
        fds: Open file descriptors, with what they lead to.
        threads: Threads, those that Python does not know included.
    """

    processes: dict[int, str]
    fds: dict[int, str]
    threads: dict[int, str]

    @classmethod
    def take(cls) -> Inventory:
        """Return what this process has now."""
        return cls(_processes(), _fds(), _threads())

    def left(self, patience: float = 0.0) -> Inventory:
        """Return what has been added since this inventory was taken.

        Args:
            patience: Seconds to wait for what is about to go: killed processes, ending threads.
        """
        deadline = time.monotonic() + patience
        while any(added := self._added()) and time.monotonic() < deadline:
            gc.collect()  # an object that nobody holds any more may yet close what it has
            select.poll().poll(_GLANCE * 1000)
        return added

    def __str__(self) -> str:
        kinds = (
            ("process", self.processes),
            ("fd", self.fds),
            ("thread", self.threads),
        )
        return "\n".join(f"{kind} {text}" for kind, found in kinds for text in found.values())

    def _added(self) -> Inventory:
        now = Inventory.take()
        return Inventory(
            _without(now.processes, self.processes.keys()),
            # A number may lead elsewhere by now.
            dict(now.fds.items() - self.fds.items()),
            _without(now.threads, self.threads.keys()),
        )


@contextmanager
def branding() -> Iterator[None]:
    """Brand what this process starts in the body: those that outlive their parents are found by it.

    The brand is the soft limit of microseconds under real-time scheduling (RLIMIT_RTTIME,
    getrlimit(2)), set from infinity to a random figure of a hundred thousand years: children inherit
    it, exec keeps it, /proc/<pid>/limits shows it to their owner.
    """
    before, most = resource.getrlimit(resource.RLIMIT_RTTIME)
    if most == resource.RLIM_INFINITY:
        brand = 1 << 62 | int.from_bytes(os.urandom(7), "little")
        resource.setrlimit(resource.RLIMIT_RTTIME, (brand, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_RTTIME, (before, most))


def _without(found: dict[int, str], known: Collection[int]) -> dict[int, str]:
    return {number: text for number, text in found.items() if number not in known}


def _processes() -> dict[int, str]:
    children = set(proc.children(os.getpid()))
    found = {}
    for pid in {*children, *proc.descendants(children), *_branded()}:
        stat = proc.stat(pid)
        if stat is None or not (stat.alive or pid in children):
            continue
        text = describe(pid)
        if not any(name in text for name in _LASTING):
            found[pid] = text if stat.alive else f"{pid} {stat.name}, ended and never waited for"
    return found


def _branded() -> set[int]:
    """The processes that bear our brand, but for ourselves; none where there is no brand."""
    brand, _ = resource.getrlimit(resource.RLIMIT_RTTIME)
    if brand == resource.RLIM_INFINITY:
        return set()
    return set(proc.limited(b"Max realtime timeout", brand)) - {os.getpid()}


def _fds() -> dict[int, str]:
    lasting = _lasting_fds()
    found = {}
    for fd in map(int, os.listdir("/proc/self/fd")):
        with suppress(OSError):  # that of the listing, for one
            target = os.readlink(f"/proc/self/fd/{fd}")
            if fd not in lasting and _HEAP not in target:
                found[fd] = f"{fd} -> {target}"
    return found


def _lasting_fds() -> set[int | None]:
    """The ends of the pipes to what outlives its first use by design."""
    tracker = sys.modules.get("multiprocessing.resource_tracker")
    forkserver = sys.modules.get("multiprocessing.forkserver")
    return {
        getattr(getattr(tracker, "_resource_tracker", None), "_fd", None),
        getattr(getattr(forkserver, "_forkserver", None), "_forkserver_alive_fd", None),
    }


def _threads() -> dict[int, str]:
    known = {thread.native_id: thread.name for thread in threading.enumerate()}
    found = {}
    for tid in map(int, os.listdir("/proc/self/task")):
        if tid in known:
            found[tid] = f"{tid} {known[tid]}"
        elif stat := proc.stat(tid):  # else it has ended since
            found[tid] = f"{tid} {stat.name}, not of Python's making"
    return found
