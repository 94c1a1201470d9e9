"""The one place that imports torch: its worker server, its stores, and a program that counts devices with it.

    python .../_torch.py KIND

prints how many devices of a kind torch sees: ``gpu``, ``xpu``, ``auto`` (its current accelerator),
or the name of a back end that an extension of torch has registered. Ends with 3 where torch cannot
be imported, and with 4 where it knows no such kind. It runs under the workers' Python, which need
not have procession installed.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_NO_TORCH = 3
_NO_SUCH_KIND = 4


def main(kind: str) -> int:
    """Print the count and return the exit status."""
    try:
        import torch  # noqa: F401
    except ImportError:
        return _NO_TORCH
    count = device_count(kind)
    if count is None:
        return _NO_SUCH_KIND
    sys.stdout.write(f"{count}\n")
    return 0


def device_count(kind: str) -> int | None:
    """The number of devices of a kind, None where torch knows no such kind."""
    import torch

    if kind == "auto":
        return int(torch.accelerator.device_count()) if torch.accelerator.is_available() else 0
    if kind == torch._C._get_privateuse1_backend_name():
        module = getattr(torch, kind, None)
    else:
        module = {"gpu": torch.cuda, "xpu": torch.xpu}.get(kind)
        if module is None:
            return None
    if module is None or not module.is_available():
        return 0
    return int(module.device_count())


@contextmanager
def worker_server(socket_path: str) -> Iterator[None]:
    """Have torch's worker server answer at a unix socket meanwhile.

    Raises:
        ImportError: torch is not installed.
    """
    from torch._C._distributed_c10d import _WorkerServer

    server = _WorkerServer(socket_path)
    try:
        yield
    finally:
        server.shutdown()


def tcp_store(
    host: str, port: int, timeout: float, *, is_master: bool, world_size: int | None
) -> Any:
    """Make a ``TCPStore``; several in one process may share a port.

    Raises:
        ImportError: torch is not installed.
        RuntimeError: It cannot be reached or started.
    """
    from datetime import timedelta

    from torch.distributed import TCPStore

    return TCPStore(
        host, port, world_size, is_master, timedelta(seconds=timeout), multi_tenant=True
    )


def prefix_store(prefix: str, store: Any) -> Any:
    """Make a ``PrefixStore``."""
    from torch.distributed import PrefixStore

    return PrefixStore(prefix, store)


if __name__ == "__main__":
    # Started by its path, it finds `multiprocessing` and `numa` of this directory before Python's.
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [path for path in sys.path if os.path.abspath(path) != here]
    sys.exit(main(sys.argv[1]))
