"""Workers that are a binary."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from procession._guardian.client import spawn_guardian
from procession.errors import UsageError
from procession.multiprocessing.context import PContext
from procession.multiprocessing.fork_server import (
    SCRIPT_BOOTSTRAP,
    first_of_path,
    module_names,
    script_server,
    spare_count,
)
from procession.multiprocessing.speakable import programs, refuse_unspeakable

if TYPE_CHECKING:
    from procession._guardian.client import Guardian
    from procession._loop.gang import Gang
    from procession.multiprocessing.fork_server import ServerOrder
    from procession.multiprocessing.logs_specs import LogsSpecs
    from procession.multiprocessing.subprocess_handler import SubprocessHandler
    from procession.multiprocessing.supervision import Supervision
    from procession.numa.binding import NumaOptions

__all__ = ["SubprocessContext"]


_ON_TERMINAL = os.path.join(os.path.dirname(SCRIPT_BOOTSTRAP), "on_terminal.py")


class SubprocessContext(PContext):
    """``PContext`` of workers that are a binary; arguments are those of ``PContext``."""

    def __init__(
        self,
        name: str,
        entrypoint: str,
        args: dict[int, tuple[Any, ...]],
        envs: dict[int, dict[str, str]],
        logs_specs: LogsSpecs,
        log_line_prefixes: dict[int, str] | None = None,
        numa_options: NumaOptions | None = None,
        duplicate_stdout_filters: list[str] | None = None,
        duplicate_stderr_filters: list[str] | None = None,
        supervision: Supervision | None = None,
    ) -> None:
        if numa_options is not None:
            from procession.numa._unbuilt import refuse_binding

            refuse_binding(numa_options)
        if supervision is not None and (
            supervision.preload or supervision.spares or supervision.fork_server
        ):
            _check_preload(supervision, args)
        self._binary = entrypoint
        self._handlers: dict[int, SubprocessHandler] = {}  # once somebody has asked for them
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

    @property
    def subprocess_handlers(self) -> dict[int, SubprocessHandler]:
        """A handler for each local rank, whose ``proc`` has pid, poll and wait; none before the start."""
        if not self._handlers and self._gang is not None:
            from procession.multiprocessing.guarded import GuardedHandler

            workers = sorted(self._gang.workers.items())
            self._handlers = {rank: GuardedHandler(self._gang, worker) for rank, worker in workers}
        return self._handlers

    def _spawn_guardian(self) -> Guardian:
        return spawn_guardian(self._run_id, self._supervision.isolate)

    def _server(self) -> ServerOrder | None:
        modules = module_names(self._supervision.preload)
        if not modules:
            return None
        first = first_of_path(self.args[0][1:])
        spares = self._supervision.spares
        return script_server(self._binary, self._common_env(), modules, first, spares)

    def _start_worker(self, gang: Gang, rank: int, streams: tuple[int, int]) -> None:
        given: Any = self.args[rank]
        # torch's own usage example gives a bare string for one argument.
        arguments = (given,) if isinstance(given, str) else given
        argv = [self._binary, *map(str, arguments)]
        env = self.worker_env(rank)
        refuse_unspeakable(argv, env)
        if rank == self._supervision.tty_rank:
            argv = [sys.executable, "-I", "-S", _ON_TERMINAL, *argv]
            fds = (streams[0], *streams, self._captures.taking)
            gang.start(rank, argv[:1], argv, env, fds)
        else:
            gang.start(rank, programs(self._binary, env), argv, env, (0, *streams))


def _check_preload(wishes: Supervision, args: dict[int, tuple[Any, ...]]) -> None:
    spare_count(wishes.spares, module_names(wishes.preload))
    if wishes.fork_server or any(given[:1] != (SCRIPT_BOOTSTRAP,) for given in args.values()):
        raise UsageError(
            "modules are preloaded for functions, and for the scripts of 'procession run': a program "
            "that is executed has nothing to be forked from; leave out preload and fork_server"
        )
