"""Directories and paths of an attempt, and what a user's mistake is told."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procession.multiprocessing.logs_dest import LogsDest
from procession.multiprocessing.logs_specs import DefaultLogsSpecs, LogsSpecs
from procession.multiprocessing.std import Std

NONE, OUT, ERR, ALL = Std.NONE, Std.OUT, Std.ERR, Std.ALL
values = st.sampled_from([NONE, OUT, ERR, ALL])
wishes = values | st.dictionaries(st.integers(0, 3), values)


def envs_of(nprocs: int, run_id: str = "job", attempt: int = 0) -> dict[int, dict[str, str]]:
    env = {"TORCHELASTIC_RUN_ID": run_id, "TORCHELASTIC_RESTART_COUNT": str(attempt)}
    return {rank: dict(env) for rank in range(nprocs)}


def tree(path: str) -> list[str]:
    return sorted(str(found.relative_to(path)) for found in Path(path).rglob("*"))


def test_an_attempt_has_a_directory_for_each_rank(tmp_path: Path) -> None:
    envs = envs_of(2)
    dest = DefaultLogsSpecs(str(tmp_path), redirects=OUT, tee={1: ERR}).reify(envs)
    attempt = os.path.dirname(dest.filtered_stdout)
    assert os.path.basename(attempt) == "attempt_0"
    assert os.path.basename(os.path.dirname(attempt)).startswith("job_")
    assert tree(attempt) == ["0", "1"]
    assert dest == LogsDest(
        stdouts={0: f"{attempt}/0/stdout.log", 1: f"{attempt}/1/stdout.log"},
        stderrs={0: "", 1: f"{attempt}/1/stderr.log"},
        tee_stdouts={},
        tee_stderrs={1: f"{attempt}/1/stderr.log"},
        error_files={0: f"{attempt}/0/error.json", 1: f"{attempt}/1/error.json"},
        filtered_stdout=f"{attempt}/filtered_stdout.log",
        filtered_stderr=f"{attempt}/filtered_stderr.log",
    )
    assert [envs[rank]["TORCHELASTIC_ERROR_FILE"] for rank in envs] == [
        dest.error_files[0],
        dest.error_files[1],
    ]


def test_attempts_share_the_runs_directory_and_a_repeated_one_starts_empty(tmp_path: Path) -> None:
    specs = DefaultLogsSpecs(str(tmp_path), redirects=ALL)
    first = specs.reify(envs_of(1, attempt=0))
    Path(first.stdouts[0]).write_text("old")
    second = specs.reify(envs_of(1, attempt=1))
    assert Path(first.stdouts[0]).read_text() == "old"
    assert Path(first.stdouts[0]).parents[2] == Path(second.stdouts[0]).parents[2]
    again = specs.reify(envs_of(1, attempt=0))
    assert again == first
    assert not os.path.exists(first.stdouts[0])


@given(wishes, wishes, st.none() | st.sets(st.integers(0, 4)), st.integers(0, 3))
def test_what_is_teed_has_a_file_and_only_shown_ranks_reach_the_console(
    redirects: Std | dict[int, Std],
    tee: Std | dict[int, Std],
    shown: set[int] | None,
    nprocs: int,
) -> None:
    with tempfile.TemporaryDirectory() as root:
        dest = DefaultLogsSpecs(root, redirects, tee, shown).reify(envs_of(nprocs))
    for files, teed in ((dest.stdouts, dest.tee_stdouts), (dest.stderrs, dest.tee_stderrs)):
        assert list(files) == list(range(nprocs))
        assert teed.items() <= files.items()
        for rank, path in files.items():
            if shown and rank not in shown:
                assert path
                assert rank not in teed
            else:
                assert path != os.devnull
    assert list(dest.error_files) == list(range(nprocs))


def test_a_rank_that_is_filtered_out_is_silent_where_it_is_not_kept(tmp_path: Path) -> None:
    specs = DefaultLogsSpecs(str(tmp_path), redirects={1: ERR}, local_ranks_filter={0})
    dest = specs.reify(envs_of(2))
    assert dest.stdouts == {0: "", 1: os.devnull}
    assert dest.stderrs[1].endswith("/1/stderr.log")


def test_devnull_keeps_no_files() -> None:
    envs = envs_of(2)
    specs = DefaultLogsSpecs(os.devnull, redirects=ALL, tee=ALL, local_ranks_filter={0})
    dest = specs.reify(envs)
    everywhere = {0: os.devnull, 1: os.devnull}
    assert dest.stdouts == dest.stderrs == {0: "", 1: ""}
    assert dest.tee_stdouts == dest.tee_stderrs == dest.error_files == everywhere
    assert [envs[rank]["TORCHELASTIC_ERROR_FILE"] for rank in envs] == ["", ""]
    assert specs.root_log_dir == os.devnull


def test_no_envs_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dest = DefaultLogsSpecs(str(tmp_path)).reify({})
    assert dest.stdouts == {}
    assert "envs is empty" in caplog.text


@pytest.mark.parametrize("log_dir", [None, ""])
def test_without_a_log_dir_a_temporary_one_is_made(
    log_dir: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    specs = DefaultLogsSpecs(log_dir)
    assert os.path.isdir(specs.root_log_dir)
    assert Path(specs.root_log_dir).parent == tmp_path
    assert Path(specs.root_log_dir).name.startswith("procession_")


def test_a_missing_log_dir_is_made(tmp_path: Path) -> None:
    path = str(tmp_path / "a" / "b")
    assert DefaultLogsSpecs(path).root_log_dir == path
    assert os.path.isdir(path)


def test_a_log_dir_that_is_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(NotADirectoryError) as caught:
        DefaultLogsSpecs(str(path))
    assert str(caught.value) == (
        f"log_dir: {path} is a file; give a directory (it is made where it is missing)"
    )


def test_a_log_dir_below_a_file_is_refused_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(NotADirectoryError, match="log_dir has to be a directory") as caught:
        DefaultLogsSpecs(str(path / "below"))
    assert caught.value.filename == str(path / "below")


def test_a_run_id_with_a_slash_stays_one_directory(tmp_path: Path) -> None:
    dest = DefaultLogsSpecs(str(tmp_path)).reify(envs_of(1, run_id="team/job"))
    assert Path(dest.error_files[0]).parents[3] == tmp_path
    assert Path(dest.error_files[0]).parents[2].name.startswith("team_job_")


def test_repr_names_the_wish(tmp_path: Path) -> None:
    specs = DefaultLogsSpecs(str(tmp_path), redirects=OUT, tee={0: ERR}, local_ranks_filter={1})
    assert repr(specs) == (
        f"DefaultLogsSpecs(root_log_dir={tmp_path}, redirects={OUT}, "
        f"tee={ {0: ERR} }, local_ranks_filter={ {1} })"
    )


def test_equality_is_that_of_the_wish(tmp_path: Path) -> None:
    one, same = (DefaultLogsSpecs(str(tmp_path), OUT, ERR, {0}) for _ in range(2))
    one.reify(envs_of(1))
    assert one == same
    assert one != DefaultLogsSpecs(str(tmp_path), OUT, ERR, {1})
    assert one != "DefaultLogsSpecs"
    with pytest.raises(TypeError, match="unhashable"):
        hash(one)


def test_a_subclass_may_choose_the_runs_directory(tmp_path: Path) -> None:
    class Named(DefaultLogsSpecs):
        def _make_log_dir(self, log_dir: str | None, rdzv_run_id: str) -> str:
            return os.path.join(str(log_dir), f"mine-{rdzv_run_id}")

    specs = Named(str(tmp_path), redirects=OUT)
    assert specs.reify(envs_of(1)).stdouts == {0: f"{tmp_path}/mine-job/attempt_0/0/stdout.log"}


def test_the_base_asks_for_reify_and_root_log_dir() -> None:
    assert LogsSpecs.__abstractmethods__ == {"reify", "root_log_dir"}

    class Own(LogsSpecs):
        def reify(self, envs: dict[int, dict[str, str]]) -> LogsDest:
            return LogsDest(dict.fromkeys(envs, ""))

        @property
        def root_log_dir(self) -> str:
            return str(self._root_log_dir)

    assert Own("here", OUT, ERR, {0}).root_log_dir == "here"
