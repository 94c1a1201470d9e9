"""The start of a spawned function worker: ``python [flags] …/_worker/spawned.py``.

fd 3 is the payload, 4 the result pipe, 5 the resource tracker, 6… what arguments hand over.
"""

import os
import sys

PROCESSION_BOOTSTRAPPING = True  # seen by a launch from an unguarded main module (payload.py)


def _main() -> None:
    if not getattr(sys.flags, "safe_path", False):
        del sys.path[0]  # this file's directory, which only its name has put there
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    for fd in (3, 4, 5):
        os.set_inheritable(fd, False)
    from procession._worker.function import run_payload

    run_payload(3, 4, 5)


if __name__ == "__main__":
    _main()
