"""What the kernel can be asked to start."""

from __future__ import annotations

import errno
import os

__all__ = ["programs", "refuse_unspeakable"]


def programs(binary: str, env: dict[str, str]) -> list[str]:
    """Return the paths where ``binary`` may be, by the ``PATH`` of the worker's environment."""
    if os.sep in binary:
        return [binary]
    path = env.get("PATH", os.defpath)
    return [os.path.join(directory, binary) for directory in path.split(os.pathsep)]


def refuse_unspeakable(argv: list[str], env: dict[str, str]) -> None:
    """Refuse what no program can be given.

    Raises:
        FileNotFoundError: The program's name is empty.
        TypeError: A variable's name is no text.
        ValueError: A NUL byte, text that has no bytes (a lone surrogate), a variable's name that is
            empty or holds ``=``.
    """
    if not argv[0]:
        raise FileNotFoundError(errno.ENOENT, "no program is named by an empty string", argv[0])
    if not all(isinstance(name, str) for name in env):
        name = next(name for name in env if not isinstance(name, str))
        raise TypeError(f"{name!r} is no name of an environment variable: give a text")
    texts = (*argv, *env, *env.values())
    whole = "".join(texts)
    os.fsencode(whole)  # a lone surrogate: UnicodeEncodeError, a ValueError
    if "\0" in whole:
        text = next(text for text in texts if "\0" in text)
        raise ValueError(
            f"embedded null byte in {text!r}: arguments and environment cannot hold one"
        )
    if "" in env or "=" in "".join(env):
        name = next(name for name in env if not name or "=" in name)
        raise ValueError(f"illegal environment variable name {name!r}: it is empty or holds '='")
