"""The floor: ``bare_tail.py N COMMAND...`` runs COMMAND N times, each into a file, and shows the files.

An inotify loop and nothing else: one file, one read, one ``replace`` for the prefixes, one write. It
knows no partial line at the end, no blocked console, no truncated file, no second view.
"""

import ctypes
import os
import select
import struct
import subprocess
import sys
import tempfile

IN_MODIFY = 2
libc = ctypes.CDLL(None)
inotify = libc.inotify_init1(0)
workers, streams, buffer = [], {}, bytearray(64 * 1024)
with tempfile.TemporaryDirectory() as folder:
    for rank in range(int(sys.argv[1])):
        path = f"{folder}/{rank}"
        out = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        watch = libc.inotify_add_watch(inotify, path.encode(), IN_MODIFY)
        streams[watch] = [os.open(path, os.O_RDONLY), b"", b"[rank%d]:" % rank]
        workers.append(subprocess.Popen(sys.argv[2:], stdout=out))
        os.close(out)

    def show(stream):
        fd, rest, prefix = stream
        while count := os.readv(fd, [buffer]):
            data = rest + buffer[:count]
            end = data.rfind(b"\n") + 1
            rest = data[end:]
            if end:
                text = prefix + data[: end - 1].replace(b"\n", b"\n" + prefix) + b"\n"
                while text:
                    text = text[os.write(1, text) :]
        stream[1] = rest

    while any(worker.poll() is None for worker in workers):
        if not select.select([inotify], [], [], 0.05)[0]:
            continue  # the last of them may have ended without another word
        events, position, seen = os.read(inotify, 65536), 0, set()
        while position < len(events):
            watch, _, _, length = struct.unpack_from("iIII", events, position)
            seen.add(watch)
            position += 16 + length
        for watch in seen:
            show(streams[watch])
    for stream in streams.values():
        show(stream)
