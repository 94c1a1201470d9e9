"""A function as a worker: what surrounds the call, from the payload to the result.

The payload is a file of two parcels: the function with its arguments, and behind them, because they
tell of those, the launcher's interpreter settings. What comes of the call is left in another file,
the reply; an exception is described in error.json as well.
"""

from __future__ import annotations

import os
import sys
import time

from procession._worker import errorfile, parcel, reply
from procession._worker.as_main import hold_signals, note_exit
from procession._worker.reply import Reply

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, NoReturn

    Call = tuple[Callable[..., Any], Sequence[Any]]


_MAIN = "__mp_main__"  # multiprocessing's name for it


def work_from_payload(fds: Sequence[int]) -> int:
    """Run the payload of a worker that a fork server forked; its fds have a spawned worker's numbers."""
    payload_fd, reply_fd, tracker_fd, *_handed_over = fds
    refuse_launches()
    return as_child_process(
        lambda: run_payload(payload_fd, reply_fd, tracker_fd), exits_are_ours=True
    )


def refuse_launches() -> None:
    """Have a launch refused that the launcher's main module makes when it is imported (likeness.py).

    It becomes ``__main__`` when it has been imported: what is marked here is what imports it.
    """
    main: Any = sys.modules["__main__"]
    main.PROCESSION_BOOTSTRAPPING = True


def run_payload(payload_fd: int, reply_fd: int, tracker_fd: int) -> None:
    """Be the interpreter that the launcher described, then call the function."""
    speak_through(1, "stdout")
    guarded(Reply(reply_fd), lambda: _unpack(payload_fd, tracker_fd))


def speak_through(fd: int, name: str) -> None:
    """Make ``sys.<name>`` write to ``fd``, a log file, by whole lines.

    A fork of a notebook or of a test run finds an object there that leads elsewhere.
    """
    stream = getattr(sys, name)
    if not _leads_to(stream, fd):
        stream = open(fd, "w", closefd=False, errors="backslashreplace")  # noqa: SIM115 - for good
        setattr(sys, name, stream)
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(line_buffering=True)


def _leads_to(stream: Any, fd: int) -> bool:
    try:
        return bool(stream.fileno() == fd)
    except (AttributeError, OSError, ValueError):
        return False


def run_call(fn: Callable[..., Any], args: Sequence[Any], reply_fd: int) -> None:
    """Call ``fn`` in this worker, which shares the launcher's memory (fork)."""
    guarded(Reply(reply_fd), lambda: (fn, args))


def guarded(answer: Reply, prepare: Callable[[], Call]) -> None:
    """Call what ``prepare`` returns as the whole of a worker, and leave word of what comes of it.

    Raises:
        SystemExit: As the function raised it, or with 1 after any other exception.
    """
    import faulthandler

    faulthandler.enable(2)
    try:
        _carry_out(answer, prepare)
    except SystemExit as stop:
        if stop.code:
            if answer.is_ours():
                note_exit(stop.code, time.monotonic_ns())
            raise
        # Status 0 is success, but only of a function that was called and whose value is not lost.
        if answer.stage != reply.CALLED:
            _fail(answer, stop)
    except BaseException as error:
        if not answer.is_ours():  # but of a child that was forked: it ends as any process does
            raise
        _fail(answer, error)


def _carry_out(answer: Reply, prepare: Callable[[], Call]) -> None:
    try:
        fn, args = prepare()
    except BaseException as error:
        _note(error, "raised while the worker was made ready, before the function was called")
        raise
    answer.enter(reply.CALLED)
    value = fn(*args)
    if answer.is_ours():
        answer.enter(reply.RETURNED)
        answer.value(value)


def _fail(answer: Reply, error: BaseException) -> NoReturn:
    caught = time.monotonic_ns()
    let_go = hold_signals()
    _describe(error, caught)
    try:  # noqa: SIM105 - contextlib is an import
        answer.exception(error)
    except OSError:  # the words are in error.json
        pass
    if sys.excepthook is not sys.__excepthook__:  # the user's may take any time
        let_go()
    _show(error)
    let_go()
    if isinstance(error, KeyboardInterrupt):
        _die_of_sigint()
    sys.exit(1)


def _note(error: BaseException, text: str) -> None:
    """Add a note; Python 3.10 has none to show."""
    if hasattr(error, "add_note"):
        error.add_note(text)


