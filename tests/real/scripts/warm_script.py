"""``warm_script.py WORDS``: run ``python WORDS`` as a worker of a fork server, and end as it ended."""

import os
import signal
import sys

from procession.multiprocessing import LogsDest, LogsSpecs, Supervision, start_processes
from procession.multiprocessing.fork_server import SCRIPT_BOOTSTRAP


class Nowhere(LogsSpecs):
    """The worker has our own streams."""

    def reify(self, envs):
        return LogsDest({0: ""}, {0: ""}, {}, {}, {0: ""})

    @property
    def root_log_dir(self):
        return ""


def main():
    context = start_processes(
        "script",
        sys.executable,
        {0: (SCRIPT_BOOTSTRAP, *sys.argv[1:])},
        {0: {}},
        Nowhere(),
        supervision=Supervision(preload=("colorsys",)),
    )
    result = context.wait()
    code = result.failures[0].exitcode if result.failures else 0
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


main()
