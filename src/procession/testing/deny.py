"""Have the kernel refuse system calls, to see what a program does without them.

``python -m procession.testing.deny [--errno NAME] CALL… -- COMMAND [ARG…]`` runs a command, a test
suite for one, in which the named calls fail; so do they in all that it starts.
"""

from __future__ import annotations

import argparse
import errno as errors
import os
import sys
from typing import TYPE_CHECKING

from procession._os import seccomp
from procession.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

__all__ = ["deny", "main"]


def deny(*calls: str, errno: int = errors.ENOSYS) -> None:
    """Make system calls fail in this thread and in all that it starts from now on, for good.

    Call it in a process of its own, which cannot gain privileges after it either: setuid programs
    run as whoever starts them (PR_SET_NO_NEW_PRIVS).

    Args:
        calls: Names, of those that `procession._os.seccomp` knows the numbers of.
        errno: What they fail with; ENOSYS as on a kernel without them, EPERM as in a strict container.

    Raises:
        UsageError: A name that is not known on this machine.
        OSError: The kernel has no seccomp filters.
    """
    machine = os.uname().machine
    architecture = seccomp.ARCHITECTURES.get(machine)
    if architecture is None:
        raise UsageError(
            f"no system call's number is known for {machine}: "
            f"there are {', '.join(seccomp.ARCHITECTURES)}"
        )
    unknown = sorted(set(calls) - architecture.numbers.keys())
    if unknown or not calls:
        raise UsageError(
            f"cannot deny {', '.join(unknown) or 'nothing'}: "
            f"there are {', '.join(sorted(architecture.numbers))}"
        )
    seccomp.install(seccomp.program(architecture, calls, errno))


def main(words: Sequence[str]) -> NoReturn:
    """Be ``python -m procession.testing.deny WORDS``: become the command, without the calls."""
    try:
        given = _parsed(words)
        deny(*given.calls, errno=getattr(errors, given.errno))
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
