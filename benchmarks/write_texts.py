"""The program of a worker that writes, and says in seconds how long its writes took."""

LOOP = """
import os, sys, time
size, count = map(int, sys.argv[1:])
data = (b"x" * 99 + b"\\n") * (size // 100 + 1)
data = data[: size - 1] + b"\\n"
begin = time.perf_counter()
for _ in range(count):
    os.write(1, data)
print(time.perf_counter() - begin, file=sys.stderr)
"""
