"""Where a core dump lies, by core_pattern."""

from __future__ import annotations

from pathlib import Path

import pytest

from procession._os import cores
from procession._os.cores import core_of, expand


@pytest.mark.parametrize(
    ("pattern", "uses_pid", "name"),
    [
        ("core", False, "core"),
        ("core", True, "core.77"),
        ("core.%p", True, "core.77"),
        ("/var/crash/core.%e.%p.%h.%t", False, "/var/crash/core.*.77.*.*"),
        ("%%%s-%P%", False, "%11-**"),
        ("c[o]re*", False, "c[[]o]re[*]"),
    ],
)
def test_pattern(pattern: str, uses_pid: bool, name: str) -> None:
    assert expand(pattern, 77, 11, uses_pid=uses_pid) == name


@pytest.fixture
def pattern(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    known = {"core_pattern": "core.%e.%p", "core_uses_pid": "0"}
    monkeypatch.setattr(cores, "_line", lambda path: known[path.rpartition("/")[2]])
    return known


def test_the_file_is_looked_for(tmp_path: Path, pattern: dict[str, str]) -> None:
    assert core_of(77, 11, str(tmp_path)) == f"{tmp_path}/core.*.77 (not found there)"
    (tmp_path / "core.python3.77").touch()
    assert core_of(77, 11, str(tmp_path)) == f"{tmp_path}/core.python3.77"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("|/usr/share/apport/apport -p%p -s%s", "handed to /usr/share/apport/apport"),
        (
            "|/usr/lib/systemd/systemd-coredump %P %u",
            "handed to /usr/lib/systemd/systemd-coredump, coredumpctl info 77",
        ),
        ("@/run/coredump.socket", "handed to a program of this host"),
        ("", ""),
    ],
)
def test_programs_that_take_dumps(text: str, said: str, pattern: dict[str, str]) -> None:
    pattern["core_pattern"] = text
    assert core_of(77, 11, "/tmp") == said
