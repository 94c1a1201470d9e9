"""A worker that writes lines: ``line_writer.py STAMPS WORKERS LINES LENGTH BLOCK``.

All workers begin once all are there. Each leaves the time of its first write (CLOCK_MONOTONIC, ns) as the
name of a file in STAMPS, and ends every line with a ``~``, which nobody else prints.
"""

import os
import sys
import time

stamps, workers, lines, length, block = sys.argv[1], *map(int, sys.argv[2:])
line = b"x" * (length - 2) + b"~\n"
at_once = max(1, block // length)
full, rest = divmod(lines, at_once)


def touch(name):
    os.close(os.open(f"{stamps}/{name}", os.O_CREAT | os.O_WRONLY))


def write(data):
    view = memoryview(data)
    while view:  # a pipe may take less
        view = view[os.write(1, view) :]


touch(f"there-{os.getpid()}")
while sum(name.startswith("there") for name in os.listdir(stamps)) < workers:
    time.sleep(0.001)  # nothing is measured yet
many = line * at_once
touch(f"began-{time.monotonic_ns()}")
for _ in range(full):
    write(many)
write(line * rest)
