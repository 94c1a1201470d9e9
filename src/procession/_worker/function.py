"""A function as a worker: what surrounds the call, from the payload to the result.

The payload is a file of three parts, each a length (8 bytes, little-endian) and a pickle: the
launcher's interpreter settings, then the function with its arguments. The result goes back over a
pipe the same way; a worker that fails writes none and describes its exception in error.json.
"""

from __future__ import annotations

import pickle
import signal
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from procession._worker import errorfile
from procession._worker.as_main import hold_signals, note_exit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

LENGTH = 8  # bytes of length before each part


def work_from_payload(fds: Sequence[int]) -> int:
    """Run the payload of a worker that a fork server forked; its fds have a spawned worker's numbers."""
    payload_fd, result_fd, tracker_fd, *_handed_over = fds
    with bootstrapping():
        return as_child_process(
            lambda: run_payload(payload_fd, result_fd, tracker_fd), exits_are_ours=True
        )


@contextmanager
def bootstrapping() -> Iterator[None]:
    """Have a launch that the import of the main module makes refused (payload.py)."""
    main: Any = sys.modules["__main__"]
    main.PROCESSION_BOOTSTRAPPING = True
    try:
        yield
    finally:
        del main.PROCESSION_BOOTSTRAPPING


def run_payload(payload_fd: int, result_fd: int, tracker_fd: int) -> None:
    """Be the interpreter that the launcher described, then call the function."""
    speak_through(1, "stdout")
    guarded(lambda: _load_and_call(payload_fd, result_fd, tracker_fd))


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


def run_call(fn: Callable[..., Any], args: Sequence[Any], result_fd: int) -> None:
    """Call ``fn`` in this worker, which shares the launcher's memory (fork)."""
    guarded(lambda: _send(result_fd, fn(*args)))


def guarded(call: Callable[[], None]) -> None:
    """Run ``call`` as the whole of a worker: describe and print what it raises, end accordingly.

    Raises:
        SystemExit: As the function raised it, or with 1 after any other exception.
    """
    import faulthandler

    faulthandler.enable(2)
    try:
        call()
    except SystemExit as stop:
        if stop.code:
            note_exit(time.monotonic_ns())
            raise
    except BaseException as error:  # noqa: BLE001 - the worker's end, whatever it is
        _report(error, time.monotonic_ns())
        if isinstance(error, KeyboardInterrupt):
            _die_of_sigint()
        sys.exit(1)


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


def _load_and_call(payload_fd: int, result_fd: int, tracker_fd: int) -> None:
    with open(payload_fd, "rb") as file:
        settings = pickle.loads(_read_part(file))  # noqa: S301 - our launcher wrote it
        body = _read_part(file)
    _be_like_launcher(settings, tracker_fd if settings["multiprocessing"] else None)
    fn, args = pickle.loads(body)  # noqa: S301
    _send(result_fd, fn(*args))


def _be_like_launcher(settings: dict[str, Any], tracker_fd: int | None) -> None:
    sys.path[:] = settings["sys_path"]
    sys.argv[:] = settings["sys_argv"]
    if tracker_fd is not None:
        _share_multiprocessing(settings["authkey"], tracker_fd)
    if "__mp_main__" in sys.modules:  # a fork server has imported it
        sys.modules["__main__"] = sys.modules["__mp_main__"]
    else:
        import_main(settings.get("init_main_from_name"), settings.get("init_main_from_path"))


def _share_multiprocessing(authkey: bytes, tracker_fd: int) -> None:
    from multiprocessing import process, resource_tracker

    process.current_process().authkey = authkey
    # One tracker for launcher and workers: a worker's own would unlink, at its end, shared memory
    # that the others still use.
    resource_tracker._resource_tracker._fd = tracker_fd  # type: ignore[attr-defined]


def import_main(name: str | None, path: str | None) -> None:
    """Import the launcher's main module as ``__mp_main__``, as multiprocessing's spawn does."""
    module = type(sys)("__mp_main__")
    if name or path:
        module.__dict__.update(_run_main(name, path))
    # Also without one (a notebook): processes that the worker starts must not import our own main.
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module


def _run_main(name: str | None, path: str | None) -> dict[str, Any]:
    import runpy

    if name:
        return runpy.run_module(name, run_name="__mp_main__", alter_sys=True)
    return runpy.run_path(str(path), run_name="__mp_main__")


def _send(result_fd: int, value: Any) -> None:
    body = _pickle_result(value)
    with open(result_fd, "wb", buffering=0) as pipe:
        view = memoryview(len(body).to_bytes(LENGTH, "little") + body)
        while view:
            view = view[pipe.write(view) :]


def _pickle_result(value: Any) -> bytes:
    try:
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        raise pickle.PicklingError(
            f"the return value, of type {type(value).__qualname__}, cannot be pickled and so cannot "
            f"go back to the launcher: {error}; return plain data, or write it to a file"
        ) from error


def _read_part(file: Any) -> bytes:
    return bytes(file.read(int.from_bytes(file.read(LENGTH), "little")))


def _report(error: BaseException, caught: int) -> None:
    """Describe ``error`` in error.json, then print it as Python would, without our own frames."""
    let_go = hold_signals()
    while error.__traceback__ is not None and _is_ours(
        error.__traceback__.tb_frame.f_code.co_filename
    ):
        error.__traceback__ = error.__traceback__.tb_next
    _hand_on(error)
    errorfile.record(error, monotonic_ns=caught)
    let_go()
    sys.excepthook(type(error), error, error.__traceback__)


def _hand_on(error: BaseException) -> None:
    """Make the error file of a nested gang's root cause ours, as ``@record`` does.

    Who raised a ChildFailedError has loaded what knows it; this room imports nothing.
    """
    recording = sys.modules.get("procession.multiprocessing.errors.recording")
    if recording is not None and isinstance(error, recording.ChildFailedError):
        recording._hand_on(recording.get_error_handler(), error)


def _is_ours(filename: str) -> bool:
    return filename == __file__


def _die_of_sigint() -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.raise_signal(signal.SIGINT)
    raise SystemExit(128 + signal.SIGINT)
