"""``procession run`` from start to end: output, files, exit status, report."""

from __future__ import annotations

import json
import os
import re
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

ENVIRONMENT = """\
import json, os, sys
names = sys.argv[1:] or sorted(os.environ)
with open(f"env{os.environ['RANK']}", "w") as file:
    json.dump({name: os.environ.get(name) for name in names}, file)
"""


def shown_by_ls(directory: Path) -> list[str]:
    """What is in a directory but for the index of each stream."""
    return sorted(name for name in os.listdir(directory) if not name.startswith("."))


def test_success(here: Any) -> None:
    ended = here.script(
        'import os, sys; r = os.environ["RANK"]; print("out", r); print("err", r, file=sys.stderr)',
        *("-n", "3"),
    )
    assert ended.code == 0
    assert sorted(ended.out.splitlines()) == [f"[default{r}]:out {r}" for r in range(3)]
    assert sorted(ended.err.splitlines()) == [f"[default{r}]:err {r}" for r in range(3)]
    for rank in range(3):
        assert (ended.logs(rank) / "stdout.log").read_text() == f"out {rank}\n"
        assert (ended.logs(rank) / "stderr.log").read_text() == f"err {rank}\n"
        assert shown_by_ls(ended.logs(rank)) == ["stderr.log", "stdout.log"]
    assert (ended.runs / ".gitignore").read_text() == "*\n"
    report = ended.report
    assert (report["state"], report["exit_code"], report["failures"]) == ("ended", 0, [])


def test_the_environment_of_workers(here: Any) -> None:
    ended = here.script(ENVIRONMENT, "-n", "2", "--role", "actor", "--max-restarts", "1")
    assert ended.code == 0
    first, second = (json.loads((here.directory / f"env{r}").read_text()) for r in (0, 1))
    added = {name: value for name, value in first.items() if here.environ.get(name) != value}
    port = int(added.pop("MASTER_PORT"))
    run_id = added.pop("TORCHELASTIC_RUN_ID")
    run = ended.runs / "latest"
    assert re.fullmatch(rf"{run_id}_\w{{8}}", os.readlink(run))
    assert 1024 <= port <= 65535
    assert re.fullmatch(r"[0-9a-f-]{36}", added.pop("PROCESSION_RUN_ID"))
    assert added.pop("TORCHELASTIC_ERROR_FILE") == str(run.resolve() / "attempt_0/0/error.json")
    assert added.pop("PROCESSION_STOP_FILE") == str(run.resolve() / "stop")
    added.pop("LC_CTYPE", None)  # Python's own, in the C locale
    assert added == {
        "RANK": "0",
        "LOCAL_RANK": "0",
        "ROLE_RANK": "0",
        "GROUP_RANK": "0",
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "ROLE_WORLD_SIZE": "2",
        "GROUP_WORLD_SIZE": "1",
        "ROLE_NAME": "actor",
        "MASTER_ADDR": "127.0.0.1",
        "TORCHELASTIC_RESTART_COUNT": "0",
        "TORCHELASTIC_MAX_RESTARTS": "1",
        "TORCHELASTIC_USE_AGENT_STORE": "False",
        "TORCHELASTIC_SIGNALS_TO_HANDLE": "SIGTERM,SIGINT,SIGHUP,SIGQUIT",
        "TORCH_NCCL_ASYNC_ERROR_HANDLING": "1",
        "OMP_NUM_THREADS": "1",
    }
    differing = {name for name in first if first[name] != second[name]}
    assert differing == {"RANK", "LOCAL_RANK", "ROLE_RANK", "TORCHELASTIC_ERROR_FILE"}


