"""What the host can say of a death, asked before the corpse and the shared memory are gone."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from procession._loop.worker import Scene
from procession._os import memory
from procession._os.memory import OomWatch

if TYPE_CHECKING:
    from procession._loop.worker import Worker

_ENOUGH = 32  # looks a gang: one that dies as a whole dies of one thing, and each costs 0.1 ms
_KILLED = (-9, 137)  # by itself, or as a shell tells of its command
_BUS = -7  # the same on every Linux but MIPS, PA-RISC and Alpha, where it goes without the space


class Witness:
    """Looks at a gang's host when the gang starts, and again at the deaths that nobody ordered."""

    def __init__(self) -> None:
        self._oom = OomWatch()
        self._looks = 0
        self._directory = _working_directory()

    def look(self, worker: Worker) -> Scene:
        """Return what can be said of ``worker``, whose exitcode is known and which is not reaped."""
        self._looks += 1
        if self._looks > _ENOUGH:
            return Scene()
        return Scene(
            oom=self._oom.look(worker.pid, killed=worker.exitcode in _KILLED),
            shared_memory=memory.shared_memory() if worker.exitcode == _BUS else None,
            core=self._core(worker) if worker.core_dumped else "",
        )

    def _core(self, worker: Worker) -> str:
        from procession._os.cores import core_of

        return core_of(worker.pid, -(worker.exitcode or 0), self._directory)


def _working_directory() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:  # it has been removed
        return ""
