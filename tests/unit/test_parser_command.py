"""What each worker executes, and what is said of a SCRIPT that cannot be started."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from procession.cli.plan.command import Command, find_command
from procession.errors import ProgramNotExecutableError, ProgramNotFoundError, UsageError
from procession.run import parse_args, run_script_path

BOOTSTRAP = str(
    Path(sys.modules[Command.__module__].__file__ or "").parents[2] / "_worker/script.py"
)
PYTHON = (sys.executable, BOOTSTRAP)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with files of many kinds in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text("print()\n")
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    (tmp_path / "tool").chmod(0o755)
    (tmp_path / "plain.sh").write_text("#!/bin/sh\n")
    (tmp_path / "prog.elf").write_bytes(b"\x7fELF")
    (tmp_path / "prog.elf").chmod(0o755)
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__main__.py").write_text("")
    (tmp_path / "lib").mkdir()
    os.mkfifo(tmp_path / "fifo.py")
    return tmp_path


def command(*words: str, path: str = "/usr/bin:/bin", **environ: str) -> tuple[object, ...]:
    found = find_command(parse_args(list(words)), {"PATH": path, **environ})
    return found.entrypoint, *found.words


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("train.py", "--lr", "1"), (*PYTHON, "train.py", "--lr", "1")),
        (("app", "x"), (*PYTHON, "app", "x")),
        (("tool",), (*PYTHON, "tool")),
        (("fifo.py",), (*PYTHON, "fifo.py")),
        (("-m", "pkg.mod", "x"), (*PYTHON, "-m", "pkg.mod", "x")),
        (("-m", "no.such"), (*PYTHON, "-m", "no.such")),
        (("/bin/true", "x"), ("/bin/true", "x")),
        (("prog.elf",), ("./prog.elf",)),
        (("--no-python", "./tool", "x"), ("./tool", "x")),
        (("--no-python", "sh", "-c", "x"), ("sh", "-c", "x")),
        (("--run-path", "train.py", "x"), (run_script_path, "train.py", "x")),
        (("--run-path", "--no-python", "train.py"), (run_script_path, "train.py")),
    ],
)
def test_what_is_executed(words: tuple[str, ...], expected: tuple[object, ...]) -> None:
    assert command(*words) == expected


def test_another_python() -> None:
    assert command("train.py", PYTHON_EXEC="sh")[0] == "sh"
    with pytest.raises(ProgramNotFoundError) as caught:
        command("train.py", PYTHON_EXEC="/no/python")
    assert str(caught.value) == "PYTHON_EXEC in the environment: /no/python: no such program."


def test_a_local_rank_argument_for_the_old_launcher() -> None:
    args = parse_args(["train.py", "x"])
    args.use_env = False
    assert find_command(args, {}).words == (
        BOOTSTRAP,
        "train.py",
        "--local-rank=${local_rank}",
        "x",
    )


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        (("tran.py",), UsageError, "tran.py: no such script in {here}. Did you mean train.py?"),
        (("zzz.py",), UsageError, "zzz.py: no such script in {here}. For a module, add -m."),
        (("app/zzz.py",), UsageError, "app/zzz.py: no such script. For a module, add -m."),
        (("no/zzz.py",), UsageError, "no/zzz.py: no such script. There is no directory no."),
        (
            ("train.py/x",),
            UsageError,
            "train.py/x: no such script. There is no directory train.py.",
        ),
        (("",), UsageError, ": no such script in {here}. For a module, add -m."),
        (
            ("sh", "-c", "x"),
            UsageError,
            "sh: no such script in {here}. sh is a program on PATH: to start it, add --no-python.",
        ),
        (("lib",), UsageError, "lib is a directory without __main__.py. Give a script in it."),
        (
            ("--run-path", "tran.py"),
            UsageError,
            "tran.py: no such script in {here}. Did you mean train.py?",
        ),
        (
            ("--no-python", "-m", "x"),
            UsageError,
            "--no-python and --module exclude each other: a module needs Python.",
        ),
        (
            ("--no-python", "no-such-tool"),
            ProgramNotFoundError,
            "no-such-tool: no such program. It is not on PATH.",
        ),
        (
            ("--no-python", "tool"),
            ProgramNotFoundError,
            "tool: no such program. For the one in this directory: ./tool",
        ),
        (
            ("--no-python", "./too"),
            ProgramNotFoundError,
            "./too: no such program. Did you mean ./tool?",
        ),
        (
            ("--no-python", "./lib"),
            ProgramNotExecutableError,
            "./lib is a directory, not a program.",
        ),
        (
            ("--no-python", "./plain.sh"),
            ProgramNotExecutableError,
            "./plain.sh is not executable. To make it so: chmod +x ./plain.sh",
        ),
        (
            ("--no-python", "./train.py"),
            ProgramNotExecutableError,
            "./train.py is not executable. Leave out --no-python, or: chmod +x ./train.py",
        ),
    ],
)
def test_what_cannot_be_started(
    words: tuple[str, ...], kind: type[UsageError], message: str, here: Path
) -> None:
    with pytest.raises(UsageError) as caught:
        command(*words)
    assert str(caught.value) == message.replace("{here}", str(here))
    assert type(caught.value) is kind


def test_a_file_on_path_that_is_not_executable(here: Path) -> None:
    with pytest.raises(ProgramNotExecutableError) as caught:
        command("--no-python", "plain.sh", path=str(here))
    assert str(caught.value) == (
        f"{here}/plain.sh is not executable. To make it so: chmod +x {here}/plain.sh"
    )


def test_a_script_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> bytes:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(
        "procession.cli.plan.command._first_bytes", refuse
    )  # root may read everything
    with pytest.raises(UsageError) as caught:
        command("train.py")
    assert str(caught.value) == "train.py: Permission denied. Python has to read it: chmod +r."
