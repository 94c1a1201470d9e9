"""A worker that fails and leaves processes which fork, end, and fork again, 8000 times in all at most.

``hoppers.py [NUMBER]``: so many, four where it is not given.
Each is in a session of its own, and none lives for longer than a fork takes. The bound leaves the
host's other processes their pids where nobody reaps in time.
"""

import os
import sys
import time

HOPPERS = int(sys.argv[1]) if sys.argv[1:] else 4


def hop() -> None:
    for _ in range(8000 // HOPPERS):
        if os.fork():
            os._exit(0)
        os.setsid()
    os._exit(0)


for _ in range(HOPPERS):
    if os.fork() == 0:
        hop()
time.sleep(0.1)
sys.exit(3)
