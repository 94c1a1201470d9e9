"""Holding a launcher up on its way through a start, where it asks for something of its user's."""

import os

from procession.multiprocessing import DefaultLogsSpecs


def hold() -> None:
    """Say "ready held PID" into the FIFO $HELD_ROLL, and wait for a byte from $HELD_GATE."""
    fd = os.open(os.environ["HELD_ROLL"], os.O_WRONLY)
    os.write(fd, b"ready held %d\n" % os.getpid())
    os.close(fd)
    gate = os.open(os.environ["HELD_GATE"], os.O_RDONLY)
    os.read(gate, 1)
    os.close(gate)


class Late:
    """A value that is asked for when a worker is about to be started, and holds that up once."""

    def __init__(self) -> None:
        self.asked = False

    def __str__(self) -> str:
        if not self.asked:
            self.asked = True
            hold()
        return "late"


class Specs(DefaultLogsSpecs):
    """What ``procession run --logs-specs held`` asks for its directories, before it starts a worker."""

    def reify(self, envs):
        hold()
        return super().reify(envs)
