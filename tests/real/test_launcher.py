"""``elastic_launch`` and the agent under it: functions, programs, restarts, signals, joining hosts."""

from __future__ import annotations

import json
import logging
import os
import pickle
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from procession import metrics
from procession.agent.server import LocalElasticAgent, WorkerSpec, WorkerState
from procession.launcher import LaunchConfig, RestartPolicy, elastic_launch
from procession.multiprocessing import DefaultLogsSpecs, SignalException, Std
from procession.multiprocessing.errors import ChildFailedError
from procession.rendezvous.alone import Alone

sys.path.append(str(Path(__file__).parent / "scripts"))
import launched


@pytest.fixture
def config(tmp_path: Path) -> LaunchConfig:
    logs = DefaultLogsSpecs(log_dir=str(tmp_path / "logs"), redirects=Std.ALL)
    return LaunchConfig(1, 1, 2, logs, "job", max_restarts=0, rdzv_backend="c10d")


def test_functions_return_by_rank(config: LaunchConfig) -> None:
    assert elastic_launch(config, launched.rank_times)(10) == {0: 0, 1: 10}


def test_the_environment_is_torchs(config: LaunchConfig) -> None:
    names = ("RANK", "WORLD_SIZE", "GROUP_RANK", "ROLE_NAME", "TORCHELASTIC_RUN_ID")
    found = elastic_launch(config, launched.environment)(names)[1]
    assert found == {
        "RANK": "1",
        "WORLD_SIZE": "2",
        "GROUP_RANK": "0",
        "ROLE_NAME": "default_role",
        "TORCHELASTIC_RUN_ID": "job",
    }


def test_a_program_is_launched(config: LaunchConfig, tmp_path: Path) -> None:
    out = str(tmp_path / "out${local_rank}")
    assert elastic_launch(config, "touch")(out) == {0: None, 1: None}
    assert (tmp_path / "out0").exists()
    assert (tmp_path / "out1").exists()


def test_workers_are_started_again(config: LaunchConfig, tmp_path: Path) -> None:
    config.max_restarts = 1
    config.event_log_handler = f"jsonl:{tmp_path / 'events.jsonl'}"
    assert elastic_launch(config, launched.fail_once)("x") == {0: "1", 1: "1"}
    told = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    states = [event["metadata"]["state"] for event in told]
    assert states.count("START") == 4
    assert states.count("RENDEZVOUS") == 2
    assert states[-3:] == ["SUCCEEDED"] * 3  # two workers, and the agent


def test_the_policy_decides(config: LaunchConfig, caplog: pytest.LogCaptureFixture) -> None:
    config.max_restarts = 3
    config.restarts = RestartPolicy.read(no_restart_on="42")
    with pytest.raises(ChildFailedError):
        elastic_launch(config, launched.leave_with)(42)
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert said == ["rank 1 failed (exit code 42); no further attempt: --no-restart-on 42"]


