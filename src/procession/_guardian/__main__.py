"""The exec'd guardian, with its channel as fd 3 and the run's lock as fd 4.

``python -I -S …/_guardian/__main__.py LAUNCHER RUN_ID [pidns]``: LAUNCHER is a pid; RUN_ID is there
for ``ps``; with ``pidns`` fd 5 is where the coming of a namespace is reported.
"""

from __future__ import annotations

import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))
if not getattr(sys.flags, "safe_path", False):
    del sys.path[0]  # this file's directory, which only its name has put there
sys.path.insert(0, os.path.dirname(os.path.dirname(_HERE)))

from procession._guardian.channel import Channel  # noqa: E402
from procession._guardian.starters import ProgramStarter, close_all, open_fds  # noqa: E402
from procession._guardian.warden import Warden  # noqa: E402
from procession._os import lean  # noqa: E402
from procession._os.kernel import continue_after_parent, set_subreaper  # noqa: E402
from procession._os.parent import Parent  # noqa: E402
from procession._os.runlock import handle_of  # noqa: E402

TYPE_CHECKING = False
if TYPE_CHECKING:
    from procession._os.namespaces import OuterPids

CHANNEL_FD, LOCK_FD, REPORT_FD = 3, 4, 5


def main(launcher: int, *, isolated: bool) -> None:
    """Take the place of a guardian and serve until the launcher is gone."""
    while os.open(os.devnull, os.O_RDWR) <= 2:  # a launcher without stderr leaves 2 free for ours
        pass
    ignored = lean.ignored_signals()
    lean.become_deaf()
    close_all(fd for fd in open_fds() if fd >= REPORT_FD + isolated)
    parent = Parent(launcher)
    outside = _isolated() if isolated else None
    continue_after_parent()
    set_subreaper(True)
    os.set_inheritable(CHANNEL_FD, False)
    os.set_inheritable(LOCK_FD, False)
    starter = ProgramStarter(ignored, handle_of(LOCK_FD))
    Warden(Channel(lean.socket(fileno=CHANNEL_FD)), starter, parent, LOCK_FD, outside).run()


def _isolated() -> OuterPids:
    from procession._guardian.isolation import isolate

    os.set_inheritable(REPORT_FD, False)
    return isolate(REPORT_FD)


if __name__ == "__main__":
    main(int(sys.argv[1]), isolated=len(sys.argv) > 3)
    os._exit(0)
