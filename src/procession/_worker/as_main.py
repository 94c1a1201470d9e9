"""Becomes ``python SCRIPT`` or ``python -m MODULE``: the second half of ``script.py``.

The script runs in the real ``__main__``, two frames deep, and the interpreter itself ends the
process: exit statuses, ``sys.excepthook``, threads, atexit and death by SIGINT are Python's own.
What Python says of a script that it cannot open or decode is left to Python too.

For every Python from 3.8 on. Nothing is imported that does not come with every start anyway, not
even ``__future__``, hence the quoted annotations.
"""

import _frozen_importlib_external as importlib  # the package itself costs a millisecond
import _signal  # type: ignore[import-not-found, unused-ignore]  # as the package does
import faulthandler
import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, NoReturn

    Call = tuple[Callable[..., object], tuple[object, ...]]


def run(main: "dict[str, Any]") -> None:
    """Run what ``sys.argv`` names in the namespace of the real ``__main__``.

    Args:
        main: That namespace, as ``script.py`` leaves it.

    Raises:
        BaseException: What the script does not catch, for the interpreter to end on.
    """
    process = os.getpid()
    _forget_bootstrap(main)
    _line_buffer_stdout()
    _dump_stacks_on_fatal_signals()
    try:
        function, arguments = _call_of_module() if sys.argv[0] == "-m" else _call_of_path(main)
        function(*arguments)
    except SystemExit as stop:
        status = exit_status(stop.code)
        if status and os.getpid() == process:
            note_exit(status, time.monotonic_ns())
        raise
    except BaseException as error:
        caught = time.monotonic_ns()  # before all else: a peer that fails of it is only µs behind
        let_go = hold_signals()
        below = _below_us(error.__traceback__)
        if os.getpid() == process:  # and not a child that the script forked
            _record(error.with_traceback(below), caught)
        _show_from(below, let_go)
        raise


def hold_signals() -> "Callable[[], None]":
    """Have the signals of a stop wait until this process has said what ended it.

    A peer that fails a millisecond later may die first, and the stop that follows would end this
    process before its word is on disk, and the peer be blamed. Handlers of Python's hold for all
    threads, where a mask holds for one.

    Returns:
        What lets them through again, those that came meanwhile first; a second call does nothing.
    """
    came: list[int] = []
    theirs: dict[int, Any] = {}

    def let_go() -> None:
        while theirs:
            _signal.signal(*theirs.popitem())
        while came:
            _signal.raise_signal(came.pop(0))

    for signum in (_signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP, _signal.SIGQUIT):
        handler = _signal.getsignal(signum)
        if handler not in (None, _signal.SIG_IGN):  # None: set by C code, and not ours to put back
            theirs[signum] = handler
            _signal.signal(signum, lambda number, _: came.append(number))
    return let_go


def exit_status(code: object) -> int:
    """The status with which Python ends on ``sys.exit(code)``; what is no C long is -1 to it."""
    if code is None:
        return 0
    if not isinstance(code, int):
        return 1
    return code & 0xFF if -(1 << 63) <= code < 1 << 63 else 0xFF


