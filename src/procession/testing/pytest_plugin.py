"""A pytest plugin that fails each test which leaves a process, an fd or a thread behind.

Asked for by name, ``-p procession.testing.pytest_plugin`` on the command line or in ``addopts``: an
installed procession changes nobody's test run. The check costs 1 ms a test.

What a test leaves is named in an error of its teardown, after all fixtures of its own have been torn
down; what wider fixtures hold is theirs. Processes that are left are killed, so that the next test
begins without them. Daemons are found by a resource limit that they inherit (`leaks.branding`). A test that must leave something says so::

    @pytest.mark.may_leave("threads")  # or "processes", "fds"
    def test_a_pool_that_stays(): ...
"""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import pytest

from procession.testing.leaks import Inventory, branding

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["leaves_nothing", "pytest_addoption", "pytest_configure"]

_PATIENCE = "leak_patience"
# A busy machine takes some of them; only a test that does leave something uses them up.
_SECONDS = "10"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let ``leak_patience`` stand in the configuration, or behind ``-o``."""
    words = "seconds in which what a test has told to end has to be gone"
    parser.addini(_PATIENCE, words, default=_SECONDS)


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known, and brand what the tests will start."""
    stack = ExitStack()
    stack.enter_context(branding())
    config.add_cleanup(stack.close)
    config.addinivalue_line(
        "markers",
        'may_leave(kind, ...): this test may leave "processes", "fds" or "threads" behind',
    )


@pytest.fixture(autouse=True)
def leaves_nothing(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test after which a process, an fd or a thread of its own is still there."""
    excused = {kind for mark in request.node.iter_markers("may_leave") for kind in mark.args}
    before = Inventory.take()
    yield
    patience = float(request.config.getini(_PATIENCE))
    left = before.left(patience)._replace(**{kind: {} for kind in excused})
    _kill(left.processes)
    if any(left):
        pytest.fail(f"left behind:\n{left}", pytrace=False)


def _kill(pids: dict[int, str]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
