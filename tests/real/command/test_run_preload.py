"""``procession run --preload``: scripts and functions from a server that is warm at every attempt."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.real.pace import own_ports

import procession
from procession.testing import RollCall

SOURCE = str(Path(procession.__file__).parents[1])
COMMAND = "from procession.cli.main import command; sys.exit(command())"

COUNTED = """\
import os
with open("imports", "a") as file:
    file.write(f"{os.getpid()}\\n")
THREADS = os.environ.get("OMP_NUM_THREADS")
print("loading")
"""

TELLS = """\
import json, os, sys, time
known = "counted" in sys.modules
import counted
attempt = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
facts = [known, counted.THREADS, os.environ["RANK"], sys.argv[1:], __name__, os.environ["MASTER_PORT"]]
print(json.dumps(facts), flush=True)
os.mkdir(f"told-{attempt}-{os.environ['RANK']}")
while not all(os.path.exists(f"told-{attempt}-{rank}") for rank in (0, 1)):
    time.sleep(0.01)  # who leaves has the other stopped
sys.exit(3 if attempt < 2 else 0)
"""


def told(here: Any, attempt: int, rank: int) -> list[Any]:
    loading, facts = (
        (here.runs / "latest")
        .joinpath(f"attempt_{attempt}/{rank}/stdout.log")
        .read_text()
        .splitlines()
    )
    assert loading == "loading"
    result: list[Any] = json.loads(facts)
    return result


def test_the_server_is_warm_at_every_attempt(here: Any) -> None:
    here.file("counted.py", COUNTED)
    here.file("tells.py", TELLS)
    ended = here.run(
        "-n", "2", "--max-restarts", "2", "--preload", "json, counted", "tells.py", "--lr", "1"
    )
    assert (ended.code, ended.err.count("attempt")) == (0, 2), ended.err
    assert len((here.directory / "imports").read_text().splitlines()) == 1
    facts = [[told(ended, attempt, rank) for rank in (0, 1)] for attempt in range(3)]
    for both in facts:
        for rank in (0, 1):
            # OMP_NUM_THREADS is 1 where there are several workers: also when the library is imported
            assert both[rank][:5] == [True, "1", str(rank), ["--lr", "1"], "__main__"]
        assert both[0][5] == both[1][5]


def test_a_script_finds_the_variables_that_an_import_has_set(here: Any) -> None:
    here.file("sets.py", "import os\nos.environ['SET'] = 'by an import'\n")
    here.file("s.py", "import os, sets\nprint(os.environ['SET'])\n")
    ended = here.run("--preload", "sets", "s.py")
    assert ended.out == "[default0]:by an import\n"


def test_a_failure_is_reported_as_of_any_script(here: Any) -> None:
    here.file("fails.py", "import json\ndef f():\n    1 / 0\nf()\n")
    tracebacks = []
    for words in ([], ["--preload", "json"]):
        ended = here.run(*words, "fails.py")
        assert ended.code == 1
        error = json.loads((ended.logs(0) / "error.json").read_text())["message"]
        tracebacks.append(error["extraInfo"]["py_callstack"])
        assert tracebacks[-1] == (ended.logs(0) / "stderr.log").read_text()
    assert tracebacks[0] == tracebacks[1]
    assert "ZeroDivisionError" in tracebacks[1]


@pytest.mark.parametrize(
    ("words", "argv"), [(["-m", "mod"], "mod.py"), (["--run-path", "mod.py"], "mod.py")]
)
def test_modules_and_functions(here: Any, words: list[str], argv: str) -> None:
    here.file("counted.py", COUNTED)
    here.file(
        "mod.py", "import sys, os\nprint('counted' in sys.modules, os.path.basename(sys.argv[0]))\n"
    )
    ended = here.run("-n", "2", "--preload", "counted", *words)
    assert ended.code == 0, ended.err
    for rank in (0, 1):
        assert (ended.logs(rank) / "stdout.log").read_text() == f"loading\nTrue {argv}\n"
    assert len((here.directory / "imports").read_text().splitlines()) == 1


def test_the_terminal_of_a_single_worker_is_its_own(here: Any) -> None:
    here.file("asks.py", "print(input())\n")
    process = here.start("--preload", "json", "asks.py", stdin=-1)
    out, _ = process.communicate("an answer\n", timeout=40)
    assert out == "[default0]:an answer\n"


ENDLESS = """\
import os, signal
with open(os.environ["TOLD"], "w") as told:
    told.write("importing\\n")
