"""The gate that holds signals to a launcher back."""

from __future__ import annotations

import signal
from contextlib import suppress
from typing import Any

import pytest

from procession._loop import gate
from procession._loop.gate import SignalGate


def test_a_signal_as_soon_as_its_handler_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes before signal.signal() has returned."""

    class Prompt:
        def __getattr__(self, name: str) -> Any:
            return getattr(signal, name)

        def signal(self, number: int, handler: Any) -> Any:
            old = signal.signal(number, handler)
            if old is signal.SIG_IGN:
                return old
            signal.raise_signal(number)
            return old

    monkeypatch.setattr(gate, "signal", Prompt())
    before = signal.getsignal(signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, lambda *_: None)
    holds = SignalGate(KeyboardInterrupt, lambda _: None)
    try:
        with suppress(KeyboardInterrupt), holds.held():
            holds.install([signal.SIGUSR1], [])
            held = holds.pending
            monkeypatch.undo()
            holds.restore()
        assert held
    finally:
        signal.signal(signal.SIGUSR1, before)