def note_exit(status: int, now: int) -> None:
    """Leave word that this process is leaving with a status of its own, with which, and since when.

    Exit functions, threads and a collective's teardown may hold it for longer than its victims live.

    Args:
        status: Which; not 0.
        now: CLOCK_MONOTONIC ns.
    """
    error_file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if not error_file:
        return
    let_go = hold_signals()
    try:
        fd = os.open(f"{error_file}.exit", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.write(fd, b"%d %d\n" % (now, status))
        os.close(fd)
    except OSError:  # the directory is gone, the disk is full: the status says the rest
        pass
    let_go()


def _forget_bootstrap(main: "dict[str, Any]") -> None:
    """Make ``__main__``, ``sys.argv``, ``sys.orig_argv`` and ``sys.path`` those of a bare start."""
    for ours in __file__, os.path.dirname(__file__), main.pop("__file__"):
        sys.path_importer_cache.pop(ours, None)
    main["__doc__"] = None
    for name in [name for name in main if not name.startswith("__")]:
        del main[name]
    if hasattr(sys, "orig_argv"):  # since 3.10
        del sys.orig_argv[-len(sys.argv)]
    del sys.argv[0]
    if not _safe_path():
        del sys.path[0]


def _safe_path() -> bool:
    """True where Python puts nothing before the search path: ``-P``, ``-I``, PYTHONSAFEPATH."""
    return bool(getattr(sys.flags, "safe_path", sys.flags.isolated))


def _line_buffer_stdout() -> None:
    """Have a line in the log when it is printed; ``-u`` and PYTHONUNBUFFERED do more already."""
    stdout: Any = sys.stdout  # None, or anything a sitecustomize has put there
    if not getattr(stdout, "write_through", True):
        stdout.reconfigure(line_buffering=True)


def _dump_stacks_on_fatal_signals() -> None:
    """Have the last stderr lines tell where a SIGSEGV struck; what the user has set up stays."""
    if sys.stderr is not None and not faulthandler.is_enabled():
        faulthandler.enable(file=2)


def _call_of_module() -> "Call":
    """The call by which Python runs ``-m MODULE``."""
    module = sys.argv.pop(1)
    if not _safe_path():
        sys.path.insert(0, _working_directory())
    import runpy

    return runpy._run_module_as_main, (module, True)  # type: ignore[attr-defined]


def _call_of_path(main: "dict[str, Any]") -> "Call":
    """The call by which Python runs a file, or a directory or zip file with a ``__main__.py``."""
    path = _absolute(sys.argv[0])
    if _is_import_location(path):
        sys.path.insert(0, path)
        import runpy

        return runpy._run_module_as_main, ("__main__", False)  # type: ignore[attr-defined]
    if not _safe_path():
        sys.path.insert(0, os.path.dirname(os.path.realpath(path)))
    code, main["__loader__"] = _code_of_file(path)
    main["__file__"] = path
    return exec, (code, main)


def _absolute(path: str) -> str:
    """As Python does it, which leaves ``./`` and ``..`` inside a path alone."""
    if os.path.isabs(path):
        return path
    return _working_directory() if path == "." else os.path.join(_working_directory(), path)


def _working_directory() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        _leave_to_python()


def _is_import_location(path: str) -> bool:
    """Ask as Python does, and keep the answer where Python keeps it."""
    for hook in sys.path_hooks:
        try:
            sys.path_importer_cache[path] = hook(path)
        except ImportError:
            continue
        return True
    sys.path_importer_cache[path] = None
    return False


def _code_of_file(path: str) -> "tuple[object, object]":
    """A source or pyc file's code, and the loader that Python would name."""
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError:
        _leave_to_python()
    if path.endswith(".pyc") or content.startswith(importlib.MAGIC_NUMBER):
        return _code_of_pyc(path)
    return _compiled(content, path), importlib.SourceFileLoader("__main__", path)


def _code_of_pyc(path: str) -> "tuple[object, object]":
    loader = importlib.SourcelessFileLoader("__main__", path)
    try:
        return loader.get_code("__main__"), loader
    except (ImportError, EOFError):  # another version's, or torn
        _leave_to_python()


def _compiled(source: bytes, path: str) -> object:
    try:
        return compile(source, path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        if not _is_text(source):  # Python words this differently for a file than for bytes
            _leave_to_python()
        raise


def _is_text(source: bytes) -> bool:
    try:
        importlib.decode_source(source)
    except (SyntaxError, UnicodeDecodeError):
        return False
    return b"\0" not in source


def _leave_to_python() -> "NoReturn":
    """Start over as plain Python: nothing has run yet, and it finds its own words and status."""
    os.execv(sys.executable, getattr(sys, "orig_argv", [sys.executable, *sys.argv]))


def _record(error: BaseException, caught: int) -> None:
    path = __file__.rpartition("as_main.py")[0] + "errorfile.py"
    loader = importlib.SourceFileLoader("procession._worker.errorfile", path)
    room: dict[str, Any] = {"__name__": loader.name}
    try:
        exec(loader.get_code(loader.name) or "", room)  # noqa: S102 - our own file
        room["record"](error, monotonic_ns=caught)
    except Exception as failure:  # noqa: BLE001 - the script's exception comes first, even if we are uninstalled
        if sys.stderr is not None:
            sys.stderr.write(f"procession: the exception was not recorded: {failure!r}\n")


def _below_us(frames: "TracebackType | None") -> "TracebackType | None":
    while frames and frames.tb_frame.f_globals is globals():
        frames = frames.tb_next
    return frames


def _show_from(below: "TracebackType | None", let_go: "Callable[[], None]") -> None:
    """Have the interpreter end on this exception with a traceback that begins at BELOW.

    Frames of ours are added again while the exception leaves them, so the last moment to hide them
    is the call of ``sys.excepthook``: ours trims, puts the script's hook back and calls it.

    Args:
        below: The traceback.
        let_go: Lets signals through, once Python's own hook has printed all; a hook of the script's
            may take any time, and is not waited for.
    """
    theirs = getattr(sys, "excepthook", sys.__excepthook__)
    if theirs is not sys.__excepthook__:
        let_go()

    def excepthook(
        kind: "type[BaseException]", error: BaseException, _: "TracebackType | None"
    ) -> None:
        sys.excepthook = theirs
        sys.last_traceback = below
        error.with_traceback(below)
        try:
            theirs(kind, error, below)
        except SystemExit:
            raise
        except BaseException as failure:  # noqa: BLE001 - Python's words for a hook that fails
            _show_failed_hook(failure, error)
        let_go()

    sys.excepthook = excepthook


def _show_failed_hook(failure: BaseException, error: BaseException) -> None:
    failure = failure.with_traceback(_below_us(failure.__traceback__))
    for title, exception in (
        ("Error in sys.excepthook:\n", failure),
        ("\nOriginal exception was:\n", error),
    ):
        if sys.stderr is not None:
            sys.stderr.write(title)
        sys.__excepthook__(type(exception), exception, exception.__traceback__)
