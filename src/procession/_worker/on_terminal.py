"""Makes fd 0 this session's controlling terminal, and becomes the program that was meant.

    python -I -S .../_worker/on_terminal.py PROGRAM [ARGS...]

A session leader without a terminal has to ask for one (tty_ioctl(4), TIOCSCTTY) before Ctrl-C on it is
a signal; exec does not. Then fd 4 is closed, and the relay passes on what has been typed. Standard
library only.
"""

import fcntl
import os
import signal
import sys
import termios

_TAKING = 4


def main(argv: "list[str]") -> None:
    """Do it; the exit status is a shell's where the program cannot be executed."""
    for ours in (
        signal.SIGPIPE,
        signal.SIGXFSZ,
    ):  # this interpreter's own, which exec would hand on
        signal.signal(ours, signal.SIG_DFL)
    # A Ctrl-C before exec ends us as it would the program, without a word, unless it is to be ignored.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    os.close(_TAKING)
    try:
        os.execvpe(argv[0], argv, os.environ)
    except OSError as error:
        os.write(2, f"{argv[0]}: {error.strerror}\n".encode())
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


if __name__ == "__main__":
    main(sys.argv[1:])
