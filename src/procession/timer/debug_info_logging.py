"""What is logged of timers that have run out."""

from __future__ import annotations

from procession._log import Logger

__all__ = ["log_debug_info_for_expired_timers"]

logger = Logger(__name__)


def log_debug_info_for_expired_timers(run_id: str, expired_timers: dict[int, list[str]]) -> None:
    """Log them.

    Args:
        run_id: The run.
        expired_timers: By the worker's pid, each timer as JSON.
    """
    if expired_timers:
        logger.info("Timers expired for run:[%s] [%s].", run_id, expired_timers)
