"""Functions as workers: what they return, how they end, what they leave."""

import ctypes
import hashlib
import os
import signal
import sys
import threading

import dump
from dump import case, outcome, under
from torch.distributed.elastic.multiprocessing import (
    DefaultLogsSpecs,
    MultiprocessContext,
    Std,
    start_processes,
)


def speak(rank):
    print(f"said by {rank} to stdout", flush=True)
    print(f"said by {rank} to stderr", file=sys.stderr, flush=True)


def echo(rank, *values):
    speak(rank)
    return rank, values, os.environ["OWN"], os.environ["LOG_WISH"]


def nothing():
    return None


def raises(rank, text):
    speak(rank)
    raise ValueError(text)


def raises_chained():
    try:
        int("x")
    except ValueError as error:
        raise KeyError("outer") from error


class NotPicklable(Exception):
    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


def raises_not_picklable():
    raise NotPicklable("one", "two")


def exits(status):
    sys.exit(status)


def exits_at_once(status):
    os._exit(status)


def killed(signum):
    os.kill(os.getpid(), signum)
    signal.pause()


def reads_null():
    ctypes.string_at(0)


def waits_or_raises(rank):
    if rank == 1:
        raise RuntimeError("rank 1 only")
    signal.pause()


def large(size, rank):
    return bytes([rank]) * size


def returns_what_cannot_be_pickled():
    return threading.Lock()


def puts(queue, event, rank):
    event.wait()
    queue.put(("put", rank))
    return rank


def start(directory, function, args, method="fork", nprocs=None, **options):
    """Start ``function`` on as many ranks as ``args`` says."""
    args = dict(enumerate(args))
    wishes = {
        key: options.pop(key)
        for key in ("redirects", "tee", "local_ranks_filter")
        if key in options
    }
    return start_processes(
        name="trainer",
        entrypoint=function,
        args=args,
        envs={rank: {"OWN": f"of {rank}", "LOG_WISH": str(len(wishes))} for rank in args},
        logs_specs=DefaultLogsSpecs(os.path.join(directory, "logs"), **wishes),
        start_method=method,
        **options,
    )


def run(directory, function, args, method="fork", **options):
    context = start(directory, function, args, method, **options)
    try:
        return outcome(context.wait(timeout=60, period=0.05))
    finally:
        context.close()


@case
def spawn_success(directory):
    return run(directory, echo, [(0, "a", 1), (1, [None], {"k": 2.5})], "spawn", redirects=Std.ALL)


@case
def spawn_exception(directory):
    return run(directory, raises, [(0, "bad value")], "spawn", redirects=Std.OUT)


@case
def spawn_exception_beside_a_peer(directory):
    return run(directory, waits_or_raises, [(0,), (1,)], "spawn")


@case
def spawn_exit_status(directory):
    return run(directory, exits, [(42,)], "spawn")


@case
def spawn_sigkill(directory):
    return run(directory, killed, [(signal.SIGKILL,)], "spawn")


@case
def spawn_sigsegv(directory):
    return run(directory, reads_null, [()], "spawn")


@case
def spawn_large_return_value(directory):
    given = run(directory, large, [(10 * 2**20, 7)], "spawn")
    return digest(given)


@case
def spawn_queue_and_event(directory):
    import multiprocessing

    context = multiprocessing.get_context("spawn")
    queue, event = context.Queue(), context.Event()
    running = start(directory, puts, [(queue, event, 0)], "spawn")
    early = running.wait(timeout=0)
    event.set()
    put = queue.get(timeout=60)
    return {"early": early, "put": put, "end": outcome(running.wait(timeout=60, period=0.05))}


@case
def forkserver_success(directory):
    return run(directory, echo, [(0, "a")], "forkserver", redirects=Std.ALL)


@case
def forkserver_exception(directory):
    return run(directory, raises, [(0, "bad value")], "forkserver", redirects=Std.OUT, tee=Std.ERR)


@case
def fork_success(directory):
    return run(directory, echo, [(rank, "a") for rank in range(4)], redirects=Std.ALL)


@case
def fork_success_without_a_value(directory):
    return run(directory, nothing, [(), ()])


@case
def fork_closure(directory):
    answer = []
    return run(directory, lambda: [*answer, 42], [()])


@case
def fork_exception(directory):
    return run(directory, raises, [(0, "bad value \u00e9\n second line")], redirects=Std.ALL)


@case
def fork_exception_chained(directory):
    return run(directory, raises_chained, [()])


@case
def fork_exception_not_picklable(directory):
    return run(directory, raises_not_picklable, [()])


