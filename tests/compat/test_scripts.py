"""One script, two libraries: what it gives with torch 2.13 it has to give with procession.

Each script of ``scripts/`` runs once with torch, and once with its import lines changed by the
migration rule. Every case of it is then compared: what it returned or raised, what reached the
console, every file it left. Where the two may differ, and why, stands in DIFFERENCES.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MIGRATION_RULE = {
    "torch.distributed.elastic": "procession",
    "torch.distributed.launcher": "procession.launcher",
    "torch.distributed.run": "procession.run",
    "torch.numa": "procession.numa",
}
SCRIPTS = ("functions", "binaries", "launcher", "pieces")
PATIENCE = 280  # seconds for a script

# Heading of the row in docs/differences.md -> what it covers: script/case/path, as a pattern.
DIFFERENCES: dict[str, list[str]] = {}

# script/case, path, with torch, with procession
Difference = tuple[str, Any, Any]
Outcome = dict[str, Any]


def cases_of(script: str) -> list[str]:
    """The names of a script's functions that are marked as cases."""
    tree = ast.parse((HERE / "scripts" / f"{script}.py").read_text())
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    marked = [f for f in functions if [ast.unparse(mark) for mark in f.decorator_list] == ["case"]]
    return [function.name for function in marked]


def all_cases() -> Iterator[Any]:
    for script in SCRIPTS:
        for case in cases_of(script):
            marks = [pytest.mark.xdist_group(script), pytest.mark.torch]
            yield pytest.param(script, case, id=f"{script}-{case}", marks=marks)


def migrated(text: str) -> str:
    """A script as the migration rule makes it."""
    for old, new in MIGRATION_RULE.items():
        text = text.replace(old, new)
    return text


def start(script: str, place: Path, change: Callable[[str], str]) -> subprocess.Popen[bytes]:
    """Run a script of ``scripts/`` in a directory of its own, changed."""
    shutil.copytree(HERE / "scripts", place)
    for path in place.glob("*.py"):
        path.write_text(change(path.read_text()))
    env = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    with open(place / "said", "wb") as said:
        return subprocess.Popen(
            [sys.executable, f"{script}.py", "out.json"],
            cwd=place,
            env=env | {"HOME": str(place), "LANG": "C.UTF-8", "TMPDIR": str(place)},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )


def result(process: subprocess.Popen[bytes], place: Path) -> Outcome:
    """What a started script writes in the end; all its cases are empty where it wrote nothing."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(PATIENCE)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if (place / "out.json").exists():
        outcome: Outcome = json.loads((place / "out.json").read_text())
        return outcome
    said = (place / "said").read_text(errors="replace")[-4000:]
    failure = {"ended": process.returncode, "said": said}
    return dict.fromkeys(cases_of(place.parent.name), failure)


@pytest.fixture(scope="session")
def both(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Outcome, Outcome]]:
    """What a script gives with torch and with procession; each is run once."""

    @cache
    def run(script: str) -> tuple[Outcome, Outcome]:
        base = tmp_path_factory.mktemp(script, numbered=False)
        places = base / "torch", base / "procession"
        runs = start(script, places[0], str), start(script, places[1], migrated)
        return result(runs[0], places[0]), result(runs[1], places[1])

    return run


def compare(torch: Any, ours: Any, path: str = "") -> Iterator[Difference]:
    """The innermost places at which two outcomes differ."""
    if isinstance(torch, dict) and isinstance(ours, dict):
        pairs = {key: (torch.get(key, "nothing"), ours.get(key, "nothing")) for key in torch | ours}
    elif isinstance(torch, list) and isinstance(ours, list) and len(torch) == len(ours):
        pairs = {str(n): pair for n, pair in enumerate(zip(torch, ours, strict=True))}
    elif torch != ours:
        yield path, torch, ours
        return
    else:
        return
    for key, (one, other) in pairs.items():
        yield from compare(one, other, f"{path}/{key}")


def heading_of(place: str) -> str | None:
    """The row of docs/differences.md that a difference falls under."""
    for heading, patterns in DIFFERENCES.items():
        if any(re.search(pattern, place) for pattern in patterns):
            return heading
    return None


@pytest.mark.timeout(PATIENCE + 20)
@pytest.mark.parametrize(("script", "case"), list(all_cases()))
def test_same(script: str, case: str, both: Callable[[str], tuple[Outcome, Outcome]]) -> None:
    torch, ours = both(script)
    found = list(compare(torch[case], ours[case], f"{script}/{case}"))
    assert [one for one in found if heading_of(one[0]) is None] == []


@pytest.mark.parametrize("heading", DIFFERENCES)
def test_a_difference_is_argued_in_the_docs(heading: str) -> None:
    rows = (ROOT / "docs" / "differences.md").read_text()
    assert heading in rows


@pytest.mark.parametrize(
    ("torch", "ours", "expected"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, [("/a", 1, 2)]),
        ({"a": 1}, {}, [("/a", 1, "nothing")]),
        ({}, {"a": {"b": 1}}, [("/a", "nothing", {"b": 1})]),
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}, [("/a/1/b", 2, 3)]),
        ([1], [1, 2], [("", [1], [1, 2])]),
        (0, None, [("", 0, None)]),
    ],
)
def test_a_difference_is_found(torch: object, ours: object, expected: list[Difference]) -> None:
    assert list(compare(torch, ours)) == expected
