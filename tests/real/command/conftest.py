"""``procession run`` as a person runs it: a process of its own, in a directory of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import procession

RUN = (sys.executable, "-m", "procession", "run")
MARK = "PROCESSION_TEST_MARK"
OWN = (
    "PET_",
    "PROCESSION_",
    "TORCH",
    "MASTER_",
    "CUDA_",
    "OMP_",
    "PYTHON_EXEC",
    "PYTHONUNBUFFERED",
)


@dataclass
class Ended:
    """A run that has ended."""

    code: int
    out: str
    err: str
    here: Path

    @property
    def runs(self) -> Path:
        return self.here / "procession-runs"

    @property
    def report(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads((self.runs / "latest" / "report.json").read_text())
        return data

    def logs(self, rank: int, attempt: int = 0) -> Path:
        return self.runs / "latest" / f"attempt_{attempt}" / str(rank)


class Here:
    """An empty directory, an environment that marks all that is started in it, and the command."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.mark = uuid.uuid4().hex
        clean = {k: v for k, v in os.environ.items() if not k.startswith(OWN)}
        source = str(Path(procession.__file__).parents[1])  # installed or not
        known = {MARK: self.mark, "TMPDIR": str(directory.parent), "PYTHONPATH": source}
        self.environ = {**clean, **known}
        self._started: list[subprocess.Popen[str]] = []

    def file(self, name: str, text: str, mode: int = 0o644) -> Path:
        path = self.directory / name
        path.write_text(text)
        path.chmod(mode)
        return path

    def start(self, *words: str, environ: dict[str, str] | None = None, **kw: Any) -> Any:
        """Start ``procession run WORDS`` and return its Popen."""
        return self.start_argv([*RUN, *words], environ=environ, **kw)

    def start_argv(self, argv: list[str], environ: dict[str, str] | None = None, **kw: Any) -> Any:
        """Start any program here, one that starts the command as a rule."""
        process = subprocess.Popen(
            argv,
            cwd=kw.pop("cwd", self.directory),
            env={**self.environ, **(environ or {})},
            stdin=kw.pop("stdin", subprocess.DEVNULL),
            stdout=kw.pop("stdout", subprocess.PIPE),
            stderr=kw.pop("stderr", subprocess.PIPE),
            text=True,
            **kw,
        )
        self._started.append(process)
        return process

    def run(self, *words: str, environ: dict[str, str] | None = None, **kw: Any) -> Ended:
        """Run ``procession run WORDS`` to its end; nothing that it started may live after it."""
        return self.end(self.start(*words, environ=environ, **kw))

    def end(self, process: subprocess.Popen[str]) -> Ended:
        out, err = process.communicate(timeout=60)
        assert self.left() == []
        return Ended(process.returncode, out, err, self.directory)

    def script(self, text: str, *words: str, name: str = "s.py", **kw: Any) -> Ended:
        """Run a script of this text under ``procession run WORDS``."""
        self.file(name, text)
        return self.run(*words, name, **kw)

    def wait_for_run(self) -> None:
        """Wait until a run that was started has its directory and its link."""
        for _ in range(600):
            if (self.directory / "procession-runs" / "latest").exists():
                return
            time.sleep(0.05)
        raise AssertionError("no run within 30 s")

    def left(self) -> list[str]:
        """The processes that carry this test's mark, or are gone but not reaped by their parent."""
        needle = f"{MARK}={self.mark}".encode()
        return [
            _read(f"/proc/{pid}/cmdline").replace(b"\0", b" ").decode()
            for pid in filter(str.isdigit, os.listdir("/proc"))
            if needle in _read(f"/proc/{pid}/environ").split(b"\0")
        ]

    def left_in_time(self) -> list[str]:
        """Likewise, once a launcher that was killed has been missed by its guardian."""
        until = time.monotonic() + 30
        while (left := self.left()) and time.monotonic() < until:
            time.sleep(0.02)
        return left

    def close(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.communicate()


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    """An empty directory and the command in it."""
    directory = tmp_path / "here"
    directory.mkdir()
    made = Here(directory)
    yield made
    made.close()


@pytest.fixture
def read_line() -> Callable[[Any], str]:
    """Wait for a line of a started run's stdout, without its prefix."""

    def read(process: Any) -> str:
        line: str = process.stdout.readline()
        return line.partition("]:")[2].strip()

    return read
