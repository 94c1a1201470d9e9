"""The stop: who gets SIGTERM, who gets none, and that nobody loses it."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from procession._loop import machine
from procession.multiprocessing import DefaultLogsSpecs, Std, Supervision, start_processes
from procession.testing import bearers

SCRIPTS = Path(__file__).parent / "scripts"


def fail_or_wait(rank: int) -> None:
    if rank == 0:
        os._exit(3)
    time.sleep(600)


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_a_signal_right_after_a_fork_is_not_lost(tmp_path: Path, method: str) -> None:
    """The guardian ignores SIGTERM, and so does a fork of it until it has set its own dispositions.

    Rank 0 has failed when the others are being started: they get SIGTERM as soon as they are there.
    """
    ranks = range(3)
    for number in range(20):
        context = start_processes(
            name="f",
            entrypoint=fail_or_wait,
            args={rank: (rank,) for rank in ranks},
            envs={rank: {} for rank in ranks},
            logs_specs=DefaultLogsSpecs(str(tmp_path / str(number)), redirects=Std.ALL),
            start_method=method,
            supervision=Supervision(shutdown_timeout=30),
        )
        result = context.wait()
        assert result is not None
        assert {rank: stopped.exitcode for rank, stopped in result.stopped.items()} == {
            1: -15,
            2: -15,
        }


@pytest.mark.parametrize(("hoppers", "times"), [("4", 3), ("16", 1)])
def test_what_forks_and_ends_all_the_time_is_swept_too(
    hoppers: str, times: int, tmp_path: Path
) -> None:
    """Whoever is looked at has just died, and its child was not there yet when the list was made."""
    for number in range(times):
        run_id = f"hoppers-{os.getpid()}-{number}"
        context = start_processes(
            name="h",
            entrypoint=sys.executable,
            args={0: (str(SCRIPTS / "hoppers.py"), hoppers)},
            envs={0: {}},
            logs_specs=DefaultLogsSpecs(str(tmp_path / str(number)), redirects=Std.ALL),
            start_method="spawn",
            supervision=Supervision(shutdown_timeout=0, run_id=run_id),
        )
        result = context.wait()
        assert result is not None
        assert result.failures[0].exitcode == 3
        assert [bearers(run_id) for _ in range(20)] == [[]] * 20


FILTERED = """\
mkfifo pause
exec > >(while read -r line; do echo "$line"; done > out; read -rt 0.01 _ <> pause; echo bye >> out)
echo first
until [ -s out ]; do sleep 0.01; done
echo last
"""  # the end of the filter takes 10 ms, and no process that would have to be started first


@pytest.mark.parametrize("grace", [30, 0])
def test_what_ends_at_the_end_of_its_worker_is_let_end(
    grace: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A filter behind a shell has yet to write what it was sent; nor has it been left behind."""
    monkeypatch.setattr(
        machine, "FAREWELL", 30.0
    )  # half a second may pass with no processor for it
    result = start_processes(
        name="f",
        entrypoint="bash",
        args={0: ("-c", f"cd {tmp_path}\n{FILTERED}")},
        envs={0: {}},
        logs_specs=DefaultLogsSpecs(str(tmp_path / "logs"), redirects=Std.ALL),
        supervision=Supervision(shutdown_timeout=grace),
    ).wait()
    assert result is not None
    assert (result.is_failed(), result.ledger.swept) == (False, ())
    assert (tmp_path / "out").read_text() == "first\nlast\nbye\n"
