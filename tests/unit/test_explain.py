"""From a command line to a plan, and what ``--explain`` says of it."""

from __future__ import annotations

import math
import os
from typing import Any

import pytest

from procession.cli.plan.command import Command
from procession.cli.plan.explain import explain
from procession.cli.plan.plan import Plan, make_plan
from procession.errors import UsageError
from procession.multiprocessing.std import Std
from procession.run import parse_args, run_script_path


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PET_")]:
        monkeypatch.delenv(name)


def plan(*words: str, workers: int = 2, environ: dict[str, str] | None = None, **kw: Any) -> Plan:
    """The plan of ``procession run WORDS s.py --lr 1``."""
    args = parse_args([*words, "s.py", "--lr", "1"])
    for name, value in kw.items():
        setattr(args, name, value)
    command = Command("python", ("script.py", "s.py", *args.training_script_args))
    return make_plan(args, environ or {}, workers, command)


def environment(rank: int, *words: str, **kw: Any) -> dict[str, str]:
    return plan(*words, **kw).attempt_environments(3, "the-id", 4321)[rank]


def test_the_environment_is_torchruns() -> None:
    assert environment(1, "--role", "actor", "--max-restarts", "5", workers=4) == {
        "RANK": "1",
        "LOCAL_RANK": "1",
        "ROLE_RANK": "1",
        "GROUP_RANK": "0",
        "WORLD_SIZE": "4",
        "LOCAL_WORLD_SIZE": "4",
        "ROLE_WORLD_SIZE": "4",
        "GROUP_WORLD_SIZE": "1",
        "ROLE_NAME": "actor",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "4321",
        "TORCHELASTIC_RESTART_COUNT": "3",
        "TORCHELASTIC_MAX_RESTARTS": "5",
        "TORCHELASTIC_RUN_ID": "the-id",
        "TORCHELASTIC_USE_AGENT_STORE": "False",
        "TORCHELASTIC_SIGNALS_TO_HANDLE": "SIGTERM,SIGINT,SIGHUP,SIGQUIT",
        "TORCH_NCCL_ASYNC_ERROR_HANDLING": "1",
        "OMP_NUM_THREADS": "1",
    }


@pytest.mark.parametrize(
    ("workers", "environ", "name", "expected"),
    [
        (1, {}, "OMP_NUM_THREADS", None),
        (2, {}, "OMP_NUM_THREADS", "1"),
        (2, {"OMP_NUM_THREADS": "8"}, "OMP_NUM_THREADS", None),
        (2, {"TORCH_NCCL_ASYNC_ERROR_HANDLING": "0"}, "TORCH_NCCL_ASYNC_ERROR_HANDLING", "0"),
        (2, {"CUDA_VISIBLE_DEVICES": "1,0"}, "CUDA_VISIBLE_DEVICES", None),
    ],
)
def test_what_the_environment_has_already(
    workers: int, environ: dict[str, str], name: str, expected: str | None
) -> None:
    assert environment(0, workers=workers, environ=environ).get(name) == expected


@pytest.mark.parametrize(
    ("visible", "expected"),
    [(None, ["0", "1"]), ("5,7", ["5", "7"]), ("GPU-a, GPU-b", ["GPU-a", "GPU-b"])],
)
def test_virtual_local_rank(visible: str | None, expected: list[str]) -> None:
    environ = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    envs = [environment(rank, "--virtual-local-rank", environ=environ) for rank in (0, 1)]
    assert [env["CUDA_VISIBLE_DEVICES"] for env in envs] == expected
    assert [(env["LOCAL_RANK"], env["RANK"]) for env in envs] == [("0", "0"), ("0", "1")]


def test_more_workers_than_virtual_devices() -> None:
    with pytest.raises(UsageError) as caught:
        plan("--virtual-local-rank", workers=3, environ={"CUDA_VISIBLE_DEVICES": "4,5"})
    assert str(caught.value) == (
        "--virtual-local-rank: 3 workers, but CUDA_VISIBLE_DEVICES=4,5 names 2. "
        "Give --nproc-per-node 2 or fewer."
    )


