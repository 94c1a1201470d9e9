"""A program that launches by the library: ``caller.py ENTRY LOGS GRACE RUN_ID HELD ARGS…``.

HELD is the local rank whose start is held up, or -1. The last line of its stdout says what it was told:
"signal NAME", "failed CODE", "lost" or "done".
"""

import os
import signal
import sys
from contextlib import suppress

import family
from held import Late

from procession.errors import GuardianLostError
from procession.multiprocessing import (
    DefaultLogsSpecs,
    PContext,
    SignalException,
    Std,
    Supervision,
    start_processes,
)


def start(entry: str, logs: str, grace: float, run_id: str, held: int, args: list[str]) -> PContext:
    binary = entry == "binary"
    given = (family.__file__, *args) if binary else tuple(args)
    envs = {rank: {"LOCAL_RANK": str(rank)} for rank in range(2)}
    if held >= 0:
        envs[held]["LATE"] = Late()
    return start_processes(
        name="family",
        entrypoint=sys.executable if binary else family.main,
        args={0: given, 1: given},
        envs=envs,
        logs_specs=DefaultLogsSpecs(logs, redirects=Std.ALL),
        start_method="spawn" if binary else entry,
        supervision=Supervision(
            shutdown_timeout=grace, run_id=run_id, isolate=os.environ.get("ISOLATE", "")
        ),
    )


def outcome(grace: float, *rest: object) -> str:
    context = None
    try:
        context = start(*rest)
        result = context.wait()
    except SignalException as stop:
        with suppress(SignalException):  # a further signal is raised on the return of close()
            if context is not None:
                context.close(signal.SIGTERM, grace)
        return f"signal {stop.sigval.name}"
    except GuardianLostError:
        return "lost"
    if result.is_failed():
        return f"failed {next(iter(result.failures.values())).exitcode}"
    return "done"


if __name__ == "__main__":
    entry, logs, grace, run_id, held, *args = sys.argv[1:]
    word = outcome(float(grace), entry, logs, float(grace), run_id, int(held), args)
    os.write(1, f"{word}\n".encode())
