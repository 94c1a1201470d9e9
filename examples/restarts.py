"""Fails in different ways, to see what a policy of restarts makes of it (docs/restarts.md).

    procession run -n 2 --max-restarts 3 --restart-backoff 1s:10s examples/restarts.py flaky
    procession run -n 2 --max-restarts 3 --no-restart-on same-traceback examples/restarts.py bug
    procession run -n 2 --max-restarts 3 --no-restart-on 75 examples/restarts.py refuses

``flaky`` is killed twice, and comes through at the third attempt. ``bug`` raises at the same line at every
attempt: the second is the last. ``refuses`` leaves with a status that says trying again is of no use.
"""

from __future__ import annotations

import os
import signal
import sys
import time


def flaky(attempt: int) -> None:
    """Be killed, as by a machine that is short of something for a while."""
    if attempt < 2:
        os.kill(os.getpid(), signal.SIGKILL)


def bug(attempt: int) -> None:
    """Fail at the same line every time; the text differs."""
    raise ValueError(f"no sample {attempt + 17}")


def refuses(_attempt: int) -> None:
    """Leave with a status of its own choice."""
    sys.exit(75)


def main() -> None:
    """Have rank 1 do the deed, while the others would have gone on."""
    attempt = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
    if os.environ["RANK"] == "1":
        {"flaky": flaky, "bug": bug, "refuses": refuses}[sys.argv[1]](attempt)
    else:
        time.sleep(0.2)
    print(f"rank {os.environ['RANK']} is through at attempt {attempt + 1}")


if __name__ == "__main__":
    main()
