"""Where a run's directory is made, who holds it, which are removed, and that nothing is half made."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procession.cli import rundir
from procession.cli.report_file import ReportFile
from procession.cli.rundir import RunDirectory, prune, run_directory, surplus
from procession.errors import UsageError
from procession.multiprocessing.logs_dest import LogsDest
from procession.multiprocessing.logs_specs import DefaultLogsSpecs
from procession.multiprocessing.std import Std


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory that is the current one."""
    directory = tmp_path / "here"
    directory.mkdir()
    monkeypatch.chdir(directory)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    return directory


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def claimed(directory: RunDirectory, run_id: str = "id") -> Path:
    """Make a run's directory as an attempt does."""
    specs = directory.watch(DefaultLogsSpecs(directory.base, tee=Std.ALL))
    specs.reify({0: {"TORCHELASTIC_RUN_ID": run_id, "TORCHELASTIC_RESTART_COUNT": "0"}})
    assert directory.path is not None
    return Path(directory.path)


def test_the_default(here: Path) -> None:
    directory = RunDirectory(None, "4f2a")
    run = claimed(directory)
    assert run.parent == here / "procession-runs"
    assert run.name.startswith("id_")
    assert names_in(run) == [".report.json.room", "attempt_0", "report.json"]
    report = json.loads((run / "report.json").read_text())
    assert report.pop("started_ns") <= time.time_ns()
    assert report == {"state": "running", "pid": os.getpid(), "procession_run_id": "4f2a"}
    assert (here / "procession-runs" / ".gitignore").read_text() == "*\n"
    directory.close()


def test_latest_leads_to_the_last_that_started(here: Path) -> None:
    for run_id in ("a", "b"):
        directory = RunDirectory(None)
        run = claimed(directory, run_id)
        os.symlink("of one who was killed", run.parent / f".latest.{os.getpid()}")
        directory.link_latest()
        directory.close()
        assert (here / "procession-runs" / "latest").resolve() == run
    assert os.readlink(here / "procession-runs" / "latest") == run.name
    assert [path.name for path in run.parent.iterdir() if path.name.startswith(".l")] == []


def test_a_file_named_latest_is_left_alone(here: Path) -> None:
    (here / "latest").write_text("mine")
    directory = RunDirectory(str(here))
    claimed(directory)
    directory.link_latest()
    directory.close()
    assert (here / "latest").read_text() == "mine"


def test_a_start_that_failed_leaves_nothing(here: Path) -> None:
    for asked in (None, "logs/of/today"):
        directory = RunDirectory(asked)
        claimed(directory)
        directory.discard()
        directory.close()
        assert list(here.iterdir()) == []


def test_a_start_that_failed_leaves_what_others_have(here: Path) -> None:
    first = RunDirectory(None)
    second = RunDirectory(None)
    kept = claimed(second)
    claimed(first)
    first.discard()
    assert sorted(path.name for path in kept.parent.iterdir()) == [".gitignore", kept.name]
    first.close()
    second.close()


def test_dev_null_makes_nothing(here: Path) -> None:
    directory = RunDirectory(os.devnull)
    directory.watch(DefaultLogsSpecs(directory.base)).reify({0: {}})
    directory.link_latest()
    directory.write_report({})
    directory.discard()
    directory.close()
    assert directory.path is None
    assert list(here.iterdir()) == []


def test_a_log_directory_that_is_a_file(here: Path) -> None:
    (here / "file").write_text("")
    for asked, reason in {
        "file": "is a file",
        "file/x/y": f"Not a directory ({here}/file/x)",
    }.items():
        with pytest.raises(UsageError) as caught:
            RunDirectory(asked)
        assert str(caught.value) == (
            f"--log-dir {here}/{asked}: {reason}. Give a directory that can be written to."
        )
    assert [path.name for path in here.iterdir()] == ["file"]


def test_a_log_directory_that_cannot_be_made() -> None:
    with pytest.raises(UsageError) as caught:
        RunDirectory("/proc/nowhere/logs")
    assert str(caught.value) == (
        "--log-dir /proc/nowhere/logs: No such file or directory (/proc/nowhere). "
        "Give a directory that can be written to."
    )


def test_a_log_directory_in_which_no_run_can_be_made(here: Path) -> None:
    directory = RunDirectory(str(here))
    specs = DefaultLogsSpecs(str(here))
    directory.base = "/proc/self"  # root may "write" there, but nobody can make a directory
    specs._root_log_dir = directory.base
    with pytest.raises(UsageError, match=r"^--log-dir /proc/self: .*\(/proc/self/id_"):
        directory.watch(specs).reify({0: {"TORCHELASTIC_RUN_ID": "id"}})


