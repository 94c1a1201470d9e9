"""Signals to the launcher, in the caller's code and in ours."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from procession._loop import gate
from procession._loop.gate import SignalGate
from procession.multiprocessing import (
    DefaultLogsSpecs,
    PContext,
    SignalException,
    Std,
    Supervision,
    start_processes,
)
from procession.multiprocessing.supervision import signal_exception
from procession.testing import RollCall, wait_for_text

QUICK = Supervision(shutdown_timeout=5)


def launch(tmp: Path, script: str, supervision: Supervision = QUICK) -> PContext:
    context = start_processes(
        "w",
        "sh",
        dict.fromkeys(range(2), ("-c", f"{script}; echo ready; while :; do sleep 0.01; done")),
        {0: {}, 1: {}},
        DefaultLogsSpecs(str(tmp), redirects=Std.ALL),
        supervision=supervision,
    )
    deadline = time.monotonic() + 20
    while not all(Path(path).read_text() for path in context.stdouts.values()):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return context


@pytest.fixture(autouse=True)
def handlers_are_put_back() -> Iterator[None]:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1)
    before = [signal.getsignal(number) for number in numbers]
    yield
    assert [signal.getsignal(number) for number in numbers] == before


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"])
def test_it_is_raised_in_the_callers_code(tmp_path: Path, name: str) -> None:
    context = launch(tmp_path, "true")
    with pytest.raises(SignalException, match=f"Process {os.getpid()} got signal: ") as caught:
        signal.raise_signal(getattr(signal, name))
    assert caught.value.sigval is getattr(signal, name)
    context.close()


def test_it_is_raised_out_of_wait(tmp_path: Path) -> None:
    context = launch(tmp_path, "true")
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM))

    def wait() -> None:
        timer.start()
        context.wait()

    with pytest.raises(SignalException) as caught:
        wait()
    assert caught.value.sigval is signal.SIGTERM
    assert all(Path(f"/proc/{pid}").exists() for pid in context.pids().values())
    context.close(caught.value.sigval)
    timer.join()


def test_what_is_ignored_stays_ignored(tmp_path: Path) -> None:
    """As under nohup; the workers ignore it too."""
    old = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        context = launch(tmp_path, "true")
        signal.raise_signal(signal.SIGHUP)
        for pid in context.pids().values():
            os.kill(pid, signal.SIGHUP)
        assert context.wait(0.1) is None
        context.close()
    finally:
        signal.signal(signal.SIGHUP, old)


def test_only_the_named_signals_are_handled(tmp_path: Path) -> None:
    context = launch(tmp_path, "true", Supervision(signals_to_handle=("SIGUSR1",)))
    with pytest.raises(SignalException):
        signal.raise_signal(signal.SIGUSR1)
    context.close()


def test_a_forwarded_signal_goes_to_those_who_catch_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    supervision = Supervision(forward_signals=("SIGUSR1",))
    context = launch(tmp_path, "[ $LOCAL_RANK ] || trap 'echo usr1' USR1", supervision)
    signal.raise_signal(signal.SIGUSR1)
    deadline = time.monotonic() + 20
    while not all("usr1" in Path(path).read_text() for path in context.stdouts.values()):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert caplog.text == ""
    context.close()


def test_a_forwarded_signal_spares_those_who_do_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    context = launch(tmp_path, "true", Supervision(forward_signals=("SIGUSR1",)))
    signal.raise_signal(signal.SIGUSR1)
    assert context.wait(0.1) is None
    assert "SIGUSR1 was not passed on to local ranks [0, 1]: they do not catch it" in caplog.text
    context.close()


def test_a_second_signal_ends_the_grace_after_a_second(tmp_path: Path) -> None:
    sent: list[float] = []

    def send_two() -> None:
        wait_for_text(context.stdouts[0], "told")  # by then the stop has begun
        for pause in (0, 1.1):
            threading.Event().wait(pause)
            sent.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGTERM)

    old = signal.signal(signal.SIGTERM, lambda *_: None)  # should one come too late
    try:
        context = launch(tmp_path, "trap 'echo told' TERM")
        sender = threading.Thread(target=send_two)
        sender.start()
        began = time.monotonic()
        context.close(timeout=50)
        ended = time.monotonic()
        sender.join()
    finally:
        signal.signal(signal.SIGTERM, old)
    assert ended - began > 1  # also where the first came so late that it was a further one
    assert ended - sent[0] < 40


class Ended(Exception):
    """What an old handler raises."""


def at_line(number: int) -> Callable[..., Any]:
    """A trace function that has a signal come before the ``number``-th line of the gate's code."""
    lines = count()

    def trace(frame: FrameType, event: str, _: object) -> Callable[..., Any] | None:
        if frame.f_code.co_filename != gate.__file__:
            return None
        if event == "line" and next(lines) == number:
            signal.raise_signal(signal.SIGUSR1)
        return trace

    return trace


