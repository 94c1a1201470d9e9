"""``die(WAY)``, and functions that do it at a place of a worker's life."""

from __future__ import annotations

import atexit
import dataclasses
import os
import signal
import sys
from typing import Any

PATIENCE = 30  # seconds for what takes milliseconds


class MuteError(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")

    __repr__ = __str__


class StubbornError(Exception):
    def __reduce__(self) -> Any:
        raise TypeError("not me")


@dataclasses.dataclass(frozen=True)
class FrozenError(Exception):
    """Refuses to be given a traceback, notes or a cause by an assignment."""

    code: int


def recurse() -> None:
    recurse()


def ready(tell: str) -> None:
    with open(tell, "w") as fifo:
        fifo.write(f"ready dying {os.getpid()}\n")


def die(way: str) -> None:
    exits: Any = {"exit 0": 0, "exit 3": 3, "exit text": "good bye"}
    errors = {"exception": ValueError("boom"), "KeyboardInterrupt": KeyboardInterrupt(),
              "MemoryError": MemoryError(), "mute": MuteError(), "stubborn": StubbornError("x"), "frozen": FrozenError(5)}  # fmt: skip
    if way in exits:
        sys.exit(exits[way])
    if way in errors:
        raise errors[way]
    if way == "RecursionError":
        recurse()
    if way.startswith("_exit"):
        os._exit(int(way[-1]))
    os.kill(os.getpid(), getattr(signal, way))


class Dies:
    """Dies of being unpickled, or of being pickled."""

    def __init__(self, way: str) -> None:
        self.way = way

    def __setstate__(self, state: Any) -> None:
        if os.environ.get("DIES_AT") == "unpickle":
            die(state["way"])
        self.way = state["way"]

    def __getstate__(self) -> Any:
        if os.environ.get("DIES_AT") == "result":
            die(self.way)
        return {"way": self.way}


def exits(code: object) -> None:
    sys.exit(code)  # type: ignore[arg-type]


def at_call(way: str) -> str:
    die(way)
    return "returned"


def at_unpickle(_: Any) -> str:
    return "returned"


def at_result(way: str) -> Any:
    return Dies(way)


def at_exit(way: str) -> str:
    atexit.register(die, way)
    return "returned"


def in_thread_after_result(way: str) -> str:
    """What the main thread does when the function has returned, and before exit functions run."""
    import threading

    def go_on() -> None:
        threading.main_thread().join(PATIENCE)
        die(way)

    threading.Thread(target=go_on).start()
    return "returned"


def hangs_at_exit(tell: str | None) -> str:
    def hang(tell: str) -> None:
        ready(tell)
        signal.pause()

    if tell is not None:
        atexit.register(hang, tell)
    return "returned"


def raises_beside_a_timer() -> None:
    """As a profiler's that looks at the stack every now and then."""
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    raise ValueError


class HangsError(Exception):
    """Hangs where it is asked for its words, or to be pickled."""


def raises_what_hangs(place: str) -> None:
    def hang(_: Any) -> Any:
        while True:
            signal.pause()

    setattr(HangsError, place, hang)
    raise HangsError


def at_result_of_one(way: str, tell: str) -> Any:
    if way == "peer":
        signal.pause()
    ready(tell)
    return Dies(way)


def raise_together(rank: int, barrier: Any) -> None:
    """Nobody dies, and so nobody is stopped, before all have raised and left word of it."""
    atexit.register(barrier.wait, 30)
    try:
        raise KeyError("why")
    except KeyError as why:
        raise ValueError(f"of rank {rank}") from why
