"""A launcher that waits for nobody: ``idle.py ENTRY FIFO LOGS`` starts two workers of tree.py.

Prints "guardian <pid> <run id>", sits in a read of its stdin, then waits and prints what came of it.
"""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import tree  # noqa: E402

from procession.errors import GuardianLostError  # noqa: E402
from procession.multiprocessing import (  # noqa: E402
    DefaultLogsSpecs,
    Std,
    Supervision,
    start_processes,
)


def main(entry: str, fifo: str, logs: str) -> None:
    script = os.path.join(HERE, "tree.py")
    binary = entry == "binary"
    context = start_processes(
        name="tree",
        entrypoint=sys.executable if binary else tree.main,
        args=dict.fromkeys(range(2), (script, fifo) if binary else (fifo,)),
        envs={0: {}, 1: {}},
        logs_specs=DefaultLogsSpecs(logs, redirects=Std.ALL),
        start_method="spawn" if binary else entry,
        supervision=Supervision(shutdown_timeout=0, isolate=os.environ.get("ISOLATE", "")),
    )
    pids = context.pids().values()
    print("guardian", context._gang._guardian.pid, context._run_id, *pids, flush=True)
    sys.stdin.readline()
    try:
        result = context.wait()
        print("result", {r: f.exitcode for r, f in result.failures.items()}, flush=True)
    except GuardianLostError:
        print("guardian lost", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