@pytest.mark.parametrize(
    ("words", "host", "port", "run_id"),
    [
        ((), "127.0.0.1", None, None),
        (("--standalone",), "127.0.0.1", None, None),
        (("--standalone", "--rdzv-id", "mine", "--rdzv-endpoint", "h:1"), "127.0.0.1", None, None),
        (("--rdzv-id", "mine"), "127.0.0.1", None, "mine"),
        (("--rdzv-id", ""), "127.0.0.1", None, None),
        (("--master-port", "29500"), "127.0.0.1", 29500, "none"),
        (("--master-addr", "10.0.0.1", "--master-port", "29500"), "10.0.0.1", 29500, "none"),
        (("--master-addr", "10.0.0.1"), "10.0.0.1", None, None),
        (("--local-addr", "10.0.0.2"), "10.0.0.2", None, None),
        (("--local-addr", "10.0.0.2", "--master-addr", "127.0.0.1"), "127.0.0.1", None, None),
        (("--rdzv-endpoint", "[::1]:29501"), "[::1]", 29501, "none"),
        (("--rdzv-backend", "c10d", "--rdzv-endpoint", "h:29400"), "127.0.0.1", None, "none"),
        (("--rdzv-backend", "c10d", "--rdzv-id", "mine"), "127.0.0.1", None, "mine"),
    ],
)
def test_address_and_name(
    words: tuple[str, ...], host: str, port: int | None, run_id: str | None
) -> None:
    made = plan(*words)
    assert made.environments[0]["MASTER_ADDR"] == host
    assert type(made.environments[0]["MASTER_ADDR"]) is str  # marshal takes no subclass
    assert (made.master_port, made.run_id) == (port, run_id)


def test_the_local_rank_is_put_into_arguments() -> None:
    args = parse_args(["s.py"])
    made = make_plan(args, {}, 2, Command("x", ("--gpu=${local_rank}", "$$", "$local_rank")))
    assert made.arguments() == {
        0: ("--gpu=0", "$$", "$local_rank"),
        1: ("--gpu=1", "$$", "$local_rank"),
    }


def test_line_prefixes() -> None:
    template = {
        "TORCHELASTIC_LOG_LINE_PREFIX_TEMPLATE": "[${role_name} ${rank}/${local_rank} $x]: "
    }
    assert plan("--role", "r").prefixes is None
    assert plan("--role", "r", environ=template).prefixes == {
        0: "[r 0/0 $x]: ",
        1: "[r 1/1 $x]: ",
    }


def test_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    logs = plan(environ={"PROCESSION_LOG_DIR": "/a"}).logs
    assert (logs.directory, logs.redirects, logs.tee, logs.shown) == ("/a", Std.NONE, Std.ALL, None)
    assert plan("--log-dir", "/b", environ={"PROCESSION_LOG_DIR": "/a"}).logs.directory == "/b"
    assert plan(environ={"PROCESSION_LOG_DIR": ""}).logs.directory is None
    monkeypatch.setenv("PET_LOG_DIR", "/c")
    assert plan(environ={"PROCESSION_LOG_DIR": "/a"}).logs.directory == "/c"


