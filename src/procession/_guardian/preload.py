"""Imports what workers will need, once, and finds out what of it a fork would break."""

from __future__ import annotations

import gc
import os
import sys
import time

from procession._guardian.protocol import MAIN
from procession._os.unforkable import take_stock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    Report = dict[str, Any]


class PreloadFailure(Exception):  # noqa: N818 - what happened, on its way to the report
    """The import of a module raised."""

    def __init__(self, module: str, cause: BaseException) -> None:
        super().__init__(module)
        self.module = module
        self.text = _in_words(cause)


def preload(
    modules: Sequence[str],
    import_main: Callable[[], object],
    tell: Callable[[str], None],
    *,
    shared: bool,
) -> Report:
    """Import ``modules`` in order, then the launcher's main module.

    Args:
        modules: Names.
        import_main: Imports it, if there is one that can be imported. What it raises is left to the
            workers, each of which imports it again and fails of it by itself.
        tell: Gets each name before its import begins; ``MAIN`` for the main module.
        shared: Workers will be forked from this process.

    Returns:
        ``seconds``: module to the time its import took; ``unsafe``: pairs of a module and what it
        has left that a fork would break, in words.

    Raises:
        PreloadFailure: A module cannot be imported.
    """
    brought: dict[str, tuple[str, str]] = {}
    seconds = {}
    for name in modules:
        tell(name)
        begun, before = time.monotonic(), take_stock()
        _import(name)
        seconds[name] = time.monotonic() - begun
        brought.update({key: (name, what) for key, what in take_stock().items() - before.items()})
    tell(MAIN)
    before = take_stock()
    try:  # noqa: SIM105 - contextlib is an import, before that of the user's modules
        import_main()
    except BaseException:  # noqa: BLE001, S110 - whatever their code raises
        pass
    brought.update({key: (MAIN, what) for key, what in take_stock().items() - before.items()})
    _flush()
    if shared:
        _keep_finalizers()
        gc.collect()
        gc.freeze()  # the collectors of workers do not write to what all of them share
    return {"seconds": seconds, "unsafe": _left_after_a_fork(brought) if shared else []}


def wait_for(child: int) -> None:
    """Wait for the end of a child, and reap it, if an import has not told the kernel to (SIGCHLD ignored)."""
    try:  # noqa: SIM105 - contextlib is an import
        os.waitpid(child, 0)
    except ChildProcessError:  # which comes when it has ended too: waitpid(2), NOTES
        pass


def _import(name: str) -> None:
    try:
        __import__(name)
    except BaseException as error:  # sys.exit() and KeyboardInterrupt end an import too
        raise PreloadFailure(name, error) from error


def _left_after_a_fork(brought: dict[str, tuple[str, str]]) -> list[tuple[str, str]]:
    """Return what is still there when this process has forked.

    A pool of threads that knows of forks (pthread_atfork(3)) takes itself down before one, and comes
    back with its next use: OpenBLAS does so. One that does not stays, and would be missed in the copy.
    """
    if any(key.startswith("thread") for key in brought):
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        wait_for(pid)
    left = take_stock()
    return list(dict.fromkeys(origin for key, origin in brought.items() if key in left))


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()


def _keep_finalizers() -> None:
    """Have no worker end, at its exit, what an import has made for all of them: a temporary directory.

    torch's finalizers alone would also write to some 7 000 pages that the workers share.
    """
    weakref = sys.modules.get("weakref")
    for finalizer in list(weakref.finalize._registry) if weakref is not None else ():
        finalizer.atexit = False


def _in_words(error: BaseException) -> str:
    from traceback import format_exception

    below_us = error.__traceback__.tb_next if error.__traceback__ else None
    return "".join(format_exception(type(error), error, below_us))