@case
def fork_exception_beside_a_peer(directory):
    return run(directory, waits_or_raises, [(0,), (1,), (2,)])


@case
def fork_exit_status(directory):
    return [run(under(directory, status), exits, [(status,)]) for status in (1, 42, 255)]


@case
def fork_exit_zero(directory):
    return run(directory, exits, [(0,)])


@case
def fork_exit_at_once(directory):
    return run(directory, exits_at_once, [(9,)])


@case
def fork_signals(directory):
    signals = (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGUSR2, signal.SIGALRM)
    return [run(under(directory, signum), killed, [(signum,)]) for signum in signals]


@case
def fork_large_return_values(directory):
    return digest(run(directory, large, [(10 * 2**20, rank) for rank in range(3)]))


@case
def fork_return_value_that_cannot_be_pickled(directory):
    given = run(directory, returns_what_cannot_be_pickled, [()])
    return {"failed": given["failed"], "exitcode": given["failures"]["0"]["exitcode"]}


@case
def fork_queue_and_event(directory):
    import multiprocessing

    context = multiprocessing.get_context("fork")
    queue, event = context.Queue(), context.Event()
    running = start(directory, puts, [(queue, event, rank) for rank in range(2)])
    early = running.wait(timeout=0)
    event.set()
    put = sorted(queue.get(timeout=60) for _ in range(2))
    return {"early": early, "put": put, "end": outcome(running.wait(timeout=60, period=0.05))}


@case
def fork_redirects(directory):
    return [run(under(directory, m), speak, [(0,), (1,)], redirects=Std(m)) for m in range(4)]


@case
def fork_tee(directory):
    return [run(under(directory, m), speak, [(0,), (1,)], tee=Std(m)) for m in range(4)]


@case
def fork_redirects_and_tee_by_rank(directory):
    redirects, tee = {0: Std.OUT, 1: Std.ERR}, {1: Std.OUT, 2: Std.ALL}
    return run(directory, speak, [(0,), (1,), (2,), (3,)], redirects=redirects, tee=tee)


@case
def fork_prefixes(directory):
    prefixes = {0: "zero> ", 1: ""}
    return run(directory, speak, [(0,), (1,), (2,)], tee=Std.ALL, log_line_prefixes=prefixes)


@case
def fork_duplicate_filters(directory):
    return run(
        directory,
        speak,
        [(0,), (1,), (2,)],
        tee={0: Std.ALL, 1: Std.ALL},
        duplicate_stdout_filters=["by 0", "by 2"],
        duplicate_stderr_filters=["by 1 "],
    )


@case
def a_context_tells_of_itself(directory):
    context = start(directory, killed, [(signal.SIGSTOP,), (signal.SIGSTOP,)], redirects=Std.OUT)
    try:
        return {
            "is": [isinstance(context, MultiprocessContext), type(context).__name__],
            "name": context.name,
            "nprocs": context.nprocs,
            "entrypoint": context.entrypoint is killed,
            "args": context.args,
            "envs": context.envs,
            "stdouts": context.stdouts,
            "stderrs": context.stderrs,
            "error_files": context.error_files,
            "start_method": context.start_method,
            "pids": list(context.pids()),
            "running": [os.path.exists(f"/proc/{pid}") for pid in context.pids().values()],
            "early": [context.wait(timeout=0), context.wait(timeout=0.2, period=0.1)],
        }
    finally:
        pids = context.pids().values()
        context.close(signal.SIGKILL)
        context.close()
        if any(os.path.exists(f"/proc/{pid}") for pid in pids):
            raise RuntimeError("close left a worker")


@case
def a_second_start_is_refused(directory):
    context = start(directory, signal.pause, [()])
    try:
        context.start()
    finally:
        context.close()


@case
def args_and_envs_have_to_match(directory):
    specs = DefaultLogsSpecs(os.path.join(directory, "logs"))
    start_processes("trainer", nothing, {0: (), 1: ()}, {0: {}}, specs)


@case
def ranks_have_to_be_complete(directory):
    specs = DefaultLogsSpecs(os.path.join(directory, "logs"))
    start_processes("trainer", nothing, {0: (), 2: ()}, {0: {}, 2: {}}, specs)


@case
def an_unknown_start_method_is_refused(directory):
    start(directory, nothing, [()], "teleport")


def digest(given):
    values = given["return_values"]
    given["return_values"] = {
        rank: hashlib.sha256(value).hexdigest() for rank, value in values.items()
    }
    return given


if __name__ == "__main__":
    dump.main()
