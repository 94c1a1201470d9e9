"""Waking the threads that sleep in one loop: a bell for each, since what one empties is lost to the others."""

from __future__ import annotations

import os
import threading
from contextlib import suppress


class Bells:
    """One pipe a thread, made at its first sleep. Not locked: the loop's own lock is held around each call."""

    def __init__(self) -> None:
        self._pipes: dict[int, tuple[int, int]] = {}

    def mine(self) -> int:
        """Return the fd that is readable once somebody has rung for the calling thread."""
        thread = threading.get_ident()
        if thread not in self._pipes:
            self._pipes[thread] = reader, writer = os.pipe()
            os.set_blocking(reader, False)
            os.set_blocking(writer, False)
        return self._pipes[thread][0]

    def answer(self) -> None:
        """Empty the calling thread's bell."""
        with suppress(BlockingIOError):
            os.read(self.mine(), 4096)

    def ring(self) -> None:
        """Wake every other thread that has ever slept here."""
        thread = threading.get_ident()
        for owner, (_, writer) in self._pipes.items():
            if owner != thread:
                with suppress(BlockingIOError):  # it is full, so it rings
                    os.write(writer, b"!")

    def close(self) -> None:
        """Close all; a thread that has been rung for wakes all the same (poll(2) holds the pipe)."""
        for pipe in self._pipes.values():
            for end in pipe:
                os.close(end)
        self._pipes.clear()
