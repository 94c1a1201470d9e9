"""The pytest plugin of `procession.testing`, in test runs of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

HEAD = """\
import os, signal, subprocess, sys, threading, time
from multiprocessing import resource_tracker
import pytest
from procession.testing import RollCall, children
kept = []
def start(child):
    with RollCall() as roll:
        kept.append(subprocess.Popen(children.command(child, tell=roll.path)))
        return roll.wait(1)[0]
"""

LEAKS = {
    "a child": ("start(children.obeys)", r"process \d+ S .*children\.py obeys"),
    "a child's child": (
        "ready = start(children.leaves_by_setsid); kept[-1].kill(); kept[-1].wait()",
        r"process \d+ S .*children\.py leaves_by_setsid",
    ),
    "a daemon": (
        "start(children.daemonizes); kept[-1].kill(); kept[-1].wait()",
        r"process \d+ S sleep 600",
    ),
    "a child that nobody waited for": (
        "kept.append(subprocess.Popen('true')); os.waitid(os.P_PID, kept[-1].pid, os.WEXITED | os.WNOWAIT)",
        r"process \d+ true, ended and never waited for",
    ),
    "a file": ("kept.append(open(__file__))", r"fd \d+ -> .*test_it\.py"),
    "a pipe": ("os.pipe()", r"fd \d+ -> pipe:\[\d+\]\nfd \d+ -> pipe:"),
    "a number that leads elsewhere": (
        "fd = os.open('/dev/zero', 0); os.dup2(fd, held); os.close(fd)",
        r"fd \d+ -> /dev/zero",
    ),
    "a thread": (
        "threading.Thread(target=time.sleep, args=(60,), name='idler', daemon=True).start()",
        r"thread \d+ idler",
    ),
}
CLEAN = {
    "nothing": "pass",
    "a child that was ended": "start(children.obeys); kept[-1].kill(); kept[-1].wait()",
    "an orphan that is about to end": "subprocess.run(['sh', '-c', 'setsid sleep 0.1 &'])",
    "a thread that is about to end": "threading.Timer(0.1, int).start()",
    "multiprocessing's tracker": "resource_tracker.ensure_running()",
}


def run(tmp: Path, text: str, *words: str) -> tuple[int, str]:
    (tmp / "test_it.py").write_text(HEAD + text)
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words, "test_it.py"]
    ended = subprocess.run(argv, cwd=tmp, capture_output=True, text=True, check=False)
    return ended.returncode, ended.stdout + ended.stderr


PLUGIN = ("-p", "procession.testing.pytest_plugin", "-W", "ignore")
SOON = (*PLUGIN, "-o", "leak_patience=2")  # where something is left for ever
HELD = "held = os.open('/dev/null', 0)\n"


@pytest.mark.parametrize("name", LEAKS)
def test_a_leak_is_named(tmp_path: Path, name: str) -> None:
    deed, expected = LEAKS[name]
    text = f"{HELD}def test_a():\n    {deed}\ndef test_after_it():\n    pass\n"
    code, said = run(tmp_path, text, *SOON)
    assert code == 1
    assert re.search(rf"^left behind:\n{expected}", said, re.MULTILINE)
    assert "2 passed, 1 error" in said  # the error is that of the one test alone


def test_what_is_left_is_ended(tmp_path: Path) -> None:
    """The next test begins without it: its own check of what lives finds nothing."""
    text = "def test_a():\n    start(children.ignores_term)\n"
    text += "def test_b():\n    assert kept[0].wait(20) == -signal.SIGKILL\n"
    assert "2 passed, 1 error" in run(tmp_path, text, *SOON)[1]


@pytest.mark.parametrize("name", CLEAN)
def test_no_false_alarm(tmp_path: Path, name: str) -> None:
    code, said = run(tmp_path, f"def test_a():\n    {CLEAN[name]}\n", *PLUGIN)
    assert code == 0, said


def test_what_a_wider_fixture_holds_is_its_own(tmp_path: Path) -> None:
    text = "@pytest.fixture(scope='module')\ndef pair():\n    yield (ends := os.pipe())\n"
    text += "    for end in ends: os.close(end)\ndef test_a(pair, capfd, tmp_path):\n    pass\n"
    assert run(tmp_path, text, *PLUGIN)[0] == 0


@pytest.mark.parametrize(
    ("kinds", "code"), [("'fds'", 0), ("'threads'", 1), ("'threads', 'fds'", 0)]
)
def test_a_test_may_say_what_it_leaves(tmp_path: Path, kinds: str, code: int) -> None:
    text = f"@pytest.mark.may_leave({kinds})\ndef test_a():\n    os.pipe()\n"
    assert run(tmp_path, text, "--strict-markers", *SOON)[0] == code


def test_an_installed_procession_is_not_in_the_way(tmp_path: Path) -> None:
    code, said = run(
        tmp_path,
        "def test_a():\n    os.pipe()\n    assert 'procession._os' in sys.modules\n    assert 'procession.testing.pytest_plugin' not in sys.modules\n",
    )
    assert code == 0, said
