"""torch's worker server, behind our ``worker_main`` as behind torch's."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from procession.control_plane import worker_main

pytestmark = pytest.mark.torch


def test_it_answers_while_the_body_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "worker.sock"
    monkeypatch.setenv("TORCH_WORKER_SERVER_SOCKET", str(path))
    with worker_main(), socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(str(path))
        # Asked first: torch's server hangs where it is shut down before its thread listens.
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.")
