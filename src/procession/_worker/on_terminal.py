"""Makes fd 0 this session's controlling terminal, and becomes the program that was meant.

    python -I -S .../_worker/on_terminal.py PROGRAM [ARGS...]

A session leader without a terminal has to ask for one (tty_ioctl(4), TIOCSCTTY) before Ctrl-C on it is
a signal; exec does not. Standard library only.
"""

import fcntl
import os
import signal
import sys
import termios


def main(argv: "list[str]") -> None:
    """Do it; the exit status is a shell's where the program cannot be executed."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    for ours in (
        signal.SIGPIPE,
        signal.SIGXFSZ,
    ):  # this interpreter's own, which exec would hand on
        signal.signal(ours, signal.SIG_DFL)
    try:
        os.execvpe(argv[0], argv, os.environ)
    except OSError as error:
        os.write(2, f"{argv[0]}: {error.strerror}\n".encode())
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


if __name__ == "__main__":
    main(sys.argv[1:])
