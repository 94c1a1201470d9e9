"""What a worker is that was forked from an interpreter with its imports done: as good as a fresh one.

``settings`` says what the workers are to be, in plain values. For functions: ``sys_path``,
``sys_argv``, ``main_name``, ``main_path`` of the launcher, and whether it has imported
``multiprocessing``. For a script: ``first``, what Python puts before its search path.

docs/why/warm.md has what is renewed here, and what is left as the imports made it.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys

from procession._worker import as_main, function

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any


def prepare(settings: dict[str, Any]) -> None:
    """Make the server the interpreter in which the workers' imports are to happen."""
    if "first" in settings:
        if not as_main._safe_path():
            sys.path.insert(0, settings["first"])
        return
    # What every function worker goes through, imported once.
    import faulthandler  # noqa: F401

    if settings["multiprocessing"]:  # else it cannot be in an argument
        from multiprocessing import context, util  # noqa: F401
    sys.path[:] = settings["sys_path"]
    sys.argv[:] = settings["sys_argv"]


def import_main(settings: dict[str, Any]) -> None:
    """Import the launcher's main module as ``__mp_main__``, as Python's fork server does."""
    name, path = settings.get("main_name"), settings.get("main_path")
    if name or path:
        own = sys.modules["__main__"]
        function.refuse_launches()
        try:
            function.import_main(name, path)
        finally:  # the workers take their places themselves
            sys.modules["__main__"] = own


def environment(
    asked: Mapping[str, str], before: Mapping[str, str], after: Mapping[str, str]
) -> dict[str, str]:
    """The worker's environment: what was asked for, with what the imports have made of it. Pure.

    A variable that they have found otherwise than the worker would have them find it stays the
    worker's: ``os.environ.setdefault("RANK", "0")`` is not meant for who has a rank.

    Args:
        asked: As the worker was ordered.
        before: As the imports have found it.
        after: As they have left it.
    """
    changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    theirs = {name for name in changed if asked.get(name) == before.get(name)}
    kept = {name: value for name, value in asked.items() if name not in theirs}
    return {**kept, **{name: after[name] for name in theirs if name in after}}


def renew() -> None:
    """Renew what copies of a process must not share."""
    # Python's own generator seeds itself; these two do so when they are imported.
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()
    if hasattr(sys.modules.get("torch"), "default_generator"):
        sys.modules["torch"].default_generator.seed()
    threading = sys.modules.get("threading")
    if threading is not None:
        threading.main_thread()._set_native_id()
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        util._run_after_forkers()


def role(
    settings: dict[str, Any], argv: Sequence[str], fds: Sequence[int]
) -> Callable[[dict[str, Any]], None]:
    """Return what the worker does with the namespace of ``__main__``.

    Args:
        settings: As of the server.
        argv: The command line that would have started the worker.
        fds: Its fds beyond 0, 1, 2 and the run's lock.
    """
    if "first" in settings:
        return lambda main: _be_script(main, settings["first"], list(argv))
    return lambda _main: os._exit(function.work_from_payload(fds, settings["sys_path"]))


def _be_script(main: dict[str, Any], first: str, argv: list[str]) -> None:
    """Go on where ``script.py`` would stand, had Python been started with ``argv``."""
    if not as_main._safe_path():
        if first in sys.path:
            sys.path.remove(first)
        sys.path.insert(0, os.path.dirname(argv[1]))
    sys.argv[:] = argv[1:]
    if hasattr(sys, "orig_argv"):  # since 3.10
        sys.orig_argv[:] = argv
    main["__file__"] = argv[1]
    # The namespace of __main__ was frozen with the imports: nothing that it holds would be collected
    # when the interpreter ends.
    atexit.register(gc.unfreeze)
    _renew_authkey()
    as_main.run(main)


def _renew_authkey() -> None:
    process = sys.modules.get("multiprocessing.process")
    if process is not None:
        process.current_process().authkey = os.urandom(32)
