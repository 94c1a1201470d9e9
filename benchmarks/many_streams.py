"""Percent of a core that it takes to show many streams: ``many_streams.py STREAMS RATE SECONDS``.

RATE is the number of lines a second of all streams together.
"""

import os
import resource
import subprocess
import sys
import tempfile

from procession.multiprocessing.tail_log import TailLog

WRITE = """
import os, random, sys, time
folder, streams, rate, seconds = sys.argv[1], *map(int, sys.argv[2:])
files = [os.open(f"{folder}/{n}", os.O_WRONLY | os.O_APPEND) for n in range(streams)]
line, written, begin = b"x" * 99 + b"\\n", 0, time.monotonic()
while (passed := time.monotonic() - begin) < seconds:
    while written < passed * rate:
        os.write(random.choice(files), line)
        written += 1
    time.sleep(0.001)
print(written)
"""
COUNT = """
import os
buffer, shown = bytearray(1 << 20), 0
while count := os.readv(0, [buffer]):
    shown += buffer.count(b"\\n", 0, count)
print(shown)
"""


def cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


streams, _, seconds = sys.argv[1:]
limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
python = [sys.executable, "-I", "-S", "-c"]
result = os.dup(1)
with tempfile.TemporaryDirectory() as folder:
    files = {n: os.path.join(folder, str(n)) for n in range(int(streams))}
    for path in files.values():
        open(path, "wb").close()
    reader = subprocess.Popen(
        [*python, COUNT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert reader.stdin
    os.dup2(reader.stdin.fileno(), 1)
    view = TailLog("s", files, sys.stdout).start()
    before = cpu()
    writer = [*python, WRITE, folder]
    written = subprocess.run([*writer, *sys.argv[1:]], stdout=subprocess.PIPE, check=True).stdout
    view.stop()
    used = cpu() - before
    os.dup2(result, 1)
    shown = reader.communicate()[0]
if int(shown) != int(written):
    sys.exit(f"{shown} of {written} lines have come out")
os.write(result, b"%f" % (100 * used / int(seconds)))
