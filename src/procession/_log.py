"""Loggers that cost nothing until they have something to say.

``logging`` with what it imports takes 8 ms, a tenth of a launch; most launches log nothing.
"""

from __future__ import annotations

import sys

__all__ = ["Logger"]


class Logger:
    """``logging.getLogger(name)``, looked up with the first message."""

    def __init__(self, name: str) -> None:
        self._name = name

    def debug(self, message: str, *args: object) -> None:
        """Log for those who look for a fault in procession."""
        self._log("DEBUG", message, args)

    def info(self, message: str, *args: object) -> None:
        """Log for those who ask for details."""
        self._log("INFO", message, args)

    def warning(self, message: str, *args: object) -> None:
        """Log what the user should know of."""
        self._log("WARNING", message, args)

    def error(self, message: str, *args: object) -> None:
        """Log what did not work."""
        self._log("ERROR", message, args)

    def exception(self, message: str, *args: object) -> None:
        """Log a fault together with the exception that is being handled."""
        self._log("ERROR", message, args, exc_info=True)

    def _log(
        self, level: str, message: str, args: tuple[object, ...], *, exc_info: bool = False
    ) -> None:
        # Who has not imported it has not asked for details either: its root logger starts at WARNING.
        if level in ("DEBUG", "INFO") and "logging" not in sys.modules:
            return
        try:
            import logging
        except OSError:  # no descriptor is left for its file, or no memory
            _last_resort(message, args)
            return
        logger = logging.getLogger(self._name)
        # The third frame from here is the one that speaks.
        logger.log(getattr(logging, level), message, *args, exc_info=exc_info, stacklevel=3)


def _last_resort(message: str, args: tuple[object, ...]) -> None:
    """Write as `logging` does for a program that has not set it up: the message alone."""
    if sys.stderr is not None:
        sys.stderr.write(f"{message % args if args else message}\n")
