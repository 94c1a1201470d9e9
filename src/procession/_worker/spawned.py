"""The start of a spawned function worker: ``python [flags] …/_worker/spawned.py``.

fd 3 is the run's lock, 4 the payload, 5 the reply, 6 the resource tracker, 7… what arguments
hand over.
"""

import gc
import os
import sys

PROCESSION_BOOTSTRAPPING = True  # seen by a launch from an unguarded main module (likeness.py)


def _main() -> None:
    gc.disable()
    if not getattr(sys.flags, "safe_path", False):
        del sys.path[0]  # this file's directory, which only its name has put there
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    for fd in (4, 5, 6):
        os.set_inheritable(fd, False)
    from procession._worker.function import run_payload

    # What is there now is there to the end: neither a collection nor the interpreter's end need look
    # at it, which is a tenth of what a worker costs. What the user's code makes is collected as ever.
    gc.freeze()
    gc.enable()
    run_payload(4, 5, 6)


if __name__ == "__main__":
    _main()
