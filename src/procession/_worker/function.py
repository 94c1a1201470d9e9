"""A function as a worker: what surrounds the call, from the payload to the result.

The payload is a file of two parcels: the function with its arguments, and behind them, because they
tell of those, the launcher's interpreter settings. What comes of the call is left in another file,
the reply; an exception is described in error.json as well.
"""

from __future__ import annotations

import marshal
import os
import sys
import time

from procession._worker import parcel, reply
from procession._worker.as_main import exit_status, hold_signals, note_exit
from procession._worker.reply import Reply

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, NoReturn

    Call = tuple[Callable[..., Any], Sequence[Any]]


_MAIN = "__mp_main__"  # multiprocessing's name for it
_UNWRITTEN = 120  # Python's exit status where it cannot write out what was printed
_MOST_TO_TELL = 60.0  # seconds: an exception's own code may hang, on a GPU that does say


def work_from_payload(fds: Sequence[int], given: Sequence[str]) -> int:
    """Run the payload of a worker that a fork server forked.

    Args:
        fds: They have a spawned worker's numbers.
        given: The search path with which the server's imports began.

    Returns:
        The exit status.
    """
    payload_fd, reply_fd, tracker_fd, *_handed_over = fds
    refuse_launches()
    work = lambda: run_payload(payload_fd, reply_fd, tracker_fd, given)  # noqa: E731
    if "multiprocessing.process" in sys.modules:
        return as_child_process(work, exits_are_ours=True)
    return _as_whole_process(work)


def refuse_launches() -> None:
    """Have a launch refused that the launcher's main module makes when it is imported (likeness.py).

    It becomes ``__main__`` when it has been imported: what is marked here is what imports it.
    """
    main: Any = sys.modules["__main__"]
    main.PROCESSION_BOOTSTRAPPING = True


def run_payload(
    payload_fd: int, reply_fd: int, tracker_fd: int, given: Sequence[str] | None = None
) -> None:
    """Be the interpreter that the launcher described, then call the function."""
    speak_through(1, "stdout")
    guarded(Reply(reply_fd), lambda: _unpack(payload_fd, tracker_fd, given))


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
        status = exit_status(stop.code)
        if status:
            if answer.is_ours():
                note_exit(status, time.monotonic_ns())
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
    told = _end_after(_MOST_TO_TELL)
    _describe(error, caught)
    try:  # noqa: SIM105 - contextlib is an import
        answer.exception(error)
    except OSError:  # the words are in error.json
        pass
    told()
    if sys.excepthook is not sys.__excepthook__:  # the user's may take any time
        let_go()
    _show(error)
    let_go()
    if isinstance(error, KeyboardInterrupt):
        _die_of_sigint()
    sys.exit(1)


def _end_after(seconds: float) -> Callable[[], object]:
    """Have SIGALRM end the process then, with a stack on stderr; return what prevents that.

    A thread that watches would be one more to take down at the interpreter's end, and
    `faulthandler.dump_traceback_later` waits for ever in a copy of a launcher that uses it.
    """
    import _signal  # type: ignore[import-not-found, unused-ignore]  # as in as_main.py
    import faulthandler

    _signal.setitimer(_signal.ITIMER_REAL, 0)  # one of the function's own would end it at once
    _signal.signal(_signal.SIGALRM, _signal.SIG_DFL)
    try:  # noqa: SIM105 - contextlib is an import
        faulthandler.register(_signal.SIGALRM, file=2, chain=True)
    except ValueError:  # the function has closed it: without a stack, then
        pass
    _signal.setitimer(_signal.ITIMER_REAL, seconds)
    return lambda: _signal.setitimer(_signal.ITIMER_REAL, 0)


def _note(error: BaseException, text: str) -> None:
    """Add a note; Python 3.10 has none to show, and a frozen dataclass takes none."""
    try:  # noqa: SIM105 - contextlib is an import
        error.add_note(text)  # type: ignore[attr-defined]
    except Exception:  # noqa: BLE001, S110 - the user's own class may raise anything
        pass


def _as_whole_process(call: Callable[[], None]) -> int:
    """Run ``call`` as an interpreter runs its main module, and return its exit status.

    At the end it does what Python does, but for taking itself apart: that would write to all the
    pages that it shares with its like.
    """
    import atexit

    status = 0
    try:
        call()
    except SystemExit as stop:
        status = _status(stop.code)
    except BaseException:  # noqa: BLE001 - of a child that was forked: it ends as any process does
        sys.excepthook(*sys.exc_info())
        status = 1
    threading: Any = sys.modules.get("threading")
    if threading is not None:
        _uninterrupted(threading._shutdown)
    _uninterrupted(atexit._run_exitfuncs)
    for stream in (sys.stdout, sys.stderr):
        written = stream is None or getattr(stream, "closed", False) or _uninterrupted(stream.flush)
        status = status if written else _UNWRITTEN
    return status


def _status(code: object) -> int:
    """The exit status that Python makes of ``sys.exit(code)``, which prints what is no number."""
    if code is not None and not isinstance(code, int):
        sys.stderr.write(f"{code}\n")
    return exit_status(code)


