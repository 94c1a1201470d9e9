"""What holds for all tests: the signals they hear, the programs of the system that some start."""

from __future__ import annotations

import os
import shutil
import signal
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

REQUIRED = bool(os.environ.get("PROCESSION_REQUIRE_SYSTEM"))
PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))

# A busy machine makes any example slow, and the making of examples too. They are the same each time in
# `make test`, so that it tells what has changed; `make stress` draws new ones.
settings.register_profile(
    "suite",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize="SEED" not in os.environ,
)
settings.load_profile("suite")


def pytest_configure() -> None:
    """Have what tests start hear every signal, however this run was started.

    What a script runs in the background ignores INT and QUIT, what nohup runs HUP; and all launchers
    and workers of the tests would go on ignoring what was ignored when they started. This process
    itself stays deaf to a hangup: a handler is not handed down by exec.
    """
    heard: dict[signal.Signals, Any] = {
        signal.SIGHUP: _nothing,
        signal.SIGINT: signal.default_int_handler,
        signal.SIGQUIT: signal.SIG_DFL,
        signal.SIGTERM: signal.SIG_DFL,
    }
    for signum, handler in heard.items():
        if signal.getsignal(signum) is signal.SIG_IGN:
            signal.signal(signum, handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _nothing(*_: object) -> None:
    """Hear a signal and do nothing."""


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Look for the programs that ``@pytest.mark.program(name, package)`` names."""
    for marker in item.iter_markers("program"):
        name, package = marker.args
        if shutil.which(name, path=PATH) is None:
            missing = f"{name} is missing: sudo apt-get install -y {package}"
            if REQUIRED:
                pytest.fail(missing, pytrace=False)
            pytest.skip(missing)
