"""``ErrorHandler``: how a process leaves word of what ended it, and hands on what ended its child."""

from __future__ import annotations

import errno
import faulthandler
import os
import warnings
from typing import TYPE_CHECKING

from procession._log import Logger
from procession._report.errorfile import read_error_file
from procession._worker import errorfile

if TYPE_CHECKING:
    from typing import Any

__all__ = ["ErrorHandler"]

logger = Logger(__name__)


class ErrorHandler:
    """Writes exceptions to the error file that ``TORCHELASTIC_ERROR_FILE`` names.

    Without that variable what would have been written is logged. Subclass it and override
    ``initialize()`` and ``record_exception()`` to handle errors in your own way.
    """

    def _get_error_file_path(self) -> str | None:
        """The error file of this process; None or "" to have the error logged only."""
        return os.environ.get("TORCHELASTIC_ERROR_FILE")

    def initialize(self) -> None:
        """Get ready, before the code runs whose errors are to be captured: enable faulthandler.

        Override it to register handlers of your own.
        """
        try:
            faulthandler.enable(all_threads=True)
        except Exception as error:  # noqa: BLE001 - stderr may be any object; torch promises a warning
            problem = f"Unable to enable fault handler. {type(error).__name__}: {error}"
            warnings.warn(problem, stacklevel=2)

    def _write_error_file(self, file_path: str, error_msg: str) -> None:
        """Put the text ERROR_MSG into the file, whole or not at all."""
        try:
            errorfile.write_text(file_path, error_msg)
        except (OSError, ValueError) as error:
            problem = f"Unable to write error to file. {type(error).__name__}: {error}"
            warnings.warn(problem, stacklevel=3)  # who had an exception recorded

    def record_exception(self, e: BaseException) -> None:
        """Write the exception to the error file as JSON, with its traceback and the time.

        A file that cannot be written is a warning: the exception at hand is the news.

        Args:
            e: The exception.
        """
        import json

        error = json.dumps(errorfile.describe(e))
        file = self._get_error_file_path()
        if file:
            self._write_error_file(file, error)
        else:
            logger.info("no error file is defined for this process; the error is:\n%s", error)

    def override_error_code_in_rootcause_data(
        self, rootcause_error_file: str, rootcause_error: dict[str, Any], error_code: int = 0
    ) -> None:
        """Set the exit code in the data of an error file; a child cannot know which signal ends it.

        Args:
            rootcause_error_file: Where the data is from, for the log.
            rootcause_error: The data, changed in place where its message has a place for the code.
            error_code: The exit code, negative for a signal.
        """
        message = rootcause_error.get("message")
        if isinstance(message, dict):
            message["errorCode"] = error_code
        else:
            lack = "a message" if message is None else "an object for a message"
            logger.warning(
                "child error file (%s) is without %s; error code %s is not put into it",
                rootcause_error_file,
                lack,
                error_code,
            )

    def dump_error_file(self, rootcause_error_file: str, error_code: int = 0) -> None:
        """Make the error file of a child that failed that of this process.

        A child may die while it writes, so a file that cannot be used is handed on as the fact
        that it is one.

        Args:
            rootcause_error_file: The child's error file.
            error_code: Its exit code, put into the copy unless 0.

        Raises:
            FileNotFoundError: There is no such file.
        """
        import json

        rootcause_error = _data_of(rootcause_error_file)
        if error_code:
            self.override_error_code_in_rootcause_data(
                rootcause_error_file, rootcause_error, error_code
            )
        text = json.dumps(rootcause_error)
        logger.debug("child error file (%s) contents:\n%s", rootcause_error_file, text)
        my_error_file = self._get_error_file_path()
        if my_error_file:
            _log_what_is_there(my_error_file)
            self._write_error_file(my_error_file, text)
            logger.info("dumped error file to parent's %s", my_error_file)
        else:
            logger.error(
                "no error file defined for parent, to copy child error file (%s)",
                rootcause_error_file,
            )


def _log_what_is_there(my_error_file: str) -> None:
    """A child that inherits this process's TORCHELASTIC_ERROR_FILE may have written it."""
    import json

    found = read_error_file(my_error_file)
    if found is not None:
        logger.warning(
            "%s already exists and will be overwritten. Original contents:\n%s",
            my_error_file,
            json.dumps(found.data, indent=2) if found.problem is None else f"({found.problem})",
        )


def _data_of(error_file: str) -> dict[str, Any]:
    found = read_error_file(error_file)
    if found is None:
        raise FileNotFoundError(errno.ENOENT, "no error file of the child", error_file)
    if found.problem is None:
        return found.data
    logger.warning("child error file (%s) is %s", error_file, found.problem)
    return {"message": {"message": f"child error file ({error_file}) is {found.problem}"}}
