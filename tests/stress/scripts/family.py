"""A worker with a family, for the kill matrix: ``family.py ROLL STUBBORN THOROUGH``.

It has a child, and that a daemon with a session of its own and an empty environment. It writes numbered
lines to its stdout for as long as it lives. Into ROLL it says "ready family WORKER CHILD DAEMON", and at
each SIGTERM, if it is stubborn, "ready term WORKER".
"""

import os
import select
import signal
import sys
from typing import NoReturn

LINES = 100  # so many are there before it says that it is ready
PERIOD = 0.005  # seconds between the further ones
LIFETIME = 120  # seconds after which all of the family are gone by themselves


def say(roll: str, name: str, *pids: int) -> None:
    fd = os.open(roll, os.O_WRONLY | os.O_CLOEXEC)
    os.write(fd, " ".join(["ready", name, *map(str, (os.getpid(), *pids))]).encode() + b"\n")
    os.close(fd)


def write(number: int) -> None:
    os.write(1, b"%06d\n" % number)


def idle() -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.alarm(LIFETIME)
    while True:
        signal.pause()


def become_daemon(thorough: bool, word: int) -> None:
    os.setsid()
    os.set_inheritable(word, False)
    if thorough:
        for fd in set(map(int, os.listdir("/proc/self/fd"))) - {word}:
            try:
                os.close(fd)
            except OSError:
                continue
    os.execve("/bin/sleep", ["sleep", str(LIFETIME)], {})


def beget(thorough: bool) -> tuple[int, int]:
    """Return the pids of a child and of its daemon, once both are what they should be."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        middle = os.fork()
        if middle == 0:
            daemon = os.fork()
            if daemon == 0:
                become_daemon(thorough, writer)
            os.write(writer, b"%d" % daemon)
            os._exit(0)
        os.waitpid(middle, 0)
        os.close(writer)
        idle()
    os.close(writer)
    told = b""
    while more := os.read(reader, 20):  # to its end: the daemon's copy goes when it execs
        told += more
    os.close(reader)
    return child, int(told)


def main(roll: str, stubborn: str, thorough: str) -> None:
    if int(stubborn):
        signal.signal(signal.SIGTERM, lambda *_: say(roll, "term"))
    signal.alarm(LIFETIME)
    family = beget(bool(int(thorough)))
    for number in range(LINES):
        write(number)
    say(roll, "family", *family)
    while True:
        select.select([], [], [], PERIOD)
        number += 1
        write(number)


if __name__ == "__main__":
    main(*sys.argv[1:])