signal.pause()
"""


@pytest.mark.parametrize("kind", [[], ["--spares", "1"]])
@pytest.mark.parametrize("hosts", [1, 2])
def test_a_signal_ends_a_start_whose_imports_have_no_end(
    here: Any, kind: list[str], hosts: int
) -> None:
    """None of it is left where no worker has been started: no directory of a run either."""
    meet = ("--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{own_ports(1)[0]}")
    nodes = ["--nnodes", "1:2", *meet, "--rdzv-conf", "is_host=1,last_call_timeout=0"]
    words = [*(nodes if hosts > 1 else []), "--preload", "endless", *kind, "s.py"]
    here.file("endless.py", ENDLESS)
    here.file("s.py", "")
    with RollCall() as roll:
        process = here.start(*words, environ={"TOLD": roll.path})
        assert roll.lines(1) == ["importing"]
    process.send_signal(signal.SIGTERM)
    ended = here.end(process)
    assert ended.code == 143, ended.err
    assert ended.err.splitlines()[-1] == "procession: SIGTERM ended the run"
    assert hosts > 1 or not ended.runs.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--preload", "jsno", "s.py"], "'jsno' cannot be preloaded: there is no module of that name"),
        (["--preload", "a-b", "s.py"], "--preload a-b: 'a-b' is no module's name"),
        (["--preload", "json", "--no-python", "/bin/true"], "/bin/true is a program"),
        (["--preload", "json", "/bin/true"], "/bin/true is a program"),
        (["--preload", "json", "--run-path", "--start-method", "spawn", "s.py"],
         "--start-method spawn and --preload exclude each other"),
    ],
)  # fmt: skip
def test_what_cannot_be_preloaded(here: Any, words: list[str], said: str) -> None:
    here.file("s.py", "")
    ended = here.run(*words)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    assert "Traceback" not in ended.err
    assert not list(ended.runs.glob("*")) if ended.runs.exists() else True


@pytest.mark.parametrize("kind", [[], ["--spares", "1"]])
def test_modules_are_preloaded_by_the_workers_python(here: Any, kind: list[str]) -> None:
    """PYTHON_EXEC names it; it need not have procession."""
    venv = here.directory / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    here.file("counted.py", COUNTED)
    here.file("s.py", "import sys\nprint(sys.prefix, 'counted' in sys.modules)\nsys.exit(3)\n")
    environ = {"PYTHON_EXEC": str(venv / "bin" / "python"), "PYTHONPATH": str(here.directory)}
    launcher = [sys.executable, "-c", f"import sys\nsys.path.insert(0, {SOURCE!r})\n{COMMAND}"]
    words = ["run", "--max-restarts", "1", "--preload", "counted", *kind, "s.py"]
    ended = here.end(here.start_argv([*launcher, *words], environ=environ))
    assert ended.code == 3, ended.err
    for attempt in (0, 1):
        assert (ended.logs(0, attempt) / "stdout.log").read_text() == f"loading\n{venv} True\n"


def test_a_workers_python_that_is_none_is_named(here: Any) -> None:
    here.file("s.py", "")
    ended = here.run("--preload", "json", "s.py", environ={"PYTHON_EXEC": "/bin/sh"})
    assert ended.code == 2
    assert "/bin/sh could not be a fork server: exit status 2" in ended.err


def test_what_a_fork_would_break_is_said_once(here: Any) -> None:
    here.file(
        "threaded.py",
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(1000,), name='meter', daemon=True).start()\n",
    )
    here.file("s.py", "import sys\nprint('threaded' in sys.modules)\nsys.exit(1)\n")
    ended = here.run("-n", "2", "--max-restarts", "1", "--preload", "threaded", "s.py")
    assert ended.err.count("the import of 'threaded' has left the thread 'meter'") == 1
    said = {(ended.logs(rank) / "stdout.log").read_text() for rank in (0, 1)}
    assert "False\n" in said  # the other may have been stopped before it could say anything
    assert said <= {"False\n", ""}


def test_explain_shows_the_server(here: Any) -> None:
    here.file("s.py", "")
    said = here.run("--explain", "-n", "2", "--preload", "json,csv", "s.py").out
    assert "imports json, csv once" in said
    assert "forked" in said
    assert "fork" not in here.run("--explain", "-n", "2", "s.py").out


def test_spares_are_warm_when_the_gang_starts_again(here: Any) -> None:
    here.file(
        "counted.py",
        COUNTED + "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\n",
    )
    here.file(
        "tells.py",
        TELLS.replace("sys.exit", "wait()\nos._exit").replace(
            "import counted\n",
            "import counted, time\n"
            "def wait():  # until the next spares have imported\n"
            "    while len(open('imports').readlines()) < 2 * (attempt + 2): time.sleep(0.01)\n",
        ),
    )
    ended = here.run(
        "-n", "2", "--max-restarts", "2", "--preload", "counted", "--spares", "2", "tells.py"
    )
    assert ended.code == 0, ended.err
    for attempt in range(3):
        for rank in (0, 1):
            assert told(ended, attempt, rank)[:4] == [True, "1", str(rank), []]
    assert "would break" not in ended.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--spares", "2"],
            "--spares 2: spares wait with modules imported. Name these by --preload",
        ),
        (["--spares", "-1", "--preload", "json"], "--spares -1: give a number of interpreters"),
    ],
)
def test_spares_that_cannot_be(here: Any, words: list[str], said: str) -> None:
    here.file("s.py", "")
    ended = here.run(*words, "s.py")
    assert (ended.code, said in ended.err) == (2, True)
