"""A cause and its victim, as a function or as ``causes.py DIRECTORY HOW``.

Rank 1 is the cause: HOW says how it ends. Rank 0 holds the other end of a FIFO, and fails because
rank 1 let go of it.
"""

import atexit
import os
import signal
import sys
import time
from collections.abc import Callable

PATIENCE = 20.0  # seconds


def main(rank: int, directory: str, how: str) -> None:
    fifo = os.path.join(directory, "fifo")
    if rank == 0:
        be_victim(fifo, {"killed": 0.005}.get(how, 0.02))
    else:
        be_cause(os.open(fifo, os.O_WRONLY), how)


def be_victim(fifo: str, delay: float) -> None:
    """Wait until the peer is gone, and fail of it so many seconds later."""
    with open(fifo, "rb") as file:
        peer = file.read()  # its pid, if it has said so, once it has let go
    while peer and not has_died(int(peer)):  # a busy kernel closes its files long before that
        time.sleep(0.0005)
    time.sleep(delay)
    os._exit(5)


def has_died(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):  # the latter once it is open (proc(5))
        return True


def be_cause(fifo: int, how: str) -> None:
    if how == "killed":
        os.write(fifo, b"%d" % os.getpid())
        os.kill(os.getpid(), signal.SIGKILL)
    atexit.register(time.sleep, PATIENCE)  # unless the stop comes, as it should
    atexit.register(os.close, fifo)  # the first of the two that is called
    END[how]()


def raise_it() -> None:
    raise ValueError("the cause")


def leave() -> None:
    sys.exit(3)


END: dict[str, Callable[[], None]] = {"raises": raise_it, "leaves": leave}


if __name__ == "__main__":
    main(int(os.environ["RANK"]), *sys.argv[1:])
