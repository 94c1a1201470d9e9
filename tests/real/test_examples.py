"""The examples, run as their docstrings say: they do what they promise."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import procession

ROOT = Path(__file__).parents[2]
SOURCE = Path(procession.__file__).parents[1]  # installed or not
LAUNCH = ("-m", "procession.run", "--nproc-per-node=4")


def example(
    name: str, cwd: Path, *launcher: str, words: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run an example to its end."""
    known = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCE), "TMPDIR": str(cwd)}
    return subprocess.run(
        [sys.executable, *launcher, str(ROOT / "examples" / name), *words],
        cwd=cwd,
        env=known,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def test_digits_learns_what_it_says(tmp_path: Path) -> None:
    run = example("digits.py", tmp_path, *LAUNCH)
    assert run.returncode == 0, run.stderr
    accuracy = re.search(
        r"^\[default0\]:accuracy on 360 held-out digits: (\S+)$", run.stdout, re.MULTILINE
    )
    assert accuracy is not None, run.stdout
    assert float(accuracy[1]) >= 0.93
    said = set(re.findall(r"^\[default(\d)\]:rank \1 of 4 learns from", run.stdout, re.MULTILINE))
    assert said == set("0123")


def test_fails_names_the_rank_that_raised_and_not_its_victims(tmp_path: Path) -> None:
    run = example("fails.py", tmp_path, *LAUNCH)
    assert run.returncode == 1
    last = run.stderr.rpartition("Root cause")[2]
    assert re.search(
        r"^ *FloatingPointError: rank 2: the loss of round 1 is nan$", last, re.MULTILINE
    )
    report = json.loads((tmp_path / "procession-runs" / "latest" / "report.json").read_text())
    assert report["root_cause"]["rank"] == 2


@pytest.mark.parametrize(
    ("deed", "words", "code", "last"),
    [
        ("flaky", ("--restart-backoff", "100ms"), 0, "attempt 3 of 4: rank 1 died of SIGKILL"),
        ("bug", ("--no-restart-on", "same-traceback"), 1, "same-traceback (restarts.py:27 in bug)"),
        ("refuses", ("--no-restart-on", "75"), 75, "no further attempt: --no-restart-on 75"),
    ],
)
def test_restarts_are_as_the_policy_says(
    deed: str, words: tuple[str, ...], code: int, last: str, tmp_path: Path
) -> None:
    launch = ("-m", "procession.run", "-n", "2", "--max-restarts", "3", *words)
    run = example("restarts.py", tmp_path, *launch, words=(deed,))
    assert run.returncode == code, run.stderr
    ours = [line for line in run.stderr.splitlines() if line.startswith("procession: ")]
    assert last in ours[-1]


def test_functions_returns_values_and_shows_output(tmp_path: Path) -> None:
    run = example("functions.py", tmp_path)
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert min(lines[:4]) == "[primes0]:rank 0 looks at 0 to 2500"
    assert lines[4:] == [
        "primes by rank: {0: 367, 1: 302, 2: 281, 3: 279}",
        "primes below 10000: 1229",
    ]


def test_preemption_saves_and_goes_on(tmp_path: Path) -> None:
    known = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCE), "TMPDIR": str(tmp_path)}
    words = [sys.executable, *LAUNCH, str(ROOT / "examples" / "preemption.py"), "state.json"]
    first = subprocess.Popen(
        [*words, "1000000"],  # steps: an hour
        cwd=tmp_path, env=known, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert first.stdout is not None
    assert first.stdout.readline() == "[default0]:begins with step 0\n"
    first.send_signal(signal.SIGUSR1)
    out, err = first.communicate(timeout=50)
    assert first.returncode == 75, err
    saved = re.fullmatch(r"\[default0\]:saved after step (\d+)\n", out)
    assert saved is not None
    steps = int(saved[1]) + 20
    second = subprocess.run(
        [*words, str(steps)],
        cwd=tmp_path, env=known, capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert second.returncode == 0, second.stderr
    assert second.stdout == (
        f"[default0]:begins with step {int(saved[1]) + 1}\n[default0]:all {steps} steps are done\n"
    )


def test_seeds_uses_one_server_for_three_gangs(tmp_path: Path) -> None:
    run = example("seeds.py", tmp_path)
    assert (run.returncode, run.stderr) == (0, "")
    scores = [float(score) for score in re.findall(r"accuracy (\S+),", run.stdout)]
    assert len(scores) == 3
    assert 0.8 < scores[0] < scores[2]
