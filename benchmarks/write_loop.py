"""Seconds that a worker spends in its writes: ``write_loop.py teed|plain SIZE COUNT``."""

import os
import subprocess
import sys
import tempfile

from procession.multiprocessing.tail_log import TailLog
from write_texts import LOOP

COUNT = """
import os, sys
buffer, shown = bytearray(1 << 20), 0
while count := os.readv(0, [buffer]):
    shown += buffer.count(b"\\n", 0, count)
print(shown)
"""

mode, size, count = sys.argv[1:]
python = [sys.executable, "-I", "-S", "-c"]
result = os.dup(1)
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "log")
    reader = subprocess.Popen(
        [*python, COUNT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert reader.stdin
    os.dup2(reader.stdin.fileno(), 1)
    with open(path, "ab") as log:
        view = TailLog("w", {0: path} if mode == "teed" else {}, sys.stdout).start()
        loop = subprocess.run(
            [*python, LOOP, size, count], check=True, stdout=log, stderr=subprocess.PIPE
        )
    view.stop()
    os.dup2(result, 1)
    shown = int(reader.communicate()[0])
    with open(path, "rb") as log:
        written = sum(line.count(b"\n") for line in iter(lambda: log.read(1 << 20), b""))
if shown != (written if mode == "teed" else 0):
    sys.exit(f"{shown} of {written} lines have come out")
os.write(result, loop.stderr)