def test_signals_and_grace() -> None:
    made = plan("--signals-to-handle", "SIGTERM,SIGUSR1", "--shutdown-timeout", "inf")
    assert made.signals == ("SIGTERM", "SIGUSR1")
    assert made.forwarded == ("SIGUSR2",)  # what ends a run is not passed on
    assert made.grace == math.inf
    assert plan(environ={"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "3"}).grace == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--max-restarts", "-1"), "--max-restarts -1: give a number from 0 up."),
        (("--keep-runs", "0"), "--keep-runs 0: give a number from 1 up."),
        (("--master-port", "70000"), "--master-port 70000: a port is a number from 1 to 65535."),
        (("--nnodes", "x"), "--nnodes x: give a number of hosts, or MIN:MAX such as 1:4."),
        (
            ("--rdzv-endpoint", "host"),
            "--rdzv-endpoint host: give HOST:PORT, such as 127.0.0.1:29500.",
        ),
    ],
)
def test_what_cannot_be_planned(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        plan(*words)
    assert str(caught.value) == message


EXPLAINED = """\
Nothing is started. A run would be:

workers:
  2 as 'default', local ranks 0-1
argv:
  python script.py s.py --lr 1
environment added:
  RANK                             0, 1  (by local rank)
  LOCAL_RANK                       0, 1  (by local rank)
  ROLE_RANK                        0, 1  (by local rank)
  GROUP_RANK                       0
  WORLD_SIZE                       2
  LOCAL_WORLD_SIZE                 2
  ROLE_WORLD_SIZE                  2
  GROUP_WORLD_SIZE                 1
  ROLE_NAME                        default
  MASTER_ADDR                      127.0.0.1
  TORCHELASTIC_MAX_RESTARTS        0
  TORCHELASTIC_USE_AGENT_STORE     False
  TORCHELASTIC_SIGNALS_TO_HANDLE   SIGTERM,SIGINT,SIGHUP,SIGQUIT
  TORCH_NCCL_ASYNC_ERROR_HANDLING  1
  OMP_NUM_THREADS                  1
  MASTER_PORT                      <free port, another at each attempt>
  TORCHELASTIC_RESTART_COUNT       0
  TORCHELASTIC_RUN_ID              <random>
  TORCHELASTIC_ERROR_FILE, PROCESSION_RUN_ID and PROCESSION_STOP_FILE, which differ from run to run
output:
  files    /logs/<random>_<random>/attempt_<n>/<local rank>/
           stdout and stderr of local ranks 0-1
  console  stdout and stderr of local ranks 0-1
  events   events.jsonl in the run's directory
signals:
  SIGTERM, SIGINT, SIGHUP, SIGQUIT: stop the workers, exit status 128 + number
  SIGUSR1, SIGUSR2: passed on to workers that catch them
  SIGUSR1, SIGUSR2: the workers' PROCESSION_STOP_FILE is made
  stopping is SIGTERM and SIGCONT, then after 30 s SIGKILL, to all processes of the run
at a failure:
  the first worker that fails stops the others
  a report, and the failed worker's exit status (128 + n if signal n ended it)
"""


def test_explain() -> None:
    assert explain(plan(), "/logs") == EXPLAINED


@pytest.mark.parametrize(
    ("words", "directory", "lines"),
    [
        (("--rdzv-id", "mine"), "/l", ["  files    /l/mine_<random>/attempt_<n>/<local rank>/"]),
        ((), "/dev/null", ["  console only: the log directory is /dev/null"]),
        (
            ("-r", "0:3", "-t", "1:1", "--local-ranks-filter", "1"),
            "/l",
            [
                "           stdout of local rank 1",
                "           stdout and stderr of local rank 0",
                "  console  stdout and stderr of local rank 1",
            ],
        ),
        (("-r", "3"), "/l", ["  console  nothing of local ranks 0-1"]),
        (("-r", "0"), "/l", ["           nothing of local ranks 0-1"]),
        (("--shutdown-timeout", "inf"), "/l", [
            "  stopping is SIGTERM and SIGCONT, then no end of patience: never SIGKILL"
        ]),
        (("--forward-signals", ""), "/l", [
            "  SIGTERM, SIGINT, SIGHUP, SIGQUIT: stop the workers, exit status 128 + number"
        ]),
        (("--max-restarts", "2"), "/l", [
            "  all start again, at most 2 times",
            "  then a report, and the failed worker's exit status (128 + n if signal n ended it)",
        ]),
        (("--max-restarts", "1", "--no-restart-on", "oom", "--restart-backoff", "1s:60s"), "/l", [
            "  all start again, at most 1 time, but not after oom",
            "    after a pause of 1 s, doubled up to 60 s (less up to a quarter, by chance)",
        ]),
        (("--master-port", "5"), "/l", ["  MASTER_PORT                      5"]),
    ],
)  # fmt: skip
def test_explain_says(words: tuple[str, ...], directory: str, lines: list[str]) -> None:
    said = explain(plan(*words), directory).splitlines()
    assert [line for line in lines if line not in said] == []


def test_explain_quotes_and_tells_ranks_apart() -> None:
    args = parse_args(["s.py"])
    words = explain(make_plan(args, {}, 2, Command("./a b", ("it's ${local_rank}",))), "/l")
    assert "  local rank 1: './a b' 'it'\"'\"'s 1'\n" in words
    function = explain(make_plan(args, {}, 1, Command(run_script_path, ("s.py",))), "/l")
    assert "  run_script_path('s.py')\n" in function
    many = explain(plan(workers=20), "/l")
    assert "  RANK                             0, 1, 2, ..., 19  (by local rank)\n" in many