def test_a_signal_ends_a_pause(config: LaunchConfig) -> None:
    config.max_restarts = 1
    config.restarts = RestartPolicy.read(backoff="10m")
    told, usual = threading.Event(), signal.getsignal(signal.SIGTERM)

    class Tells(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "restarting in" in record.getMessage():
                told.set()

    def end_the_pause() -> None:
        if told.wait(40):
            while signal.getsignal(signal.SIGTERM) == usual:  # the pause has not begun
                time.sleep(0.005)
            os.kill(os.getpid(), signal.SIGTERM)

    tells, logger = Tells(), logging.getLogger("procession.agent.server.restarts")
    logger.addHandler(tells)
    ender = threading.Thread(target=end_the_pause)
    ender.start()
    try:
        with pytest.raises(SignalException):
            elastic_launch(config, launched.leave_with)(42)
    finally:
        logger.removeHandler(tells)
        ender.join()
    assert signal.getsignal(signal.SIGTERM) == usual


def test_a_failure_is_the_workers_own(config: LaunchConfig) -> None:
    with pytest.raises(ChildFailedError) as caught:
        elastic_launch(config, launched.leave_with)(42)
    rank, failure = caught.value.get_first_failure()
    assert (rank, failure.exitcode) == (1, 42)
    assert set(caught.value.failures) == {1}


def test_a_report_names_the_failure_that_was_before_it_on_another_host(
    config: LaunchConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []

    def set_failed(_: Alone, reason: str) -> str:
        told.append(reason)
        return "on gpu1: rank 3 (exit code 7)"

    monkeypatch.setattr(Alone, "set_failed", set_failed)
    with pytest.raises(ChildFailedError) as failed:
        elastic_launch(replace(config, nproc_per_node=1), "sh")("-c", "exit 5")
    assert told == ["rank 0 (exit code 5)"]
    assert "\nthe run had failed before on gpu1: rank 3 (exit code 7)\n" in str(failed.value)
    again = pickle.loads(pickle.dumps(failed.value))
    assert (str(again), again.notes) == (str(failed.value), failed.value.notes)


# Whoever has begun a vfork(2) is in state D until the child has ended or becomes another program; this
# one opens a FIFO that nobody writes to first.
WEDGED = """
import os, sys
if os.environ["RANK"] == "1":
    os.mkfifo(sys.argv[1])
    first = (os.POSIX_SPAWN_OPEN, 7, sys.argv[1], os.O_RDONLY, 0)
    os.posix_spawn("/bin/true", ["true"], {}, file_actions=[first])
import threading
threading.Event().wait()
"""


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_a_worker_that_sleeps_uninterruptibly_for_too_long_ends_the_run(
    config: LaunchConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """It would be started again if it had failed."""
    script = tmp_path / "wedged.py"
    script.write_text(WEDGED)
    name, args = "TORCHELASTIC_UNINTERRUPTIBLE_STATE_TIMEOUT", (str(script), str(tmp_path / "fifo"))
    if how == "environment":
        monkeypatch.setenv(name, "0.3")
        with pytest.raises(ChildFailedError) as failed:
            elastic_launch(replace(config, max_restarts=3, shutdown_timeout=1), sys.executable)(
                *args
            )
        failures, stopped = failed.value.failures, failed.value.stopped
    else:
        monkeypatch.setenv(name, "no number")
        spec = WorkerSpec("r", 2, Alone("x", "run", "h"), entrypoint=sys.executable, args=args)
        logs = DefaultLogsSpecs(log_dir=str(tmp_path))
        agent = LocalElasticAgent(spec, logs, shutdown_timeout=1, uninterruptible_state_timeout=0.3)
        result = agent.run()
        assert result.state is WorkerState.UNHEALTHY
        failures, stopped = result.failures, result.stopped
    assert (sorted(failures), sorted(stopped)) == ([1], [0])
    assert re.match(r"in uninterruptible sleep for \d+\.\d s", str(failures[1].message))


def test_a_signal_ends_it(config: LaunchConfig, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "up")

    def send() -> None:
        (tmp_path / "up").read_text()  # a worker runs: the handlers are there
        os.kill(os.getpid(), signal.SIGTERM)

    sender = threading.Thread(target=send)
    sender.start()
    with pytest.raises(SignalException) as caught:
        elastic_launch(config, "sh")("-c", 'echo > "$0"; exec sleep 600', str(tmp_path / "up"))
    sender.join()
    assert caught.value.sigval is signal.SIGTERM


def test_config_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="shutdown_timeout is -1"):
        LaunchConfig(1, 1, 1, shutdown_timeout=-1)
    monkeypatch.setenv("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "7")
    config = LaunchConfig(1, 1, 1, rdzv_timeout=5)
    assert (config.shutdown_timeout, config.rdzv_configs) == (7, {"timeout": 5})


class Crowded(Alone):
    """A rendezvous at which somebody waits, once."""

    def __init__(self) -> None:
        super().__init__("crowded", "run", "127.0.0.1")
        self.waiting = 1
        self.rounds = 0

    @property
    def nobody_can_join(self) -> bool:
        return False

    def next_rendezvous(self) -> Any:
        self.rounds += 1
        return super().next_rendezvous()

    def num_nodes_waiting(self) -> int:
        waiting, self.waiting = self.waiting, 0
        return waiting


@pytest.fixture
def kept() -> Iterator[dict[str, int]]:
    """Metrics that an agent puts, by name."""
    values: dict[str, int] = {}

    class Kept(metrics.MetricHandler):
        def emit(self, metric_data: metrics.MetricData) -> None:
            values[metric_data.name] = metric_data.value

    metrics.configure(Kept(), "torchelastic")
    yield values
    metrics.configure(metrics.NullMetricHandler(), "torchelastic")


def test_an_agent_starts_anew_for_who_waits(tmp_path: Path, kept: dict[str, int]) -> None:
    handler = Crowded()
    first = f"mkdir {tmp_path / 'begun'} 2>&- && exec sleep 600"  # it would never end by itself
    script = f'{first}; test "$TORCHELASTIC_RESTART_COUNT" = 0'
    spec = WorkerSpec("r", 1, handler, entrypoint="sh", args=("-c", script), max_restarts=0)
    agent = LocalElasticAgent(spec, DefaultLogsSpecs(log_dir=str(tmp_path)))
    began = time.monotonic()
    result = agent.run()
    assert time.monotonic() - began < 25
    assert result.state is WorkerState.SUCCEEDED
    assert result.return_values == {0: None}
    assert handler.rounds == 2
    assert kept["workers.r.run_success_no_retries"] == 1
    assert agent.get_worker_group().state is WorkerState.SUCCEEDED
