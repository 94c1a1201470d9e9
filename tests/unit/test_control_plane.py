"""``worker_main``: what leaves the body is recorded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from procession.control_plane import worker_main


def test_the_bodys_exception_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "error.json"))

    @worker_main()
    def main() -> None:
        raise RuntimeError("out of luck")

    with pytest.raises(RuntimeError, match="out of luck"):
        main()
    assert "out of luck" in (tmp_path / "error.json").read_text()


def test_a_good_end_records_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "error.json"))
    with worker_main():
        pass
    assert not (tmp_path / "error.json").exists()


def test_a_worker_server_needs_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_WORKER_SERVER_SOCKET", str(tmp_path / "socket"))
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "error.json"))
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(ImportError), worker_main():
        pass
    assert json.loads((tmp_path / "error.json").read_text())["message"]
