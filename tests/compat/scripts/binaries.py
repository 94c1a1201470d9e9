"""Binaries as workers: their arguments, environment, output, end."""

import os
import signal
import sys

import dump
from dump import case, outcome, under
from torch.distributed.elastic.multiprocessing import (
    DefaultLogsSpecs,
    Std,
    SubprocessContext,
    start_processes,
)

SPEAK = 'echo "said by $RANK to stdout"; echo "said by $RANK to stderr" >&2'


def start(directory, args, entrypoint="sh", envs=None, **options):
    """Start the entrypoint with each of ``args``; logs go below the directory."""
    args = dict(enumerate(args))
    wishes = {
        key: options.pop(key)
        for key in ("redirects", "tee", "local_ranks_filter")
        if key in options
    }
    return start_processes(
        name="trainer",
        entrypoint=entrypoint,
        args=args,
        envs=envs or {rank: {"RANK": str(rank)} for rank in args},
        logs_specs=DefaultLogsSpecs(os.path.join(directory, "logs"), **wishes),
        **options,
    )


def run(directory, *lines, **options):
    """Run a shell line on each rank."""
    context = start(directory, [("-c", line) for line in lines], **options)
    try:
        return outcome(context.wait(timeout=60, period=0.05))
    finally:
        context.close()


@case
def success(directory):
    return run(directory, SPEAK, SPEAK, redirects=Std.ALL)


@case
def success_without_files(directory):
    return run(directory, SPEAK, SPEAK)


@case
def arguments_are_turned_to_text(directory):
    line = 'for word in "$@"; do echo "said $word"; done'
    args = ("-c", line, "sh", 1, 2.5, None, [1, "a"], "two words", "$RANK", "")
    context = start(directory, [args], redirects=Std.OUT)
    return outcome(context.wait(timeout=60, period=0.05))


@case
def the_callers_environment_is_inherited(directory):
    os.environ["OF_THE_CALLER"] = "seen"
    try:
        line = 'echo "said $OF_THE_CALLER $RANK $HOME ${TORCHELASTIC_ERROR_FILE##*/}"'
        return run(directory, line, envs={0: {"HOME": "/other", "RANK": "7"}}, redirects=Std.OUT)
    finally:
        del os.environ["OF_THE_CALLER"]


@case
def exit_statuses(directory):
    return [run(under(directory, status), f"exit {status}") for status in (1, 2, 42, 255)]


@case
def signals(directory):
    return [run(under(directory, n), f"kill -{n} $$") for n in (9, 11, 6, 15, 10, 14)]


@case
def the_first_of_three_to_fail(directory):
    given = run(directory, "exec sleep 60", "exit 3", "exec sleep 60")
    return {
        "cause": given["failures"][1],
        "others": [rank for rank in given["failures"] if rank != 1],
    }


@case
def a_rank_that_succeeds_and_one_that_fails(directory):
    spoken = os.path.join(directory, "spoken")
    late = f"until [ -e {spoken} ]; do sleep 0.1; done; sleep 0.5; exit 3"
    given = run(directory, f"{SPEAK}; exec touch {spoken}", late, redirects=Std.ALL)
    return {"failed": given["failed"], "failures": given["failures"]}


@case
def redirects_and_tee(directory):
    masks = [(redirects, tee) for redirects in range(4) for tee in range(4)]
    return [
        run(under(directory, f"{r}{t}"), SPEAK, SPEAK, redirects=Std(r), tee=Std(t))
        for r, t in masks
    ]


@case
def redirects_and_tee_by_rank(directory):
    redirects, tee = {0: Std.OUT, 1: Std.ERR, 9: Std.ALL}, {1: Std.OUT, 2: Std.ALL}
    return run(directory, *[SPEAK] * 4, redirects=redirects, tee=tee)


@case
def only_some_ranks_reach_the_console(directory):
    wishes = [(Std.NONE, Std.NONE), (Std.OUT, Std.ERR), (Std.NONE, Std.ALL)]
    return [
        run(
            under(directory, f"{r}{t}"), *[SPEAK] * 3, redirects=r, tee=t, local_ranks_filter={0, 2}
        )
        for r, t in wishes
    ]


