"""A worker with a family: a child, and a daemon that has left its session and its environment.

Writes "worker child daemon\\n" (pids) into the FIFO named by its first argument, then waits for ever.
"""

import os
import signal
import subprocess
import sys


def daemon() -> int:
    """Double-fork into a session of its own, as daemons do; return the daemon's pid."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            os.close(writer)
            os.execve("/bin/sleep", ["sleep", "1000"], {})
        os.write(writer, b"%d" % pid)
        os._exit(0)
    os.close(writer)
    os.wait()
    pid = int(os.read(reader, 20))
    os.close(reader)
    return pid


def main(fifo: str) -> None:
    child = subprocess.Popen(["/bin/sleep", "1000"])
    line = f"{os.getpid()} {child.pid} {daemon()}\n".encode()
    fd = os.open(fifo, os.O_WRONLY)
    os.write(fd, line)
    os.close(fd)
    while True:
        signal.pause()


if __name__ == "__main__":
    main(sys.argv[1])
