"""The exec'd guardian, with its channel as fd 3 and the run's lock as fd 4.

``python -I -S …/_guardian/__main__.py LAUNCHER RUN_ID``: LAUNCHER is a pid; RUN_ID is there for
``ps``.
"""

from __future__ import annotations

import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))
if not getattr(sys.flags, "safe_path", False):
    del sys.path[0]  # this file's directory, which only its name has put there
sys.path.insert(0, os.path.dirname(os.path.dirname(_HERE)))

from procession._guardian.channel import Channel  # noqa: E402
from procession._guardian.starters import ProgramStarter  # noqa: E402
from procession._guardian.warden import Warden  # noqa: E402
from procession._os import lean  # noqa: E402
from procession._os.kernel import set_subreaper  # noqa: E402
from procession._os.runlock import handle_of  # noqa: E402

CHANNEL_FD, LOCK_FD = 3, 4


def main(launcher: int) -> None:
    """Take the place of a guardian and serve until the launcher is gone."""
    while os.open(os.devnull, os.O_RDWR) <= 2:  # a launcher without stderr leaves 2 free for ours
        pass
    ignored = lean.ignored_signals()
    lean.become_deaf()
    set_subreaper(True)
    os.closerange(LOCK_FD + 1, os.sysconf("SC_OPEN_MAX"))
    os.set_inheritable(CHANNEL_FD, False)
    os.set_inheritable(LOCK_FD, False)
    starter = ProgramStarter(ignored, handle_of(LOCK_FD))
    Warden(Channel(lean.socket(fileno=CHANNEL_FD)), starter, launcher, LOCK_FD).run()


if __name__ == "__main__":
    main(int(sys.argv[1]))
    os._exit(0)
