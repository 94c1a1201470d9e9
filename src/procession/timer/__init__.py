"""Countdown timers: a worker that gets stuck in a block of code is ended by whoever looks after it.

    from procession import timer

    # In the process that starts the workers:
    server = timer.LocalTimerServer(queue, max_interval=0.5)  # a multiprocessing.Queue
    server.start()

    # In a worker:
    timer.configure(timer.LocalTimerClient(queue))
    with timer.expires(after=60):  # seconds
        all_reduce()

``FileTimerServer`` and ``FileTimerClient`` do the same over a named pipe; with
``TORCHELASTIC_ENABLE_FILE_TIMER=1`` an agent has such a server, and its workers find the pipe's path in
``TORCHELASTIC_TIMER_FILE``. The names are those of ``torch.distributed.elastic.timer``.
"""

from __future__ import annotations

from procession.timer.api import TimerClient, TimerRequest, TimerServer, configure, expires
from procession.timer.file_based_local_timer import (
    FileTimerClient,
    FileTimerRequest,
    FileTimerServer,
)
from procession.timer.local_timer import LocalTimerClient, LocalTimerServer

__all__ = [
    "FileTimerClient",
    "FileTimerRequest",
    "FileTimerServer",
    "LocalTimerClient",
    "LocalTimerServer",
    "TimerClient",
    "TimerRequest",
    "TimerServer",
    "configure",
    "expires",
]