@pytest.mark.parametrize(
    ("how", "code", "exitcode"),
    [
        ("sys.exit(42)", 42, 42),
        ("os._exit(255)", 255, 255),
        ("raise ValueError('bad data')", 1, 1),
        ("os.kill(os.getpid(), signal.SIGKILL)", 137, -9),
        ("os.kill(os.getpid(), signal.SIGSEGV)", 139, -11),
        ("os.kill(os.getpid(), signal.SIGTERM)", 143, -15),
    ],
)
def test_the_status_is_the_root_causes(how: str, code: int, exitcode: int, here: Any) -> None:
    ended = here.script(
        "import os, resource, signal, sys\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
        f"if os.environ['RANK'] == '1': {how}\n"
        "signal.pause()\n",
        *("-n", "2"),
    )
    assert ended.code == code
    report = ended.report
    assert (report["origin"], report["exit_code"], report["name"]) == ("worker", code, "s.py")
    assert [(each["rank"], each["exitcode"]) for each in report["failures"]] == [(1, exitcode)]
    assert [(each["rank"], each["exitcode"]) for each in report["stopped"]] == [(0, -15)]
    assert report["root_cause"] == report["failures"][0]


def test_an_exception_is_in_the_report_which_comes_last(here: Any) -> None:
    ended = here.script(
        "import os, sys\ndef load(path): raise ValueError('no data in ' + path)\nload('/x')\n",
        *("-n", "1"),
    )
    assert ended.code == 1
    assert ended.report["root_cause"]["error"]["message"] == "ValueError: no data in /x"
    told = json.loads((ended.logs(0) / "error.json").read_text())
    assert "ValueError: no data in /x" in json.dumps(told)
    last = ended.err.splitlines()[-5:]
    assert "ValueError: no data in /x" in "\n".join(last)
    assert "s.py FAILED" in ended.err
    assert "procession/" not in ended.err.replace("procession-runs/", "")  # no frame of ours


def test_restarts(here: Any) -> None:
    ended = here.script(
        "import os, sys\n"
        "attempt = os.environ['TORCHELASTIC_RESTART_COUNT']\n"
        "print(attempt, os.environ['MASTER_PORT'])\n"
        "sys.exit(3 if attempt < '2' and os.environ['RANK'] == '1' else 0)\n",
        *("-n", "2", "--max-restarts", "3"),
    )
    assert ended.code == 0
    assert ended.err.splitlines() == [
        "procession: attempt 2 of 4: rank 1 failed (exit code 3); restarting",
        "procession: attempt 3 of 4: rank 1 failed (exit code 3); restarting",
    ]
    said = {line.partition("]:")[2] for line in ended.out.splitlines()}
    assert sorted(line.split()[0] for line in said) == ["0", "1", "2"]
    assert len({line.split()[1] for line in said}) == 3
    report = ended.report
    assert (report["exit_code"], report["attempt"]) == (0, 2)
    assert [each["attempt"] for each in report["earlier_attempts"]] == [0, 1]
    assert [each["root_cause"]["rank"] for each in report["earlier_attempts"]] == [1, 1]
    assert sorted(os.listdir(ended.runs / "latest")) == [
        *("attempt_0", "attempt_1", "attempt_2", "events.jsonl", "report.json")
    ]


def test_restarts_come_to_an_end(here: Any) -> None:
    ended = here.script("import sys; sys.exit(7)", "-n", "1", "--max-restarts", "1")
    assert ended.code == 7
    assert "attempt 2 of 2: " in ended.err
    assert ended.err.count("FAILED") == 1
    assert ended.report["attempt"] == 1


def test_a_port_that_was_given_stays(here: Any) -> None:
    ended = here.script(
        "import os, sys\n"
        "print(os.environ['MASTER_ADDR'], os.environ['MASTER_PORT'])\n"
        "sys.exit(os.environ['TORCHELASTIC_RESTART_COUNT'] == '0')\n",
        *("--max-restarts", "1", "--master-port", "23456", "--master-addr", "localhost"),
    )
    assert ended.out.splitlines() == ["[default0]:localhost 23456"] * 2


