"""A launcher to be killed: ``launcher.py ENTRY FIFO LOGS GRACE`` starts two workers of tree.py.

ENTRY is binary, spawn, fork or forkserver. Prints "guardian <pid>" and, at the end, what came of it.
"""

import os
import signal
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import tree  # noqa: E402

from procession.errors import GuardianLostError  # noqa: E402
from procession.multiprocessing import (  # noqa: E402
    DefaultLogsSpecs,
    SignalException,
    Std,
    Supervision,
    start_processes,
)


def main(entry: str, fifo: str, logs: str, grace: float) -> int:
    script = os.path.join(HERE, "tree.py")
    binary = entry == "binary"
    context = start_processes(
        name="tree",
        entrypoint=sys.executable if binary else tree.main,
        args=dict.fromkeys(range(2), (script, fifo) if binary else (fifo,)),
        envs={0: {}, 1: {}},
        logs_specs=DefaultLogsSpecs(logs, redirects=Std.ALL),
        start_method="spawn" if binary else entry,
        supervision=Supervision(shutdown_timeout=grace),
    )
    if os.environ.get("FORK_AFTER_START") and os.fork() == 0:
        while True:
            signal.pause()
    try:  # who reads the line may send a signal at once
        print("guardian", context._gang._guardian.pid, flush=True)
        result = context.wait()
        print("result", {r: f.exitcode for r, f in result.failures.items()}, flush=True)
    except SignalException as stop:
        context.close(signal.SIGTERM, grace)
        print("signal", stop.sigval.name, flush=True)
    except GuardianLostError:
        print("guardian lost", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4])))
