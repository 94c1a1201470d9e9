"""The main function of a worker: its exceptions recorded, torch's worker server beside it.

from procession.control_plane import worker_main


@worker_main()
def main() -> None: ...


if __name__ == "__main__":
    main()
"""

from __future__ import annotations

import os
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from procession.multiprocessing.errors import get_error_handler
from procession.multiprocessing.errors.recording import leave_word

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

__all__ = ["TORCH_WORKER_SERVER_SOCKET", "worker_main"]

TORCH_WORKER_SERVER_SOCKET = "TORCH_WORKER_SERVER_SOCKET"


@contextmanager
def worker_main() -> Iterator[None]:
    """Surround the work of a worker; use it as a decorator or in a ``with``.

    An exception that leaves the body is written to the file that TORCHELASTIC_ERROR_FILE names, as
    ``procession.multiprocessing.errors.record`` does. Where TORCH_WORKER_SERVER_SOCKET names a unix
    socket, torch's worker server answers there meanwhile.

    Raises:
        ImportError: A socket is named, and torch is not installed.
    """
    handler = get_error_handler()
    handler.initialize()
    try:
        with _worker_server(os.environ.get(TORCH_WORKER_SERVER_SOCKET)):
            yield
    except Exception as error:
        leave_word(handler, error)
        raise


def _worker_server(socket_path: str | None) -> AbstractContextManager[None]:
    if socket_path is None:
        return nullcontext()
    from procession._torch import worker_server

    return worker_server(socket_path)
