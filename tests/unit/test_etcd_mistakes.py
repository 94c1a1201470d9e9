"""What is said where etcd does not let us in."""

from __future__ import annotations

import http.client
import ssl

import pytest

from procession._etcd.mistakes import problem
from procession._etcd.settings import Settings
from procession._store.endpoint import Endpoint

THERE = Endpoint("e", 2379)
NO_TLS = "Does it speak TLS? If not, write http://e:2379"
IT_SPEAKS_TLS = "If it speaks TLS, write https://e:2379"
RESET = ConnectionResetError(104, "Connection reset by peer")
UNREADABLE = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")
UNREADABLE.reason = "WRONG_VERSION_NUMBER"
GONE = http.client.RemoteDisconnected("gone")


@pytest.mark.parametrize(
    ("error", "tls", "connected", "hint"),
    [
        (UNREADABLE, True, False, NO_TLS),
        (RESET, True, False, NO_TLS),
        (RESET, True, True, ""),
        (RESET, False, False, ""),
        (RESET, False, True, IT_SPEAKS_TLS),
        (GONE, False, True, IT_SPEAKS_TLS),
        (ConnectionRefusedError(111, "Connection refused"), True, False, ""),
    ],
)
def test_hints(error: Exception, tls: bool, connected: bool, hint: str) -> None:
    known = problem(error, THERE, Settings((THERE,), tls=tls), connected=connected)
    assert known.text.startswith("e:2379: ")
    assert not known.is_mistake
    assert ("TLS" in known.text) == bool(hint)
    assert hint in known.text


@pytest.mark.parametrize("error", [RESET, BrokenPipeError(32, "Broken pipe")])
def test_a_reset_may_be_all_that_comes_of_a_refusal(error: Exception) -> None:
    """TLS 1.3 looks at our certificate when it has been agreed on, and a reset overtakes what is said of it."""
    known = problem(error, THERE, Settings((THERE,), tls=True), connected=True)
    assert "It may want a certificate of ours" in known.text
