"""How a gang begins."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from procession.multiprocessing.context import PContext
    from procession.multiprocessing.logs_specs import LogsSpecs
    from procession.multiprocessing.supervision import Supervision
    from procession.numa.binding import NumaOptions

__all__ = ["require_all_ranks", "start_processes"]


def start_processes(
    name: str,
    entrypoint: Callable[..., Any] | str,
    args: dict[int, tuple[Any, ...]],
    envs: dict[int, dict[str, str]],
    logs_specs: LogsSpecs,
    log_line_prefixes: dict[int, str] | None = None,
    start_method: str = "spawn",
    numa_options: NumaOptions | None = None,
    duplicate_stdout_filters: list[str] | None = None,
    duplicate_stderr_filters: list[str] | None = None,
    supervision: Supervision | None = None,
) -> PContext:
    """Start one copy of ``entrypoint`` for each local rank in ``args``.

    Args:
        name: What the processes are, for people; heads each teed line as ``[{name}{local_rank}]:``.
        entrypoint: A function, or a binary as a string (looked up in ``PATH`` without a slash).
        args: Arguments of each local rank ``0…n-1``; a binary's are turned to text by ``str``.
        envs: What is added to the environment of each local rank.
        logs_specs: Where output goes and what of it is teed.
        log_line_prefixes: The head of each teed line by local rank.
        start_method: ``spawn``, ``fork`` or ``forkserver``; of no effect for binaries.
        numa_options: Binding to CPUs; not built yet.
        duplicate_stdout_filters: Teed stdout lines that contain any of these strings are copied to
            ``filtered_stdout.log``.
        duplicate_stderr_filters: The same for stderr.
        supervision: Grace, signals, run id, and modules to import ahead.

    Returns:
        The context of the running gang.

    Raises:
        RuntimeError: ``args`` and ``envs`` do not have the same local ranks ``0…n-1``.
        OSError: A worker or a log file could not be had; nothing is left running.
        NotPicklableError: The function or an argument cannot go to another process.
        NotImplementedError: A binding was asked for.
    """
    require_all_ranks(args, len(args), "args")
    require_all_ranks(envs, len(args), "envs")
    if isinstance(entrypoint, str):
        from procession.multiprocessing.subprocess_context import SubprocessContext

        context: PContext = SubprocessContext(
            name=name,
            entrypoint=entrypoint,
            args=args,
            envs=envs,
            logs_specs=logs_specs,
            log_line_prefixes=log_line_prefixes,
            numa_options=numa_options,
            duplicate_stdout_filters=duplicate_stdout_filters,
            duplicate_stderr_filters=duplicate_stderr_filters,
            supervision=supervision,
        )
    else:
        from procession.multiprocessing.multiprocess_context import MultiprocessContext

        context = MultiprocessContext(
            name=name,
            entrypoint=entrypoint,
            args=args,
            envs=envs,
            start_method=start_method,
            logs_specs=logs_specs,
            log_line_prefixes=log_line_prefixes,
            numa_options=numa_options,
            duplicate_stdout_filters=duplicate_stdout_filters,
            duplicate_stderr_filters=duplicate_stderr_filters,
            supervision=supervision,
        )
    _begin(context)
    return context


def require_all_ranks(mapping: Mapping[int, Any], nprocs: int, what: str) -> None:
    """Raise RuntimeError unless ``mapping`` has exactly the local ranks 0…nprocs-1."""
    expected, actual = set(range(nprocs)), set(mapping)
    if expected != actual:
        raise RuntimeError(
            f"{what}, local rank mapping mismatch, expected: {expected}, actual: {actual}; "
            "give args and envs the keys 0 to nprocs-1"
        )


def _begin(context: PContext) -> None:
    from procession.multiprocessing.supervision import SignalException

    try:
        context.start()
    except SignalException as stop:
        if stop.context is None:  # it came after the start, and before the caller has the context
            context.close()
        raise