@case
def prefixes(directory):
    return run(
        directory, *[SPEAK] * 3, tee=Std.ALL, log_line_prefixes={0: "zero> ", 1: "", 7: "none"}
    )


@case
def duplicate_filters(directory):
    return run(
        directory,
        *[SPEAK] * 3,
        tee={0: Std.ALL, 1: Std.OUT},
        redirects={2: Std.ALL},
        duplicate_stdout_filters=["by 0", "by 2"],
        duplicate_stderr_filters=["by"],
        log_line_prefixes={0: "zero> "},
    )


@case
def a_filter_that_nothing_matches(directory):
    return run(directory, SPEAK, tee=Std.ALL, duplicate_stdout_filters=["nowhere"])


@case
def no_files_at_all(directory):
    context = start_processes(
        "trainer",
        "sh",
        {0: ("-c", f'{SPEAK}; echo "said <$TORCHELASTIC_ERROR_FILE>"')},
        {0: {"RANK": "0"}},
        DefaultLogsSpecs(os.devnull),
    )
    return outcome(context.wait(timeout=60, period=0.05))


@case
def a_recorded_exception(directory):
    return worker(directory, "raise")


@case
def a_recorded_exit_status(directory):
    return worker(directory, "exit")


@case
def a_recorded_segmentation_fault(directory):
    return worker(directory, "segv")


def worker(directory, what):
    """Run recorded.py, which ends as ``what`` says."""
    script = os.path.join(os.path.dirname(__file__), "recorded.py")
    context = start(directory, [(script, what)], sys.executable, redirects=Std.OUT)
    return outcome(context.wait(timeout=60, period=0.05))


@case
def a_binary_that_is_not_there(directory):
    start(directory, [(), ()], "/nowhere/at-all")


@case
def a_binary_that_is_not_executable(directory):
    start(directory, [(), ()], "/etc/passwd")


@case
def a_context_tells_of_itself(directory):
    context = start(directory, [("-c", "exec sleep 60")] * 2, redirects=Std.OUT)
    try:
        return {
            "is": [isinstance(context, SubprocessContext), type(context).__name__],
            "name": context.name,
            "nprocs": context.nprocs,
            "entrypoint": context.entrypoint,
            "args": context.args,
            "envs": context.envs,
            "stdouts": context.stdouts,
            "stderrs": context.stderrs,
            "error_files": context.error_files,
            "pids": list(context.pids()),
            "leads_a_session": [os.getsid(pid) == pid for pid in context.pids().values()],
            "handlers": {
                rank: [handler.local_rank_id, handler.proc.pid == context.pids()[rank]]
                for rank, handler in context.subprocess_handlers.items()
            },
            "early": [context.wait(timeout=0), context.wait(timeout=0.2, period=0.1)],
            "polled": [handler.proc.poll() for handler in context.subprocess_handlers.values()],
        }
    finally:
        pids = context.pids().values()
        context.close(signal.SIGINT)
        context.close()
        if any(os.path.exists(f"/proc/{pid}") for pid in pids):
            raise RuntimeError("close left a worker")


@case
def close_kills_what_ignores_the_signal(directory):
    fifo = os.path.join(directory, "ready")
    os.mkfifo(fifo)
    line = f"trap '' TERM; echo ready >{fifo}; while :; do sleep 1; done"
    context = start(directory, [("-c", line)])
    with open(fifo) as ready:
        ready.readline()
    context.close(timeout=1)
    return [handler.proc.poll() for handler in context.subprocess_handlers.values()]


@case
def a_second_start_is_refused(directory):
    context = start(directory, [("-c", "exec sleep 60")])
    try:
        context.start()
    finally:
        context.close()


def handled():
    """Whether the signals have a handler that is not Python's own."""
    return {
        "SIGTERM": callable(signal.getsignal(signal.SIGTERM)),
        "SIGINT": signal.getsignal(signal.SIGINT) is not signal.default_int_handler,
    }


@case
def signals_are_handled_while_workers_run(directory):
    context = start(directory, [("-c", "exec sleep 60")])
    try:
        return handled()
    finally:
        context.close()


@case
def signals_are_handled_after_the_close(directory):
    start(directory, [("-c", "true")]).close()
    return handled()


if __name__ == "__main__":
    dump.main()
