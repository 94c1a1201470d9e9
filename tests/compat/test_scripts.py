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

import procession

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SOURCE = Path(procession.__file__).parents[1]  # installed or not
MIGRATION_RULE = {
    "torch.distributed.elastic": "procession",
    "torch.distributed.launcher": "procession.launcher",
    "torch.distributed.run": "procession.run",
    "torch.numa": "procession.numa",
}
SCRIPTS = ("functions", "binaries", "launcher", "pieces", "agents", "timers")
PATIENCE = 500  # seconds for a script

# Heading of the row in docs/differences.md -> what it covers: script/case/path, as a pattern.
DIFFERENCES: dict[str, list[str]] = {
    "Output is kept and shown unless you say otherwise": [r"launcher/plain/.*/std(out|err)/"],
    "MASTER_ADDR, MASTER_PORT": [r"launcher/.*/env/MASTER_ADDR$"],
    "TORCHELASTIC_USE_AGENT_STORE": [r"launcher/.*/env/TORCHELASTIC_USE_AGENT_STORE$"],
    "The run id you give is the run id": [r"launcher/a_run_id/.*/env/TORCHELASTIC_RUN_ID$"],
    "The exit status is the worker's": [
        r"launcher/a_worker_that_(fails|is_killed)/given/status$",
        r"launcher/a_termination_signal_ends_the_run/given/status$",
    ],
    "A usage error ends with 2": [
        r"launcher/(a_script_that_is_not_there|a_count_that_is_none)/given/status$"
    ],
    "Options are written in full": [r"launcher/an_unknown_option/"],
    "Dollar signs in arguments": [r"launcher/dollars_in_arguments/.*/argv/"],
    "Every worker leads a session": [
        r"launcher/a_script_run_in_the_launchers_way/.*/leads_a_session$"
    ],
    "A run directory has a report, events and a link": [
        r"launcher/.*/files/DIR/UUID_RANDOM/(report.json|events.jsonl)$",
        r"launcher/.*/files/DIR/latest$",
    ],
    "The message of a failure without a traceback": [
        r"functions/\w+_exit_\w+/given/.*/message$",
        r"binaries/(exit_statuses|the_first_of_three_to_fail)/given/.*/message$",
        r"binaries/(a_rank_that_succeeds_and_one_that_fails|a_recorded_exit_status)/.*/message$",
        r"pieces/failures_without_a_message/given/message$",
    ],
    "What was stopped has not failed": [
        r"binaries/the_first_of_three_to_fail/given/others$",
        r"functions/(fork_exception_beside_a_peer|a_second_start_is_refused)/files/.*/error.json$",
        r"agents/a_function_that_fails_is_launched/files/.*/attempt_0/0/error.json$",
    ],
    "A function's traceback is in its stderr": [
        r"functions/fork(server)?_exception/files/.*/stderr.log$",
        r"agents/a_function_that_fails_is_launched/files/.*/stderr.log$",
    ],
    "A worker that leaves with a status says when": [
        r"functions/(spawn|fork)_exit_status/files/.*/error.json.exit$"
    ],
    "Files beside the logs": [r"launcher/.*/files/.*/\.std(out|err)\.log\.index$"],
    "A return value that cannot be pickled": [
        r"functions/fork_return_value_that_cannot_be_pickled/files/.*/error.json$"
    ],
    "Nothing is made where nothing starts": [
        r"functions/an_unknown_start_method_is_refused/files/"
    ],
    "Signal handlers are put back": [r"binaries/signals_are_handled_after_the_close/"],
    "Masks for any local rank": [r"pieces/masks_beyond_torch/"],
    "A failure without a time": [r"pieces/failures/given/(no time/is_recent|stamps/2)$"],
}

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
            yield pytest.param(script, case, id=f"{script}-{case}", marks=marks_of(script))


def marks_of(script: str) -> list[pytest.MarkDecorator]:
    """What needs torch, and all of one script in one process, so that it runs once."""
    return [pytest.mark.torch, pytest.mark.xdist_group(script)]


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
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCE)}
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


def differences(script: str, case: str, torch: Outcome, ours: Outcome) -> list[Difference]:
    """Where a case's outcomes differ."""
    return list(compare(torch[case], ours.get(case, "nothing"), f"{script}/{case}"))


def heading_of(place: str) -> str | None:
    """The row of docs/differences.md that a difference falls under."""
    for heading, patterns in DIFFERENCES.items():
        if any(re.search(pattern, place) for pattern in patterns):
            return heading
    return None


@pytest.mark.timeout(PATIENCE + 20)
@pytest.mark.parametrize(("script", "case"), list(all_cases()))
def test_same(script: str, case: str, both: Callable[[str], tuple[Outcome, Outcome]]) -> None:
    found = differences(script, case, *both(script))
    assert [one for one in found if heading_of(one[0]) is None] == []


@pytest.mark.timeout(PATIENCE + 20)
@pytest.mark.parametrize(
    "script", [pytest.param(script, marks=marks_of(script)) for script in SCRIPTS]
)
def test_every_difference_named_is_still_there(
    script: str, both: Callable[[str], tuple[Outcome, Outcome]]
) -> None:
    cases = (differences(script, case, *both(script)) for case in cases_of(script))
    places = [place for case in cases for place, _, _ in case]
    patterns = [p for rows in DIFFERENCES.values() for p in rows if p.startswith(script)]
    assert [p for p in patterns if not any(re.search(p, place) for place in places)] == []


@pytest.mark.parametrize("heading", DIFFERENCES)
def test_a_difference_is_argued_in_the_docs(heading: str) -> None:
    rows = (ROOT / "docs" / "differences.md").read_text()
    assert f"| {heading} |" in rows


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