def test_an_old_handler_may_raise_at_every_step_of_the_end() -> None:
    """Whoever comes again, as ``close()`` does, finds what is left to do, and closes no fd twice."""

    def raises(*_: object) -> None:
        raise Ended

    def stumble(number: int) -> bool:
        ours = gate.SignalGate(lambda _: Ended(), lambda _: None)
        ours.install([signal.SIGUSR1], [])
        try:
            sys.settrace(at_line(number))
            with ours.held():
                ours.restore()
        except Ended:
            return True
        finally:
            sys.settrace(None)
            with suppress(Ended), ours.held():
                ours.restore()
        return False

    old = signal.signal(signal.SIGUSR1, raises)
    fds = sorted(os.listdir("/proc/self/fd"))
    try:
        stumbled = 0
        while stumble(stumbled):
            stumbled += 1
            assert signal.getsignal(signal.SIGUSR1) is raises
            assert sorted(os.listdir("/proc/self/fd")) == fds
    finally:
        signal.signal(signal.SIGUSR1, old)
    assert stumbled > 20


def test_a_gate_that_raises_once(tmp_path: Path) -> None:
    """Later signals wait: in our frames, between them, and at the gate that a context lays over it."""
    only = SignalGate(signal_exception, lambda _: None, once=True)
    only.install([signal.SIGTERM, signal.SIGINT], [])
    context = launch(tmp_path, "true")
    with pytest.raises(SignalException) as caught, only.held():
        signal.raise_signal(signal.SIGTERM)
    assert caught.value.sigval is signal.SIGTERM
    signal.raise_signal(signal.SIGINT)
    with only.held():
        signal.raise_signal(signal.SIGINT)
    context.close()
    signal.raise_signal(signal.SIGTERM)
    only.restore()
    assert only.take_pending() == [signal.SIGINT, signal.SIGTERM]


def test_a_gate_wakes_from_its_installation_on() -> None:
    """Also where it was held before it was installed, as in the start of a gang."""
    held = SignalGate(signal_exception, lambda _: None)
    with held.held():
        held.install([signal.SIGTERM], [])
        signal.raise_signal(signal.SIGTERM)
        assert os.read(held.wake_fd, 10) == bytes([signal.SIGTERM])
        assert held.take_pending() == [signal.SIGTERM]
        held.restore()


def test_a_gate_knows_what_the_gate_below_it_holds_back() -> None:
    below, above = (SignalGate(signal_exception, lambda _: None) for _ in range(2))
    below.install([signal.SIGTERM], [])
    with below.held(), above.held():
        above.install([signal.SIGTERM], [])
        assert not above.called_away
        signal.raise_signal(signal.SIGTERM)
        assert (above.called_away, above.pending) == (True, False)
        assert below.take_pending() == [signal.SIGTERM]
        above.restore()
    below.restore()


def test_a_signal_ends_a_start_whose_imports_have_no_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    roll = RollCall()
    (tmp_path / "endless.py").write_text(
        f"import signal\nprint('importing', file=open({roll.path!r}, 'w'), flush=True)\nsignal.pause()\n"
    )

    def send() -> None:
        roll.lines(1)
        os.kill(os.getpid(), signal.SIGTERM)

    sender = threading.Thread(target=send)
    sender.start()
    with roll, pytest.raises(SignalException) as caught:
        start_processes(
            "e",
            os.getpid,
            {0: ()},
            {0: {}},
            DefaultLogsSpecs(str(tmp_path / "logs"), redirects=Std.ALL),
            start_method="forkserver",
            supervision=Supervision(preload=("endless",)),
        )
    sender.join()
    assert caught.value.context is not None
    result = caught.value.context.wait(0)
    assert result is not None
    assert (result.return_values, result.failures, result.stopped) == ({}, {}, {})


def test_what_was_held_goes_before_what_comes_meanwhile() -> None:
    """A signal that comes in the moment between is raised with it, not after it, out of a later call."""

    def stumble(number: int) -> list[int]:
        ours = gate.SignalGate(signal_exception, lambda _: None)
        ours.install([signal.SIGUSR1, signal.SIGTERM], [])
        came = []
        for body in ([signal.SIGTERM], []):
            try:
                sys.settrace(at_line(number) if body else None)
                with ours.held():
                    for signum in body:
                        signal.raise_signal(signum)
            except SignalException as stop:
                came.append(int(stop.sigval))
            finally:
                sys.settrace(None)
        ours.restore()
        return came

    came = [stumble(number) for number in range(60)]
    assert all(len(raised) == 1 for raised in came), came
    assert [signal.SIGTERM] in came
