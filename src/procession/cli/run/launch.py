"""``procession run`` as a command: every end of a run becomes an exit status and a text."""

from __future__ import annotations

import gc
import os
import signal
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from procession._guardian.client import spawn_guardian
from procession._guardian.kept import KeptGuardian
from procession._os.standard import fill_standard
from procession.cli.runid import random_id
from procession.cli.say import columns, let_go_of_lost_streams, say, write
from procession.errors import ProcessionError, StartError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


# Objects. A run makes half as many until its workers run, mostly by imports, and they stay: what looks
# for garbage among them takes 4 ms in all, and finds none.
_MOST_LASTING = 50_000

_STARTS_NOTHING = {"-h", "--help", "--explain"}


def launch(words: Sequence[str]) -> int:
    """Run ``procession run WORDS``.

    Args:
        words: The command line after ``run``.

    Returns:
        The exit status, see docs/exit-status.md.
    """
    _be_interruptible()
    gc.set_threshold(_MOST_LASTING)
    fill_standard()
    try:
        with _guardian_ahead(words) as guardian:
            from procession.cli.run.entry import main

            main(list(words), guardian)
    except SystemExit:
        raise
    except BaseException as error:  # noqa: BLE001  (the end of the line: nobody is above to catch it)
        return _end(error)
    finally:
        let_go_of_lost_streams()
    return 0


def _be_interruptible() -> None:
    """Have SIGINT end this process until the run hears it: there is nothing yet to be put in order.

    What Python raises for it is lost where a callback of a weak reference runs, as in many an import.
    The first process of a container would be spared by the kernel (pid_namespaces(7)).
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler and os.getpid() != 1:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def _guardian_ahead(words: Sequence[str]) -> Iterator[KeptGuardian | None]:
    """Start a guardian before the rest is imported: it gets ready while we do, on another core."""
    if _STARTS_NOTHING.intersection(words):
        yield None
        return
    guardian = KeptGuardian(random_id(), spawn_guardian)
    if not _in_namespace(words):  # that guardian is another, and cannot come before its plan
        with suppress(OSError):  # the start of the first attempt will say it
            guardian.have()
    try:
        yield guardian
    finally:
        guardian.close()


def _in_namespace(words: Sequence[str]) -> bool:
    """Whether a namespace may have been asked for; SCRIPT may have a word of that name too."""
    asked = os.environ.get("PET_ISOLATE") == "pidns"
    return asked or not {"pidns", "--isolate=pidns"}.isdisjoint(words)


def _end(error: BaseException) -> int:
    """Tell a person why the run ended, and its exit status to who started it."""
    if isinstance(error, MemoryError):  # there is none for the imports of more words either
        say(
            "out of memory (see ulimit -v and the memory limit of the cgroup). No worker is left running."
        )
        return StartError.exit_code
    from procession.cli.exits import exit_status
    from procession.cli.record import message
    from procession.multiprocessing.errors import ChildFailedError
    from procession.multiprocessing.supervision import SignalException

    if isinstance(error, ChildFailedError):
        from procession._report.render import render_report

        write(f"\n{render_report(error.report(), width=columns())}\n")
    elif isinstance(error, (ProcessionError, SignalException)):
        say(message(error))
    elif not isinstance(error, KeyboardInterrupt):
        say(_fault(error))
    return exit_status(error)


def _fault(error: BaseException) -> str:
    """Keep the traceback of a fault of procession's own, and say where."""
    import tempfile
    import traceback

    what = f"an error of procession's own, not of your program: {type(error).__name__}: {error}"
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="procession-fault-", suffix=".txt", delete=False, encoding="utf-8"
        ) as file:
            file.write(f"{' '.join(sys.argv)}\n{''.join(traceback.format_exception(error))}")
    except OSError:
        return f"{what}\n{''.join(traceback.format_exception(error))}"
    return f"{what}\nPlease report it to procession's issue tracker, with {file.name}"