def test_a_directory_that_cannot_be_written_to_falls_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.chdir("/proc/self")
    directory = RunDirectory(None)
    expected = tmp_path / f"procession-runs-{os.getuid()}"
    assert directory.base == str(expected)
    here = os.path.realpath("/proc/self")
    assert capsys.readouterr().err == (
        f"procession: {here}/procession-runs: No such file or directory "
        f"({here}/procession-runs); logs go to {expected}\n"
    )
    directory.discard()
    directory.close()
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_has_been_removed_falls_back(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here.rmdir()
    directory = RunDirectory(None)
    assert directory.base == f"{tmp_path}/tmp/procession-runs-{os.getuid()}"
    assert "logs go to" in capsys.readouterr().err
    directory.close()


def test_the_oldest_finished_runs_go(here: Path) -> None:
    live = RunDirectory(None)
    running = claimed(live, "live")
    finished = []
    for number in range(4):
        directory = RunDirectory(None)
        finished.append(claimed(directory, str(number)))
        os.utime(finished[-1] / "report.json", (number, number))
        directory.close()
    (here / "procession-runs" / "notes").mkdir()
    mine = RunDirectory(None)
    own = claimed(mine, "own")
    prune(mine.base, keep=3)
    left = {path.name for path in own.parent.iterdir()} - {".gitignore"}
    assert left == {running.name, own.name, "notes", finished[2].name, finished[3].name}
    prune(mine.base, keep=1)
    left = {path.name for path in own.parent.iterdir()} - {".gitignore"}
    assert left == {running.name, own.name, "notes"}
    live.close()
    mine.close()


@given(st.lists(st.tuples(st.floats(0, 9), st.text()), max_size=9, unique=True), st.integers(0, 9))
def test_surplus(finished: list[tuple[float, str]], keep: int) -> None:
    gone = surplus(finished, keep)
    assert len(finished) - len(gone) == min(keep, len(finished))
    assert gone == [path for _, path in sorted(finished)][: len(gone)]


def test_the_report_is_there_whole_or_not_at_all(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = RunDirectory(None)
    run = claimed(directory)
    directory.write_report({"all": ["of it"]})
    assert json.loads((run / "report.json").read_text()) == {"all": ["of it"]}
    assert names_in(run) == [".report.json.room", "attempt_0", "report.json"]
    (run / "report.json").unlink()
    (run / ".report.json.room").unlink()
    (run / "attempt_0" / "0").rmdir()
    (run / "attempt_0").rmdir()
    run.rmdir()
    directory.write_report({})
    assert capsys.readouterr().err == (
        f"procession: {run}/report.json could not be written: No such file or directory\n"
    )
    directory.close()
    assert here.exists()


def test_the_room_for_the_report_is_given_back(here: Path) -> None:
    directory = RunDirectory(None)
    run = claimed(directory)
    assert (run / ".report.json.room").stat().st_blocks * 512 >= 64 * 1024
    directory.close()
    assert names_in(run) == ["attempt_0", "report.json"]


def test_a_report_that_is_too_long_for_its_room_is_cut(tmp_path: Path) -> None:
    report = ReportFile(str(tmp_path / "report.json"))
    (tmp_path / f"report.json.{os.getpid()}").mkdir()  # in the way of the ordinary write
    long = {"state": "ended", "failures": [{"message": "x" * 9000 + "end"}] * 20}
    report.write(long)
    read = json.loads((tmp_path / "report.json").read_text())
    assert read["failures"] == [{"message": "[...] " + "x" * 397 + "end"}] * 8
    report.close()


@pytest.mark.parametrize(
    ("error_files", "expected"),
    [
        ({0: "/l/id_x/attempt_0/0/error.json"}, "/l/id_x"),
        ({0: "/dev/null"}, None),
        ({0: "/elsewhere/0/error.json"}, None),
        ({}, None),
    ],
)
def test_run_directory(error_files: dict[int, str], expected: str | None) -> None:
    assert run_directory(LogsDest(error_files=error_files)) == expected


def test_a_network_file_system_is_warned_of(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rundir, "network_file_system", lambda path: "nfs4")
    RunDirectory(None).close()
    assert capsys.readouterr().err == (
        f"procession: logs are on a network file system (nfs4), {here}/procession-runs, which may "
        "be slow. For a local one: --log-dir or PROCESSION_LOG_DIR.\n"
    )


@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_a_fallback_that_others_can_write_to_is_passed_over(
    mode: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = tmp_path / "tmp" / f"procession-runs-{os.getuid()}"
    usual.mkdir(parents=True)
    usual.chmod(mode)
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    gone.rmdir()
    directory = RunDirectory(None)
    assert directory.base.startswith(f"{usual}-")
    assert os.stat(directory.base).st_mode & 0o777 == 0o700
