"""Runs ``-m MODULE`` or a script as Python does, and leaves without taking the interpreter apart.

torch's threads now and then abort a process that does so ("terminate called without an active exception",
SIGABRT, no Python frame), under any launcher and in torch's own; what is compared has been said by then.
"""

import atexit
import os
import runpy
import sys
import threading


def run():
    """Run what the command line names."""
    del sys.argv[0]
    if sys.argv[0] == "-m":
        del sys.argv[0]
        sys.path[0] = os.getcwd()
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0]))
        runpy.run_path(sys.argv[0], run_name="__main__")


def status():
    """The exit status that Python would make of it."""
    try:
        run()
    except SystemExit as stop:
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


if __name__ == "__main__":
    found = status()
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(found)