def test_all_output_is_shown_and_kept(here: Any) -> None:
    ended = here.script(
        "import os\n"
        "for i in range(20000): print(os.environ['RANK'], i)\n"
        "print('no newline at the end', end='')\n",
        *("-n", "2"),
    )
    expected = [str(i) for i in range(20000)]
    for rank in ("0", "1"):
        shown = [line for line in ended.out.splitlines() if line.startswith(f"[default{rank}]:")]
        assert [line.split(" ")[-1] for line in shown[:-1]] == expected
        assert shown[-1] == f"[default{rank}]:no newline at the end"
        text = (ended.logs(int(rank)) / "stdout.log").read_text()
        assert text == "".join(f"{rank} {i}\n" for i in expected) + "no newline at the end"


@pytest.mark.parametrize(
    ("words", "shown", "kept"),
    [
        (("-r", "3"), [], ["stderr.log", "stdout.log"]),
        (("-r", "0"), ["a", "b"], []),
        (("-t", "1"), ["[default0]:a", "b"], ["stdout.log"]),
        (("-t", "3", "--local-ranks-filter", "1"), [], ["stderr.log", "stdout.log"]),
        (("--log-dir", "/dev/null"), ["a", "b"], None),
    ],
)
def test_where_output_goes(
    words: tuple[str, ...], shown: list[str], kept: list[str] | None, here: Any
) -> None:
    ended = here.script("import sys; print('a'); print('b', file=sys.stderr)", *words)
    assert ended.code == 0
    assert [*ended.out.splitlines(), *ended.err.splitlines()] == shown
    if kept is None:
        assert sorted(os.listdir(here.directory)) == ["s.py"]
    else:
        assert shown_by_ls(ended.logs(0)) == kept


def test_prefixes_and_filters(here: Any) -> None:
    ended = here.script(
        "print('loss 1'); print('step 1')",
        *("--duplicate-stdout-filters", "loss", "--role", "t"),
        environ={"TORCHELASTIC_LOG_LINE_PREFIX_TEMPLATE": "<${role_name}:${rank}> "},
    )
    assert ended.out == "<t:0> loss 1\n<t:0> step 1\n"
    filtered = ended.runs / "latest" / "attempt_0" / "filtered_stdout.log"
    assert filtered.read_text() == "<t:0> loss 1\n"


def test_what_the_console_does_not_show_is_filtered_too(here: Any) -> None:
    words = ("-n", "3", "--console", "1", "--duplicate-stdout-filters", "loss")
    ended = here.script("print('loss'); print('step')", *words)
    assert ended.out == "[default1]:loss\n[default1]:step\n"
    filtered = ended.runs / "latest" / "attempt_0" / "filtered_stdout.log"
    lines = [f"[default{rank}]:loss" for rank in range(3)]
    assert sorted(filtered.read_text().splitlines()) == lines


def test_a_log_directory_that_was_asked_for(here: Any) -> None:
    here.file("s.py", "pass")
    for number, (words, environ) in enumerate(
        [
            (("--log-dir", "a/b"), {}),
            ((), {"PROCESSION_LOG_DIR": "a/b"}),
            ((), {"PET_LOG_DIR": "a/b", "PROCESSION_LOG_DIR": "c"}),
        ]
    ):
        assert here.run(*words, "--rdzv-id", "job", "s.py", environ=environ).code == 0
        runs = [path.name for path in (here.directory / "a" / "b").glob("job_*")]
        assert len(runs) == number + 1
    assert sorted(os.listdir(here.directory)) == ["a", "s.py"]
    assert not (here.directory / "a" / "b" / ".gitignore").exists()


def test_old_runs_are_removed_if_asked(here: Any) -> None:
    here.file("s.py", "pass")
    for _ in range(4):
        ended = here.run("--keep-runs", "2", "s.py")
    assert len([path for path in ended.runs.iterdir() if path.is_dir()]) == 3  # 2 and `latest`


def test_a_module(here: Any) -> None:
    (here.directory / "pkg").mkdir()
    here.file("pkg/__init__.py", "")
    here.file("pkg/job.py", "import sys; print(__spec__.name, __name__, sys.argv[1:])")
    ended = here.run("-m", "pkg.job", "-m", "x")
    assert (ended.code, ended.out) == (0, "[default0]:pkg.job __main__ ['-m', 'x']\n")
    ended = here.run("-m", "no.such")
    assert ended.code == 1
    assert "No module named" in ended.err


