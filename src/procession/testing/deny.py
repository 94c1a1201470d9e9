"""The command that has the kernel refuse system calls, to see what a program does without them.

``python -m procession.testing.deny [--errno NAME] CALL… -- COMMAND [ARG…]`` runs a command, a test
suite for one, in which the named calls fail; so do they in all that it starts.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from typing import TYPE_CHECKING

from procession.errors import UsageError
from procession.testing.refusal import deny

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

__all__ = ["main"]


def main(words: Sequence[str]) -> NoReturn:
    """Be ``python -m procession.testing.deny WORDS``: become the command, without the calls."""
    try:
        given = _parsed(words)
        deny(*given.calls, errno=getattr(errno, given.errno))
        os.execvp(given.command[0], given.command)
    except (UsageError, OSError) as error:
        sys.stderr.write(f"deny: {error}\n")
        sys.exit(2)


def _parsed(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m procession.testing.deny")
    parser.add_argument("--errno", default="ENOSYS", choices=["ENOSYS", "EPERM"])
    parser.add_argument("calls", nargs="+", metavar="CALL")
    at = list(words).index("--") if "--" in words else len(words)
    parsed = parser.parse_args(words[:at], argparse.Namespace(command=words[at + 1 :]))
    if not parsed.command:
        parser.error("no command: CALL... -- COMMAND [ARG...]")
    return parsed


if __name__ == "__main__":
    main(sys.argv[1:])
