"""Whether a processor is free."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from procession._os import processors

CORES = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        (f"0.50 0.40 0.30 {CORES}/321 4711\n", True),
        (f"9.50 9.40 9.30 {CORES - 1}/321 4711\n", False),
        ("0.50 0.40 0.30\n", True),
        ("0.50 0.40 0.30 x/y 4711\n", True),
        ("", True),
        (None, True),
    ],
)
def test_all_taken(
    text: str | None, taken: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = tmp_path / "loadavg"
    if text is not None:
        load.write_text(text)
    monkeypatch.setattr(processors, "_LOAD", str(load))
    assert processors.all_taken() is taken


def test_the_kernel_tells() -> None:
    assert Path(processors._LOAD).read_text().split()[3].partition("/")[0].isdigit()
