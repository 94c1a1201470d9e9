"""The command on one host: what the workers are given, what is shown and kept, how it ends."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import dump
from dump import HERE, case, said

MODULE = "torch.distributed.run"
LEAVES = [os.path.join(HERE, "leave.py")] if MODULE.startswith("torch") else []
COMMAND = [sys.executable, *LEAVES, "-m", MODULE]
TELL = os.path.join(HERE, "tell.py")
TWO = ("--nproc-per-node=2", "--redirects=0")


def launch(directory, *words, env=None, cwd=None):
    """Run the command; the workers tell into the directory, logs go below it."""
    facts = os.path.join(directory, "facts")
    os.makedirs(facts, exist_ok=True)
    words = [
        word.replace("FACTS", facts).replace("LOGS", os.path.join(directory, "logs"))
        for word in words
    ]
    run = subprocess.run(
        [*COMMAND, *words],
        env={**os.environ, "OF_THE_CALLER": "seen", **(env or {})},
        cwd=cwd or directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    sys.stderr.write(run.stderr)
    return {
        "status": run.returncode,
        "stdout": said(run.stdout),
        "stderr": said(run.stderr),
        "workers": {path.stem: told(path) for path in sorted(Path(facts).glob("*.json"))},
    }


def told(path):
    """What a worker wrote, in a form that does not change from run to run."""
    facts = json.loads(path.read_text())
    env = facts["env"]
    facts["env"] = {
        name: value for name, value in env.items() if not name.startswith("PROCESSION_")
    }
    env = facts["env"]
    env["MASTER_PORT"] = "PORT" if int(env["MASTER_PORT"]) > 1023 else env["MASTER_PORT"]
    tail = "/".join(env["TORCHELASTIC_ERROR_FILE"].split("/")[-3:])
    env["TORCHELASTIC_ERROR_FILE"] = tail
    return facts


@case
def plain(directory):
    return launch(directory, "--nproc-per-node", "2", TELL, "FACTS", "a", "--b=c", "", "--", "-x")


@case
def one_worker(directory):
    return launch(directory, "--redirects=0", TELL, "FACTS")


@case
def standalone(directory):
    return launch(directory, *TWO, "--standalone", TELL, "FACTS")


@case
def options_reach_the_environment(directory):
    return launch(
        directory,
        *("--nnodes=1", "--node_rank=0", "--nproc_per_node=2", "--role=reader", "--redirects=0"),
        *("--max-restarts=3", "--master-addr=localhost", "--master-port=29871", TELL, "FACTS"),
    )


@case
def a_run_id(directory):
    return launch(directory, *TWO, "--rdzv-id=job7", TELL, "FACTS")


@case
def variables_stand_for_options(directory):
    env = {"PET_NPROC_PER_NODE": "2", "PET_ROLE": "writer", "PET_REDIRECTS": "0"}
    return launch(directory, TELL, "FACTS", env=env)


@case
def threads_that_were_chosen_stay(directory):
    return launch(directory, *TWO, TELL, "FACTS", env={"OMP_NUM_THREADS": "3"})


@case
def a_module(directory):
    return launch(directory, *TWO, "-m", "tell", "FACTS", "a", cwd=HERE)


@case
def a_program_that_is_not_python(directory):
    return launch(directory, *TWO, "--no-python", sys.executable, TELL, "FACTS", "a")


@case
def a_script_run_in_the_launchers_way(directory):
    return launch(directory, "--redirects=0", "--run-path", TELL, "FACTS", "a")


@case
def macros_in_arguments(directory):
    words = ("${local_rank}", "x${local_rank}y", "${other}", "$other", "a$")
    return launch(directory, *TWO, TELL, "FACTS", *words)


@case
def dollars_in_arguments(directory):
    return launch(directory, *TWO, TELL, "FACTS", "$local_rank", "$$")


@case
def virtual_local_ranks(directory):
    return launch(directory, *TWO, "--virtual-local-rank", TELL, "FACTS")


@case
def restarts(directory):
    return launch(
        directory, "--redirects=0", "--max-restarts=2", TELL, "FACTS", env={"FAIL_UNTIL": "2"}
    )


@case
def redirects_and_tee(directory):
    wishes = ("-r", "0:3,1:1", "-t", "0:1,1:2", "--log-dir", "LOGS")
    return launch(directory, "--nproc-per-node=2", *wishes, TELL, "FACTS")


@case
def only_some_ranks_reach_the_console(directory):
    wishes = ("--tee=3", "--local-ranks-filter=1", "--log-dir=LOGS")
    return launch(directory, "--nproc-per-node=2", *wishes, TELL, "FACTS")


@case
def prefixes(directory):
    return launch(
        directory,
        *("--nproc-per-node=2", "--tee=3", "--log-dir=LOGS", "--role=reader"),
        *(TELL, "FACTS"),
        env={"TORCHELASTIC_LOG_LINE_PREFIX_TEMPLATE": "<${role_name} ${rank} ${local_rank}> "},
    )


@case
def duplicate_filters(directory):
    return launch(
        directory,
        *("--nproc-per-node=2", "--tee=3", "--log-dir=LOGS"),
        *("--duplicate-stdout-filters=by 1,nobody", "--duplicate-stderr-filters=by"),
        *(TELL, "FACTS"),
    )


@case
def a_recorded_exception(directory):
    recorded = os.path.join(HERE, "recorded.py")
    wishes = ("-r=3", "--log-dir=LOGS")
    return launch(directory, "--nproc-per-node=1", *wishes, recorded, "raise")


@case
def a_worker_that_fails(directory):
    return launch(directory, "--no-python", "sh", "-c", "exit 42")


@case
def a_worker_that_is_killed(directory):
    return launch(directory, "--no-python", "sh", "-c", "kill -9 0")


@case
def a_script_that_is_not_there(directory):
    return launch(directory, "nowhere.py")


@case
def a_command_that_names_no_script(directory):
    return launch(directory, "--nproc-per-node=2")


@case
def an_unknown_option(directory):
    return launch(directory, "--nproc-per-nod=2", TELL, "FACTS")


@case
def a_count_that_is_none(directory):
    return launch(directory, "--nproc-per-node=x", TELL, "FACTS")


@case
def a_termination_signal_ends_the_run(directory):
    fifo = os.path.join(directory, "ready")
    os.mkfifo(fifo)
    worker = ("--no-python", "sh", "-c", f"echo ready >{fifo}; exec sleep 60")
    launcher = subprocess.Popen([*COMMAND, *worker], cwd=directory, stderr=subprocess.DEVNULL)
    with open(fifo) as ready:
        ready.readline()
    launcher.send_signal(signal.SIGTERM)
    return {"status": launcher.wait(60)}


if __name__ == "__main__":
    dump.main()