def as_child_process(call: Callable[[], None], *, exits_are_ours: bool = False) -> int:
    """Run ``call`` in a forked process the way multiprocessing does, and return its exit status.

    ``_bootstrap`` is what makes locks, finalizers, ``current_process()``, ``sys.stdin`` and the ends
    of threads right after a fork. Queues are flushed by an exit function, which ``_bootstrap`` itself
    runs only before Python 3.13.

    Args:
        call: The worker's whole work.
        exits_are_ours: The exit functions that are registered belong to the worker, as those that
            its imports have registered do; they are the launcher's otherwise, and dropped.
    """
    import atexit
    from multiprocessing import util
    from multiprocessing.context import ForkProcess

    if not exits_are_ours:
        atexit._clear()
    atexit.register(util._exit_function)  # type: ignore[attr-defined]
    try:
        return int(ForkProcess(target=call)._bootstrap())  # type: ignore[attr-defined]
    finally:
        atexit._run_exitfuncs()
        util._flush_std_streams()  # type: ignore[attr-defined]


def _unpack(payload_fd: int, tracker_fd: int) -> Call:
    with open(payload_fd, "rb") as file:
        parcel.skip(file)
        settings = parcel.read(file)
        _be_like_launcher(settings, tracker_fd if settings["multiprocessing"] else None)
        file.seek(0)
        call: Call = parcel.read(file)
        return call


def _be_like_launcher(settings: dict[str, Any], tracker_fd: int | None) -> None:
    sys.path[:] = settings["sys_path"]
    sys.argv[:] = settings["sys_argv"]
    if settings.get("sources"):
        import linecache

        linecache.cache.update(settings["sources"])
    if tracker_fd is not None:
        _share_multiprocessing(settings["authkey"], tracker_fd)
    imported = sys.modules.get("__mp_main__")
    if imported is not None and imported.__name__ == "__mp_main__":  # by a fork server
        sys.modules["__main__"] = imported
    else:  # multiprocessing gives the name to our own main when it is imported
        import_main(settings.get("init_main_from_name"), settings.get("init_main_from_path"))


def _share_multiprocessing(authkey: bytes, tracker_fd: int) -> None:
    from multiprocessing import process, resource_tracker

    process.current_process().authkey = authkey
    # One tracker for launcher and workers: a worker's own would unlink, at its end, shared memory
    # that the others still use.
    resource_tracker._resource_tracker._fd = tracker_fd  # type: ignore[attr-defined]


def import_main(name: str | None, path: str | None) -> None:
    """Import the launcher's main module as ``__mp_main__``, as multiprocessing's spawn does."""
    module = type(sys)(_MAIN)
    if path and os.path.isfile(path) and path.endswith(".py"):
        _run_file(path, module)
    elif name or path:
        module.__dict__.update(_run_main(name, path))
    # Also without one (a notebook): processes that the worker starts must not import our own main.
    sys.modules["__main__"] = sys.modules[_MAIN] = module


def _run_file(path: str, module: Any) -> None:
    """As ``runpy.run_path`` does, whose own imports take as long as an interpreter's start."""
    module.__dict__.update(__file__=path, __cached__=None, __package__="")
    with open(path, "rb") as file:
        code = compile(file.read(), path, "exec", dont_inherit=True)
    before = sys.argv[0]
    sys.modules[_MAIN], sys.argv[0] = module, path
    try:
        exec(code, module.__dict__)  # noqa: S102 - the launcher's own main module
    except BaseException:
        del sys.modules[_MAIN]
        raise
    finally:
        sys.argv[0] = before


def _run_main(name: str | None, path: str | None) -> dict[str, Any]:
    import runpy

    if name:
        return runpy.run_module(name, run_name=_MAIN, alter_sys=True)
    return runpy.run_path(str(path), run_name=_MAIN)


def _describe(error: BaseException, caught: int) -> None:
    """Describe ``error`` in error.json, and take our own frames from it."""
    while error.__traceback__ is not None and _is_ours(
        error.__traceback__.tb_frame.f_code.co_filename
    ):
        error.__traceback__ = error.__traceback__.tb_next
    _hand_on(error)
    errorfile.record(error, monotonic_ns=caught)


def _show(error: BaseException) -> None:
    """Print ``error`` as Python would."""
    try:
        sys.excepthook(type(error), error, error.__traceback__)
    except BaseException:  # noqa: BLE001 - a hook of the user's
        sys.__excepthook__(type(error), error, error.__traceback__)


def _hand_on(error: BaseException) -> None:
    """Make the error file of a nested gang's root cause ours, as ``@record`` does.

    Who raised a ChildFailedError has loaded what knows it; this room imports nothing.
    """
    recording = sys.modules.get("procession.multiprocessing.errors.recording")
    if recording is not None and isinstance(error, recording.ChildFailedError):
        recording._hand_on(recording.get_error_handler(), error)


def _is_ours(filename: str) -> bool:
    return filename in (__file__, parcel.__file__, reply.__file__)


def _die_of_sigint() -> NoReturn:
    import signal

    sys.stdout.flush()
    sys.stderr.flush()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.raise_signal(signal.SIGINT)
    raise SystemExit(128 + signal.SIGINT)
