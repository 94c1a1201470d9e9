"""One worker that is a binary: its process, its log files, its end."""

from procession.multiprocessing.subprocess_handler.handlers import get_subprocess_handler
from procession.multiprocessing.subprocess_handler.subprocess_handler import SubprocessHandler

__all__ = ["SubprocessHandler", "get_subprocess_handler"]
