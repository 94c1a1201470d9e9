"""Workers that are a function."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, nullcontext
from typing import TYPE_CHECKING, Any

from procession._guardian.client import fork_guardian, spawn_guardian
from procession.errors import UsageError
from procession.multiprocessing.context import PContext
from procession.multiprocessing.fork_server import function_server, module_names, spare_count
from procession.multiprocessing.likeness import (
    code_of_main,
    interpreter,
    interpreter_flags,
    settings,
)
from procession.multiprocessing.speakable import refuse_unspeakable
from procession.numa._unbuilt import refuse_binding

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from procession._guardian.client import Guardian
    from procession._guardian.kept import KeptGuardian
    from procession._loop.gang import Gang
    from procession.multiprocessing.errors import ProcessFailure
    from procession.multiprocessing.failures import Failures
    from procession.multiprocessing.fork_server import ServerOrder
    from procession.multiprocessing.logs_specs import LogsSpecs
    from procession.multiprocessing.replies import Replies
    from procession.multiprocessing.supervision import Supervision
    from procession.numa.binding import NumaOptions

__all__ = ["MultiprocessContext"]

_BOOTSTRAP = os.path.join(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "_worker", "spawned.py"
)


class MultiprocessContext(PContext):
    """``PContext`` of workers that are a function; arguments are those of ``PContext`` and one more.

    Args:
        start_method: ``spawn`` (a fresh interpreter), ``fork`` (a copy of the caller) or
            ``forkserver`` (a copy of a fresh interpreter), with Python's semantics.
    """

    _replies: Replies  # from the moment in which there is a gang

    def __init__(
        self,
        name: str,
        entrypoint: Callable[..., Any],
        args: dict[int, tuple[Any, ...]],
        envs: dict[int, dict[str, str]],
        start_method: str,
        logs_specs: LogsSpecs,
        log_line_prefixes: dict[int, str] | None = None,
        numa_options: NumaOptions | None = None,
        duplicate_stdout_filters: list[str] | None = None,
        duplicate_stderr_filters: list[str] | None = None,
        supervision: Supervision | None = None,
    ) -> None:
        refuse_binding(numa_options)
        if start_method not in _METHODS:
            raise UsageError(
                f"start_method={start_method!r} is none of {', '.join(map(repr, _METHODS))}"
            )
        _check_call(entrypoint, args)
        self._function = entrypoint
        self._settings: dict[str, Any] = {}
        self.start_method = start_method
        if supervision is not None:
            _check_preload(supervision, start_method)
        super().__init__(
            name,
            entrypoint,
            args,
            envs,
            logs_specs,
            log_line_prefixes,
            duplicate_stdout_filters,
            duplicate_stderr_filters,
            supervision,
        )

    def _spawn_guardian(self) -> Guardian:
        if self.start_method == "fork":
            return self._fork_nanny()
        return spawn_guardian(self._run_id, self._supervision.isolate)

    def _kept_guardian(self) -> KeptGuardian | None:
        return None if self.start_method == "fork" else super()._kept_guardian()

    def _make_gang(self) -> Gang:
        self._held_things.callback(self._take_replies)
        gang = super()._make_gang()
        from procession.multiprocessing.replies import Replies

        self._replies = Replies()
        return gang

    def _server(self) -> ServerOrder | None:
        if self.start_method != "forkserver":
            return None
        wishes = self._supervision
        if wishes.fork_server is not None:
            return wishes.fork_server.order()
        return function_server(self._common_env(), module_names(wishes.preload), wishes.spares)

    def _start_worker(self, gang: Gang, rank: int, streams: tuple[int, int]) -> None:
        env = self.worker_env(rank)
        refuse_unspeakable([self.start_method], env)
        reply_fd = self._replies.open(rank)
        if self.start_method == "fork":
            gang.start(rank, (), ("",), env, (0, *streams, reply_fd))
        else:
            self._send_payload(gang, rank, env, streams, reply_fd)

    def _send_payload(
        self,
        gang: Gang,
        rank: int,
        env: dict[str, str],
        streams: tuple[int, int],
        reply_fd: int,
    ) -> None:
        from procession.multiprocessing.payload import Payload

        argv = [interpreter(), *interpreter_flags(), _BOOTSTRAP]
        with ExitStack() as for_the_start:
            quiet = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            for_the_start.callback(os.close, quiet)
            payload = Payload(self._function, self.args[rank], self._likeness(), self.start_method)
            for_the_start.callback(payload.close)
            # The tracker runs from the first use of shared things; a worker that needs none gets a
            # placeholder, so that the numbers of the fds behind it stay.
            tracker = _tracker_fd() if payload.needs_multiprocessing else quiet
            fds = (quiet, *streams, payload.fd, reply_fd, tracker, *payload.handed_over)
            gang.start(rank, argv[:1], argv, env, fds)

    def _likeness(self) -> dict[str, Any]:
        """What each worker has to know of this interpreter; found out once, as the gang starts."""
        if not self._settings:
            found = settings()
            code = code_of_main(found["main_path"]) if self.start_method == "spawn" else b""
            self._settings = {**found, "main_code": code, "optimize": sys.flags.optimize}
        return self._settings

    def _take_replies(self) -> None:
        from procession.multiprocessing.returns import wants_values

        if self._gang is not None:
            self._replies.close(wanted=wants_values(self._gang))

    def _return_values(
        self, failures: Failures, stopped: Mapping[int, ProcessFailure]
    ) -> dict[int, Any]:
        from procession.multiprocessing.returns import settle

        outcomes = {rank: self._replies.take(rank) for rank in range(self.nprocs)}
        logs = (self.stdouts, self.stderrs)
        return settle(self._running_gang(), outcomes, failures, stopped, logs)

    def _run_forked(self, rank: int, fds: Sequence[int]) -> int:
        from procession._worker.function import as_child_process, run_call, speak_through

        (reply_fd,) = fds
        for fd, name, path in (
            (1, "stdout", self.stdouts[rank]),
            (2, "stderr", self.stderrs[rank]),
        ):
            if path:
                speak_through(fd, name)
        return as_child_process(lambda: run_call(self._function, self.args[rank], reply_fd))

    def _fork_nanny(self) -> Guardian:
        # Imported here, in the caller: a forked child must find them imported.
        import atexit  # noqa: F401
        import multiprocessing.context
        import multiprocessing.util  # noqa: F401

        import procession._guardian.starters
        import procession._guardian.warden
        import procession._os.cgroup
        import procession._worker.function  # noqa: F401

        with _fork_guard():
            return fork_guardian(self._run_id, self._run_forked, self._supervision.isolate)


def _fork_guard() -> AbstractContextManager[None]:
    """Hold the locks of the tail over a fork, where there is one."""
    tail = sys.modules.get("procession._logs.tail")
    return nullcontext() if tail is None else tail.fork_guard()


def _tracker_fd() -> int:
    from multiprocessing.resource_tracker import getfd

    fd = getfd()
    return -1 if fd is None else fd


def _check_call(entrypoint: object, args: Mapping[int, object]) -> None:
    if not callable(entrypoint):
        raise UsageError(
            f"entrypoint={entrypoint!r} is no function; give one, or the path of a program as a string"
        )
    for rank, given in args.items():
        if not hasattr(given, "__iter__"):
            raise UsageError(f"args[{rank}]={given!r}: give a tuple of arguments, ({given!r},)")


def _check_preload(wishes: Supervision, start_method: str) -> None:
    spare_count(wishes.spares, module_names(wishes.preload))
    if start_method != "forkserver" and (wishes.preload or wishes.fork_server):
        raise UsageError(
            f"start_method={start_method!r} forks no worker from a server that has imported modules; "
            'with preload or fork_server give start_method="forkserver"'
        )
    if wishes.preload and wishes.fork_server:
        raise UsageError(
            "preload and fork_server exclude each other: the server has its own modules"
        )


_METHODS = ("spawn", "fork", "forkserver")