def _uninterrupted(step: Callable[[], object]) -> bool:
    """Take a step of a process's end; whatever comes of it, a SIGINT say, the next one follows."""
    try:
        step()
    except BaseException:  # noqa: BLE001 - as Python does
        sys.excepthook(*sys.exc_info())
        return False
    return True


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
    from multiprocessing.context import ForkProcess, Process

    # Which of them it is decides how processes that it makes are started where nothing else says so:
    # ForkProcess has them forked; Process leaves it to Python, or to what the imports have set.
    kind: Any = Process if exits_are_ours else ForkProcess
    if not exits_are_ours:
        atexit._clear()
        _forget_executors()
    atexit.register(util._exit_function)  # type: ignore[attr-defined]
    try:
        return exit_status(kind(target=call)._bootstrap())
    finally:
        atexit._run_exitfuncs()
        util._flush_std_streams()  # type: ignore[attr-defined]


def _forget_executors() -> None:
    """Let the end of this process wait for no thread of the launcher's.

    One of them may be ours: a gang that was started in an executor's thread, or by
    ``asyncio.to_thread``, would join itself.
    """
    futures: Any = sys.modules.get("concurrent.futures.thread")
    if futures is not None:
        futures._threads_queues.clear()


def _unpack(payload_fd: int, tracker_fd: int, given: Sequence[str] | None) -> Call:
    with open(payload_fd, "rb") as file:
        parcel.skip(file)
        _be_like_launcher(parcel.read(file), tracker_fd, given)
        file.seek(0)
        call: Call = parcel.read(file)
        return call


def _be_like_launcher(
    settings: dict[str, Any], tracker_fd: int, given: Sequence[str] | None
) -> None:
    sys.path[:] = _search_path(settings["sys_path"], given)
    sys.argv[:] = settings["sys_argv"]
    if settings["sources"]:
        import linecache

        linecache.cache.update(settings["sources"])
    if settings["authkey"]:
        _share_multiprocessing(settings["authkey"], tracker_fd)
    imported = sys.modules.get(_MAIN)
    if imported is not None and imported.__name__ == _MAIN:  # by a fork server
        sys.modules["__main__"] = imported
    else:  # multiprocessing gives the name to our own main when it is imported
        # Under another -O than the launcher's (PYTHONOPTIMIZE in `envs`) its code is not ours.
        code = settings["main_code"] if settings["optimize"] == sys.flags.optimize else b""
        import_main(settings["main_name"], settings["main_path"], code)


def _search_path(launchers: list[str], given: Sequence[str] | None) -> list[str]:
    """The launcher's, with what a server's imports have made of that which they were ``given``."""
    if given is None:
        return launchers
    if launchers == list(given):
        return sys.path
    return [*launchers, *(path for path in sys.path if path not in {*given, *launchers})]


def _share_multiprocessing(authkey: bytes, tracker_fd: int) -> None:
    from multiprocessing import process, resource_tracker

    process.current_process().authkey = authkey
    # One tracker for launcher and workers: a worker's own would unlink, at its end, shared memory
    # that the others still use.
    resource_tracker._resource_tracker._fd = tracker_fd  # type: ignore[attr-defined]


def import_main(name: str | None, path: str | None, code: bytes = b"") -> None:
    """Import the launcher's main module as ``__mp_main__``, as multiprocessing's spawn does.

    Args:
        name: Of a main module that was started by ``-m``.
        path: Of its file otherwise.
        code: What `marshal` makes of it, where the launcher has it.
    """
    module = type(sys)(_MAIN)
    if path and os.path.isfile(path) and path.endswith(".py"):
        _run_file(path, module, code)
    elif name or path:
        module.__dict__.update(_run_main(name, path))
    # Also without one (a notebook): processes that the worker starts must not import our own main.
    sys.modules["__main__"] = sys.modules[_MAIN] = module


def _run_file(path: str, module: Any, code: bytes) -> None:
    """As ``runpy.run_path`` does, whose own imports take as long as an interpreter's start."""
    module.__dict__.update(__file__=path, __cached__=None, __package__="")
    compiled = marshal.loads(code) if code else _compiled(path)  # noqa: S302 - from our launcher
    before = sys.argv[0]
    sys.modules[_MAIN], sys.argv[0] = module, path
    try:
        exec(compiled, module.__dict__)  # noqa: S102 - the launcher's own main module
    except BaseException:
        del sys.modules[_MAIN]
        raise
    finally:
        sys.argv[0] = before


def _compiled(path: str) -> Any:
    with open(path, "rb") as file:
        return compile(file.read(), path, "exec", dont_inherit=True)


def _run_main(name: str | None, path: str | None) -> dict[str, Any]:
    import runpy

    if name:
        return runpy.run_module(name, run_name=_MAIN, alter_sys=True)
    return runpy.run_path(str(path), run_name=_MAIN)


def _describe(error: BaseException, caught: int) -> None:
    """Describe ``error`` in error.json, and take our own frames from it."""
    frames = error.__traceback__
    while frames is not None and _is_ours(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    BaseException.with_traceback(error, frames)  # an assignment is what a frozen dataclass refuses
    _hand_on(error)
    from procession._worker import errorfile

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
    known = sys.modules.get("procession.multiprocessing.errors.child_failed")
    if known is not None and isinstance(error, known.ChildFailedError):
        known.hand_on(error)


def _is_ours(filename: str) -> bool:
    return filename in (__file__, parcel.__file__, reply.__file__)


def _die_of_sigint() -> NoReturn:
    import signal

    sys.stdout.flush()
    sys.stderr.flush()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.raise_signal(signal.SIGINT)
    raise SystemExit(128 + signal.SIGINT)
