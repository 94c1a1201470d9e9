"""What is mounted where: the lines of /proc/self/mountinfo, see proc_pid_mountinfo(5).

Pure, but for ``read``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOUNTINFO = "/proc/self/mountinfo"


class Mount(NamedTuple):
    """One mount.

    Attributes:
        root: The directory of the file system that lies at ``point``.
        point: Where it is mounted.
        kind: The file system's type.
        options: Those of the file system itself, as cgroup v1's controllers.
    """

    root: str
    point: str
    kind: str
    options: frozenset[str]


def read() -> str:
    """Return the text of this process's mounts, "" where there is none to read."""
    try:
        with open(_MOUNTINFO, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


def parse(mountinfo: str) -> Iterator[Mount]:
    """Yield the mounts of a mountinfo text; of two on one directory the later one is on top."""
    for line in mountinfo.splitlines():
        mount, _, rest = line.partition(" - ")
        fields, (kind, _source, options) = mount.split(" "), (rest.split(" ") + [""] * 3)[:3]
        if len(fields) >= 5 and kind:
            yield Mount(_plain(fields[3]), _plain(fields[4]), kind, frozenset(options.split(",")))


def inside(directory: str, path: str) -> bool:
    """True if the absolute ``path`` is ``directory`` or lies below it."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def _plain(field: str) -> str:
    r"""A path as it is: the kernel writes space, tab, newline and backslash as ``\040`` and so on."""
    head, *rest = field.split("\\")
    return head + "".join(
        chr(int(part[:3], 8)) + part[3:] if part[:3].isdigit() else "\\" + part for part in rest
    )
