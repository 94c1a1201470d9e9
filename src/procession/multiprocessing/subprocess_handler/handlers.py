"""The one call that makes a handler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from procession.multiprocessing.subprocess_handler.subprocess_handler import SubprocessHandler

if TYPE_CHECKING:
    from procession.numa.binding import NumaOptions

__all__ = ["get_subprocess_handler"]


def get_subprocess_handler(
    entrypoint: str,
    args: tuple[Any, ...],
    env: dict[str, str],
    stdout: str,
    stderr: str,
    local_rank_id: int,
    numa_options: NumaOptions | None = None,
) -> SubprocessHandler:
    """Start a binary as one worker; the arguments are those of ``SubprocessHandler``.

    Returns:
        The handler of the process, which runs.

    Raises:
        OSError: The binary or a log file cannot be opened.
    """
    return SubprocessHandler(entrypoint, args, env, stdout, stderr, local_rank_id, numa_options)
