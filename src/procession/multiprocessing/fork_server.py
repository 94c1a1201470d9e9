"""A fork server that outlives gangs: modules are imported once, workers forked in milliseconds."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from procession._guardian.client import SERVER, spawn_guardian
from procession._guardian.kept import KeptGuardian
from procession._log import Logger
from procession.errors import UsageError
from procession.multiprocessing.likeness import interpreter, interpreter_flags, server_settings
from procession.multiprocessing.preloading import refusal, warning

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from procession._guardian.client import Guardian

__all__ = [
    "SCRIPT_BOOTSTRAP",
    "ForkServer",
    "ServerOrder",
    "common_environment",
    "first_of_path",
    "function_server",
    "judge_server",
    "module_names",
    "script_server",
    "spare_count",
]

logger = Logger(__name__)

SCRIPT_BOOTSTRAP = os.path.join(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "_worker", "script.py"
)
"""The first argument of a Python that runs a script whose exception is to be recorded."""


class ServerOrder:
    """What a fork server is to be.

    Args:
        argv: Starts its interpreter, up to the script.
        env: The environment in which the imports happen.
        modules: What is imported.
        settings: What workers are to be, see ``_worker/reborn.py``.
        spares: In place of the server, so many interpreters that wait for a worker to become.
    """

    def __init__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        modules: Sequence[str],
        settings: Mapping[str, Any],
        spares: int = 0,
    ) -> None:
        self.spares = spares
        self.argv = (*argv, SERVER)
        self.env = env
        self.modules = modules
        self.settings = settings

    def give(self, guardian: Guardian) -> None:
        """Have ``guardian`` keep such a server, if it does not keep one already."""
        guardian.serve(self.argv, self.env, self.modules, self.settings, self.spares)


class ForkServer:
    """Imports modules once and keeps them for gang after gang.

    ::

        with ForkServer(preload=["torch"]) as server:
            for seed in range(10):
                context = start_processes(
                    ...,
                    start_method="forkserver",
                    supervision=Supervision(fork_server=server),
                )
                context.wait()

    The import begins with the object, and goes on while the caller does something else. One gang at
    a time uses a server. Where a module cannot be forked (docs/functions.md), a warning says so and
    workers are spawned.

    Args:
        preload: Names of modules, imported in this order.
        env: What is added to the caller's environment for the imports: variables that a library
            reads when it is imported, such as ``OMP_NUM_THREADS``.
        spares: Keep so many interpreters that have done the imports, and fork none: for modules that
            a fork would break. Each becomes one worker; others take their places while those run.
    """

    def __init__(
        self,
        preload: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        spares: int = 0,
    ) -> None:
        self.preload = module_names(preload)
        self.spares = spare_count(spares, self.preload)
        run_id = os.urandom(8).hex()
        self._env = {**os.environ, **(env or {}), "PROCESSION_RUN_ID": run_id}
        self.kept = KeptGuardian(run_id, spawn_guardian, follows=True)
        self.order().give(self.kept.have())

    def __enter__(self) -> ForkServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the server and whatever a gang of its may have left; a second call does nothing."""
        self.kept.close()

    def order(self) -> ServerOrder:
        """Return what the server is to be, for a guardian that has none, or no more."""
        return function_server(self._env, self.preload, self.spares)


def function_server(env: Mapping[str, str], modules: Sequence[str], spares: int = 0) -> ServerOrder:
    """Return the order for a server that forks function workers of this process."""
    argv = (interpreter(), *interpreter_flags())
    return ServerOrder(argv, env, modules, server_settings(), spares)


def script_server(
    python: str, env: Mapping[str, str], modules: Sequence[str], first: str, spares: int = 0
) -> ServerOrder:
    """Return the order for a server that forks workers which run a script.

    Args:
        python: The interpreter.
        env: The environment in which the imports happen.
        modules: What is imported.
        first: What Python puts before its search path for that script.
        spares: How many interpreters wait in place of the server.
    """
    return ServerOrder((python,), env, modules, {"first": first}, spares)


def module_names(preload: Sequence[str]) -> tuple[str, ...]:
    """Return the names as a tuple.

    Raises:
        UsageError: A single string, or something that is no module's name.
    """
    if isinstance(preload, str):
        raise UsageError(f"preload={preload!r}: give a list of module names, [{preload!r}]")
    for name in preload:
        if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
            raise UsageError(f"{name!r} is no module's name; give it as in 'import package.module'")
    return tuple(preload)


def spare_count(spares: int, modules: Sequence[str]) -> int:
    """Return the number of spares.

    Raises:
        UsageError: It is negative, or there is nothing for them to import.
    """
    if spares < 0:
        raise UsageError(f"spares={spares}: give a number of interpreters, 0 for none")
    if spares and not modules:
        raise UsageError(f"spares={spares}: they wait with modules imported; name these in preload")
    return spares


def common_environment(environments: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return what all ``environments`` agree on: what imports that serve all of them may see. Pure."""
    first, *others = environments
    return {
        name: value
        for name, value in first.items()
        if all(other.get(name) == value for other in others)
    }


def first_of_path(words: Sequence[str]) -> str:
    """Return what Python puts before its search path where it is started with ``words``.

    The directory of a script with its links resolved, a directory or zip file that is a program by
    itself, or for ``-m`` the working directory.
    """
    path = words[0]
    if path == "-m":
        return os.getcwd()
    if os.path.isdir(path) or _is_zip(path):
        return os.path.abspath(path)
    return os.path.dirname(os.path.realpath(path))


def _is_zip(path: str) -> bool:
    from zipimport import ZipImportError, zipimporter

    try:
        zipimporter(path)
    except ZipImportError:
        return False
    return True


def judge_server(state: str, report: Mapping[str, Any]) -> Exception | None:
    """Warn of what a server reports, and return what the start is to fail with."""
    text = warning(state, report)
    if text is not None:
        logger.warning("%s", text)
    return refusal(state, report)
