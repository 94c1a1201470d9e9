"""A worker that tells the time of each write: ``ticker.py LINES PAUSE``."""

import os
import sys
import time

for _ in range(int(sys.argv[1])):
    time.sleep(float(sys.argv[2]))
    os.write(1, b"tick %d\n" % time.monotonic_ns())
