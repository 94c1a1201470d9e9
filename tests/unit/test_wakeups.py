"""Orders to the tail thread, from wherever a signal's handler gives them."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from procession._logs.pump import Pump
from procession._logs.sinks import Sink
from procession._logs.wakeups import Wakeups


@pytest.mark.timeout(20)
def test_a_signals_handler_may_order_amidst_an_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says a line, for one, while the thread that it interrupts begins to show the logs."""
    done: list[str] = []
    at_wakeups, write = Wakeups(), os.write
    usual = signal.signal(
        signal.SIGUSR1, lambda *_: at_wakeups.order(lambda: done.append("handler's"))
    )

    def interrupted(fd: int, data: bytes) -> int:
        monkeypatch.undo()
        signal.raise_signal(signal.SIGUSR1)
        return write(fd, data)

    monkeypatch.setattr(os, "write", interrupted)
    try:
        at_wakeups.order(lambda: done.append("thread's"))
        with at_wakeups.at_work:
            at_wakeups.wait(0)
    finally:
        signal.signal(signal.SIGUSR1, usual)
        at_wakeups.close()
    assert done == ["thread's", "handler's"]


@pytest.mark.timeout(20)
def test_a_signals_handler_does_not_wait_for_the_pause_that_it_interrupts() -> None:
    """It says a line, while its thread has the tail rest for another one."""
    heard: list[bool] = []
    at_wakeups = Wakeups()

    def handler(*_: object) -> None:
        with at_wakeups.paused(3600) as held:
            heard.append(held)

    usual = signal.signal(signal.SIGUSR1, handler)
    try:
        with at_wakeups.paused(3600) as held:
            heard.append(held)
            signal.raise_signal(signal.SIGUSR1)
        with at_wakeups.paused(3600) as held:
            heard.append(held)
    finally:
        signal.signal(signal.SIGUSR1, usual)
        at_wakeups.close()
    assert heard == [True, False, True]


class Slow(Sink):
    """A console that has shown what it was given before its `write` has come to its end."""

    waits_in_kernel = True
    size = 1

    def __init__(self) -> None:
        super().__init__("slow", console=True, terminal=True)
        self.shows, self.may_end = threading.Event(), threading.Event()
        self.is_written = False

    def write(self) -> bool:
        self.shows.set()
        self.may_end.wait()
        self.is_written = True
        return True


def test_a_sink_is_left_alone_until_the_tail_is_done_with_it() -> None:
    pump, sink = Pump(), Slow()

    def work() -> None:
        with pump.wakeups.at_work:
            pump._write(sink)

    thread = threading.Thread(target=work)
    try:
        thread.start()
        sink.shows.wait()
        with pump.off_sinks(0.01) as off:
            assert not off
        sink.may_end.set()
        with pump.off_sinks(30.0) as off:
            assert off
            assert sink.is_written
    finally:
        sink.may_end.set()
        thread.join()
        pump.shut()
