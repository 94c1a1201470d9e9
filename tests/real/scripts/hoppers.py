"""A worker that fails and leaves processes which fork, end, and fork again, for 20 s at most.

``hoppers.py [NUMBER]``: so many, four where it is not given.
Each is in a session of its own, and none lives for longer than a fork takes.
"""

import os
import sys
import time

END = time.monotonic() + 20


def hop() -> None:
    while time.monotonic() < END:
        if os.fork():
            os._exit(0)
        os.setsid()
    os._exit(0)


for _ in range(int(sys.argv[1]) if sys.argv[1:] else 4):
    if os.fork() == 0:
        hop()
time.sleep(0.1)
sys.exit(3)
