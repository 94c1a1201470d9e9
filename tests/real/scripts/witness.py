"""``witness.py DIRECTORY``: a worker that tells of itself, and asks the kernel whether it is alone.

Every worker holds a lock on the byte of its rank in its gang's file, which ends with its process and not
before. At its start it looks for locks in the files of other gangs, and for its own rank taken. Its last
moment is in ``last/``, by the one clock that namespaces of one kernel share, to 10 ms. With STUBBORN in
its environment it does not end when it is asked to.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import struct
import sys
import time

FLOCK = "hhqqi"  # struct flock of 64-bit Linux (fcntl_locking(2)): type, whence, start, length, pid
SEAT = (
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "GROUP_RANK",
    "GROUP_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
)

directory, gang, rank = sys.argv[1], os.environ["TORCHELASTIC_RESTART_COUNT"], os.environ["RANK"]
told = os.open(f"{directory}/told", os.O_WRONLY | os.O_APPEND)


def tell(what: str) -> None:
    here = {
        "host": os.uname().nodename,
        "pid": os.getpid(),
        "at": time.monotonic(),
        "gang": int(gang),
    }
    line = {"is": what, **here, **{name: os.environ[name] for name in SEAT}}
    os.write(told, (json.dumps(line) + "\n").encode())


def holder(path: str) -> int:
    """The pid of a process that holds a lock on any byte, 0 for none."""
    fd = os.open(path, os.O_RDWR)
    asked = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    kind, _, _, _, pid = struct.unpack(FLOCK, fcntl.fcntl(fd, fcntl.F_GETLK, asked))
    os.close(fd)
    return 0 if kind == fcntl.F_UNLCK else pid


def look_around() -> None:
    mine = os.open(f"{directory}/gangs/{gang}", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.lockf(mine, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, int(rank))
    except OSError:
        tell("wrong: my rank is taken")
    for other in os.listdir(f"{directory}/gangs"):
        if other != gang and (pid := holder(f"{directory}/gangs/{other}")):
            tell(f"wrong: beside gang {other}, pid {pid}")


if "STUBBORN" in os.environ:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
look_around()
tell("begun")
last = os.open(f"{directory}/last/{gang}-{rank}", os.O_WRONLY | os.O_CREAT)
orders = f"{directory}/fail-{gang}-{rank}"
while not os.path.exists(f"{directory}/go"):
    os.pwrite(last, struct.pack("d", time.monotonic()), 0)
    if os.path.exists(orders):
        sys.exit(7)
    time.sleep(0.01)
os.pwrite(last, struct.pack("d", time.monotonic()), 0)