def test_a_program(here: Any) -> None:
    here.file("job", '#!/bin/sh\necho "$RANK $@"; exit 5\n', 0o755)
    ended = here.run("--no-python", "./job", "a b", "${local_rank}")
    assert (ended.code, ended.out) == (5, "[default0]:0 a b 0\n")
    ended = here.run("--no-python", "sh", "-c", "echo $0 $PPID; kill -9 $$", "me")
    assert ended.code == 137
    assert here.run("/bin/true").code == 0  # an ELF program cannot be meant for Python
    assert here.run("/bin/false").code == 1


def test_run_path(here: Any) -> None:
    for method in ("spawn", "fork", "forkserver"):
        ended = here.script(
            "import sys; print(__name__, sys.argv); sys.exit(len(sys.argv) - 1)",
            *("--run-path", "--start-method", method),
            name="job.py",
        )
        assert (ended.code, ended.out) == (0, "[default0]:__main__ ['job.py']\n"), ended.err
    ended = here.run("--run-path", "job.py", "x", "y")
    assert ended.code == 2


def test_explain_starts_and_makes_nothing(here: Any) -> None:
    here.file("s.py", "open('started', 'w')")
    ended = here.run("--explain", "-n", "2", "--log-dir", "logs", "s.py", "--lr", "1")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("Nothing is started. A run would be:\n")
    assert f"{here.directory}/logs/" in ended.out
    assert "s.py --lr 1\n" in ended.out
    assert os.listdir(here.directory) == ["s.py"]


def test_standard_input_is_the_launchers(here: Any) -> None:
    with open(here.file("in", "from the terminal\n")) as stdin:
        ended = here.script("print(input())", "-n", "1", stdin=stdin)
    assert (ended.code, ended.out) == (0, "[default0]:from the terminal\n")


def test_a_run_within_a_run_hands_its_cause_on(here: Any) -> None:
    here.file("inner.py", "raise KeyError('deep')")
    inner = (sys.executable, "-m", "procession", "run", "--log-dir", "inner", "inner.py")
    ended = here.run("--no-python", *inner)
    assert ended.code == 1
    error = ended.report["root_cause"]["error"]
    assert (error["exception_type"], error["message"]) == ("KeyError", "KeyError: 'deep'")


def test_as_a_library(here: Any) -> None:
    here.file("inner.py", "import sys; sys.exit(int(sys.argv[1]))")
    ended = here.script(
        "from procession.multiprocessing.errors import ChildFailedError\n"
        "from procession.run import get_args_parser, parse_args, run\n"
        "print(run(parse_args(['-r', '3', 'inner.py', '0'])))\n"
        "try: run(get_args_parser().parse_args(['-r', '3', 'inner.py', '4']))\n"
        "except ChildFailedError as error: print(error.name, error.get_first_failure()[1].exitcode)\n"
        "try: run(parse_args(['--nnodes', '2', 'inner.py']))\n"
        "except ValueError as error: print(error)\n",
        name="outer.py",
    )
    said = [line.partition("]:")[2] for line in ended.out.splitlines()]
    assert said[:2] == ["None", "inner.py 4"]
    assert said[2].startswith("--nnodes 2: say where the hosts meet, the same on all:")


def test_a_reader_that_leaves_ends_the_view_only(here: Any) -> None:
    here.file("s.py", "for i in range(100000): print(i)\nopen('done', 'w')")
    process = here.start("s.py")
    assert process.stdout.readline() == "[default0]:0\n"
    process.stdout.close()
    assert process.wait(timeout=30) == 0
    assert (here.directory / "done").exists()
    process.stderr.close()


def test_the_run_is_private_and_its_fds_are_closed(here: Any) -> None:
    ended = here.script("import os; print(sorted(os.listdir('/proc/self/fd'), key=int)[:3])")
    assert stat.S_IMODE((ended.runs / "latest").resolve().stat().st_mode) == 0o700
    held = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    assert str(ended.runs) not in held
