"""A logger by the name of whoever asks for one."""

from __future__ import annotations

import logging
import os
import sys

__all__ = ["get_logger"]


def get_logger(name: str | None = None) -> logging.Logger:
    """Return a logger; its level is that of the variable LOGLEVEL, else WARNING.

    Args:
        name: The logger's; the module's that calls where None.
    """
    logger = logging.getLogger(name or str(sys._getframe(1).f_globals.get("__name__")))
    logger.setLevel(os.environ.get("LOGLEVEL", "WARNING"))
    return logger
