"""What cannot be run: the exact words, the exit status, and that nothing was started or made."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

USAGE = "\nAll options: procession run --help\n"
NPROC = "give a number from 1 up, or one of cpu, gpu, xpu, auto."
GRAMMAR = (
    "give one value for every local rank (0 none, 1 stdout, 2 stderr, 3 both), or "
    "RANKS:VALUE[,RANKS:VALUE...] where RANKS is a local rank or a range of them, such as 3 or "
    "0:1,10:3 or 0-3:3,4-7:2."
)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["tran.py"], 2, "tran.py: no such script in {here}. Did you mean train.py?\n"),
        (["--nproc-per-node", "0", "train.py"], 2, f"--nproc-per-node 0: {NPROC}\n"),
        (["--nproc-per-node", "-1", "train.py"], 2, f"--nproc-per-node -1: {NPROC}\n"),
        (
            ["--log-dir", "/dev/null", "--duplicate-stderr-filters", "x", "train.py"],
            2,
            "--duplicate-stderr-filters: with --log-dir /dev/null no files are kept, so there is "
            "none to copy lines to. Leave one of the two out.\n",
        ),
        (
            ["--nproc-per-node", "9999999", "train.py"],
            2,
            "--nproc-per-node 9999999: no host can have more than 4194304 processes.\n",
        ),
        (["--nproc-per-node=x", "train.py"], 2, f"--nproc-per-node x: {NPROC}\n"),
        (
            ["--nporc", "2", "train.py"],
            2,
            "unknown option --nporc. Did you mean --nproc-per-node? "
            f"Options of the script go after SCRIPT.{USAGE}",
        ),
        ([], 2, f"no SCRIPT was given. For example: procession run -n 4 train.py{USAGE}"),
        (
            ["-t", "5", "train.py"],
            2,
            f"--tee 5: '5' is neither a value nor RANKS:VALUE: {GRAMMAR}\n",
        ),
        (
            ["-r", "0:3,1", "train.py"],
            2,
            f"--redirects 0:3,1: '1' (in '0:3,1') is neither a value nor RANKS:VALUE: {GRAMMAR}\n",
        ),
        (
            ["-t", "3-1:3", "train.py"],
            2,
            f"--tee 3-1:3: '3-1:3' is a range that ends before it begins: {GRAMMAR}\n",
        ),
        (
            ["--log-dir", "train.py", "train.py"],
            2,
            "--log-dir {here}/train.py: is a file. Give a directory that can be written to.\n",
        ),
        (
            ["--log-dir", "/proc/self/logs", "train.py"],
            2,
            "--log-dir /proc/self/logs: No such file or directory (/proc/self/logs). "
            "Give a directory that can be written to.\n",
        ),
        (
            ["--no-python", "./plain.sh"],
            126,
            "./plain.sh is not executable. To make it so: chmod +x ./plain.sh\n",
        ),
        (
            ["--no-python", "./train.py"],
            126,
            "./train.py is not executable. Leave out --no-python, or: chmod +x ./train.py\n",
        ),
        (["--no-python", "no-tool"], 127, "no-tool: no such program. It is not on PATH.\n"),
        (
            ["--no-python", "./lost"],
            127,
            "Local rank 0 could not be started: ./lost: No such file or directory. "
            "It is there, but its interpreter is not: /no/such/shell\n",
        ),
        (
            ["--no-python", "./nothing"],
            126,
            "Local rank 0 could not be started: ./nothing: Exec format error. "
            "Does its first line lack an interpreter, such as #!/bin/sh?\n",
        ),
        (
            ["--nnodes", "2", "train.py"],
            2,
            "--nnodes 2: say where the hosts meet, the same on all: --rdzv-backend c10d --rdzv-endpoint "
            "HOST:29400, where HOST is one of them; or --master-addr HOST --master-port PORT and each "
            "host's --node-rank, HOST being that of 0; or --rdzv-backend etcd --rdzv-endpoint HOST:2379 "
            "--rdzv-id NAME.\n",
        ),
        (
            ["--signals-to-handle", "SIGTREM", "train.py"],
            2,
            "--signals-to-handle SIGTREM: there is no signal SIGTREM. Did you mean SIGTERM?\n",
        ),
        (
            ["--logs-specs", "no-such", "train.py"],
            2,
            "--logs-specs no-such: the group torchrun.logs_specs has default alone.\n",
        ),
        (
            ["--numa-binding", "node", "train.py"],
            2,
            "--numa-binding node: binding workers to CPUs comes later. Leave it out, or let numactl "
            "bind them: procession run --no-python numactl --cpunodebind=0 python SCRIPT\n",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_run(words: list[str], code: int, message: str, here: Any) -> None:
    here.file("train.py", "open('started', 'w')")
    here.file("plain.sh", "#!/bin/sh\n")
    here.file("lost", "#!/no/such/shell\n", 0o755)
    here.file("nothing", "echo\n", 0o755)
    before = sorted(os.listdir(here.directory))
    ended = here.run(*words)
    prefix = "procession run: " if message.endswith(USAGE) else "procession: "
    assert ended.err == prefix + message.replace("{here}", str(here.directory))
    assert (ended.code, ended.out) == (code, "")
    assert sorted(os.listdir(here.directory)) == before


def test_a_variable_that_cannot_be(here: Any) -> None:
    here.file("train.py", "")
    ended = here.run("train.py", environ={"PET_MAX_RESTARTS": "many"})
    assert (ended.code, ended.err) == (
        2,
        "procession: PET_MAX_RESTARTS='many' in the environment cannot be read as int.\n",
    )


def test_one_rank_of_many_whose_program_is_missing(here: Any) -> None:
    for rank in {*range(8)} - {5}:
        here.file(f"job{rank}", "#!/bin/sh\nsleep 60\n", 0o755)
    ended = here.run("-n", "8", "--no-python", "sh", "-c", "exec ./job${local_rank}")
    assert ended.code == 127
    assert [each["rank"] for each in ended.report["failures"]] == [5]
    assert sorted(each["rank"] for each in ended.report["stopped"]) == [0, 1, 2, 3, 4, 6, 7]


def test_a_worker_that_cannot_be_started(here: Any) -> None:
    role = "x" * 131_062  # "ROLE_NAME=" makes it one byte more than execve(2) takes in a string
    ended = here.run("-n", "4", "--role", role, "--no-python", "sh", "-c", "sleep 60")
    assert ended.code == 71
    assert ended.err == (
        "procession: Local rank 0 could not be started: sh: Argument list too long "
        "(its arguments and environment are too long together). No worker is left running.\n"
    )
    assert os.listdir(here.directory) == []


def test_too_few_fds_for_all_workers(here: Any) -> None:
    def few_fds() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    ended = here.run("-n", "100", "/bin/sleep", "60", preexec_fn=few_fds)
    assert ended.code == 71
    assert re.fullmatch(
        r"procession: (Local rank \d+|The run) could not be started: \S+: Too many open files "
        r"\(too many open files; raise the limit by ulimit -n\)\. No worker is left running\.\n",
        ended.err,
    )
    assert os.listdir(here.directory) == []


def test_hardly_enough_fds(here: Any) -> None:
    """With one more each time, from too few to enough: what the files need to be shown comes last."""
    shown = False
    for limit in range(15, 40):
        given, before = (limit, limit), sorted(here.directory.rglob("*"))
        ended = here.run(
            *("-n", "2", "--no-python", "echo", "hello"),
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, given),  # noqa: B023
        )
        assert "Traceback" not in ended.err
        if ended.code == 0:
            shown = sorted(ended.out.splitlines()) == ["[default0]:hello", "[default1]:hello"]
            assert shown or " cannot be shown: Too many open files\n" in ended.err
        else:
            assert ended.code == 71
            assert "(too many open files; raise the limit by ulimit -n)" in ended.err
            assert sorted(here.directory.rglob("*")) == before
        if shown:
            break
    assert shown


def test_a_log_directory_that_is_read_only(here: Any) -> None:
    place = here.directory / "frozen"
    place.mkdir()
    with frozen(place):
        here.file("s.py", "pass")
        ended = here.run("--log-dir", "frozen", "s.py")
        assert (ended.code, ended.err) == (
            2,
            f"procession: --log-dir {place}: cannot be written to. "
            "Give a directory that can be written to.\n",
        )
        ended = here.run("--log-dir", "frozen/logs", "s.py")
        assert ended.code == 2
        assert ended.err.startswith(f"procession: --log-dir {place}/logs: ")
        assert os.listdir(place) == []


def test_a_current_directory_that_is_read_only(here: Any) -> None:
    script = here.file("s.py", "print('ran')")
    place = here.directory / "frozen"
    place.mkdir()
    with frozen(place):
        ended = here.run(str(script), cwd=place)
    there = here.directory.parent / f"procession-runs-{os.getuid()}"
    assert (ended.code, ended.out) == (0, "[default0]:ran\n")
    assert ended.err.startswith(f"procession: {place}/procession-runs: ")
    assert ended.err.endswith(f"; logs go to {there}\n")
    assert (there / "latest" / "attempt_0" / "0" / "stdout.log").read_text() == "ran\n"


class frozen:
    """Makes a directory read-only, for root too: by a mount, if nothing else holds root back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.mounted = False

    def __enter__(self) -> None:
        self.path.chmod(0o555)
        if os.access(self.path, os.W_OK):
            mount = ["mount", "-t", "tmpfs", "-o", "ro,size=4k", "tmpfs", str(self.path)]
            done = subprocess.run(mount, capture_output=True, check=False)
            if done.returncode != 0:
                pytest.skip("root writes everywhere, and may not mount")
            self.mounted = True

    def __exit__(self, *_: object) -> None:
        if self.mounted:
            subprocess.run(["umount", "--lazy", str(self.path)], check=True)
        self.path.chmod(0o755)


def test_an_error_of_our_own_is_told_from_the_users(here: Any) -> None:
    here.file(
        "broken.py",
        "import sys\n"
        "import procession.cli.run.execute as execute\n"
        "def fail(*_): raise ZeroDivisionError('oops')\n"
        "execute.free_port = fail\n"
        "from procession.cli.main import main\n"
        "sys.exit(main(['run', 's.py']))\n",
    )
    here.file("s.py", "pass")
    before = sorted(os.listdir(here.directory))
    done = subprocess.run(
        [sys.executable, "broken.py"],
        cwd=here.directory,
        env=here.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (70, "")
    first, second = done.stderr.splitlines()
    assert first == (
        "procession: an error of procession's own, not of your program: ZeroDivisionError: oops"
    )
    kept = Path(second.rpartition(" ")[2])
    assert second == f"Please report it to procession's issue tracker, with {kept}"
    assert "in free_port" not in second
    assert "ZeroDivisionError: oops" in kept.read_text()
    assert here.left() == []
    assert sorted(os.listdir(here.directory)) == before
