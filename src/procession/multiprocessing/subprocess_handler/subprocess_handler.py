"""A process of its own session, with files as its output."""

from __future__ import annotations

import os
from contextlib import ExitStack
from signal import SIGTERM
from typing import TYPE_CHECKING, Any, Protocol

from procession.numa._unbuilt import refuse_binding

if TYPE_CHECKING:
    from signal import Signals
    from typing import IO

    from procession.numa.binding import NumaOptions

__all__ = ["SubprocessHandler"]


class _Process(Protocol):
    """What a handler needs of a process; ``subprocess.Popen`` has it."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...


class SubprocessHandler:
    """A worker that is a binary, started at once.

    Args:
        entrypoint: The binary, looked up in ``PATH`` where it has no slash.
        args: Its arguments, turned to text by ``str``.
        env: What is added to the caller's environment.
        stdout: File that is its stdout, emptied first; None or empty inherits the caller's.
        stderr: The same of stderr; may be the same file.
        local_rank_id: The worker's local rank.
        numa_options: A binding to CPUs.

    Attributes:
        proc: The process: a ``subprocess.Popen``, or what ``_popen`` of a subclass returned.
        local_rank_id: As given.

    Raises:
        OSError: The binary or a log file cannot be opened; nothing was started.
        NotImplementedError: A binding was asked for.
    """

    def __init__(
        self,
        entrypoint: str,
        args: tuple[Any, ...],
        env: dict[str, str],
        stdout: str | None,
        stderr: str | None,
        local_rank_id: int,
        numa_options: NumaOptions | None,
    ) -> None:
        refuse_binding(numa_options)
        self.local_rank_id = local_rank_id
        argv = (entrypoint, *map(str, args))
        with ExitStack() as on_failure:
            self._stdout = on_failure.enter_context(_open_log(stdout)) if stdout else None
            self._stderr = on_failure.enter_context(_open_log(stderr)) if stderr else None
            self.proc: _Process = self._popen(argv, env)
            self._files = on_failure.pop_all()

    def _popen(self, args: tuple[str, ...], env: dict[str, str]) -> _Process:
        """Start ``args`` with ``self._stdout`` and ``self._stderr``, as leader of a session."""
        from subprocess import Popen

        return Popen(
            args,
            env=os.environ | env,
            stdout=self._stdout,
            stderr=self._stderr,
            start_new_session=True,
        )

    def close(self, death_sig: Signals | None = None) -> None:
        """Send a signal to the worker's process group and close the log files.

        Args:
            death_sig: The signal; SIGTERM where None.
        """
        with self._files:
            self._signal_group(death_sig or SIGTERM)

    def _signal_group(self, death_sig: Signals) -> None:
        # A number that names a group is given to no new process while the group lives: if the
        # leader is reaped and its number names a process again, that is a stranger's.
        if self.proc.poll() is not None and _is_process(self.proc.pid):
            return
        try:
            os.killpg(self.proc.pid, death_sig)
        except ProcessLookupError:
            return


def _open_log(path: str) -> IO[bytes]:
    # O_APPEND: two streams that share a file, or a worker that opens it again, overwrite nothing.
    return open(path, "wb", opener=lambda name, flags: os.open(name, flags | os.O_APPEND, 0o666))


def _is_process(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
