"""Machines that lack something: how to make this one so, for a test suite and all that it starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
DENY = (sys.executable, "-m", "procession.testing.deny")

# Remounts every cgroup hierarchy read-only, in a mount namespace of its own (unshare(1)).
_READ_ONLY_CGROUPS = """
awk '/ - cgroup2? / {print $5}' /proc/self/mountinfo | while read mount; do
    mount -o remount,ro,bind "$mount" || exit 125
done && exec "$@"
"""
# Opens the way to what an ordinary user has to reach below a directory that is closed to others
# (root's home), for the processes of this mount namespace alone.
_WITH_A_WAY = """
closed=$1 home=$2 user=$3; shift 3
if [ "$closed" != / ]; then
    mkdir -p "$home/kept" && mount --rbind "$closed" "$home/kept" || exit 125
    mount -t tmpfs -o mode=755 tmpfs "$closed" || exit 125
fi
while [ "$1" != -- ]; do
    case "$1" in "$closed"/*)
        mkdir -p "$1" && mount --bind "$home/kept${1#"$closed"}" "$1" || exit 125;;
    esac
    shift
done
shift
exec setpriv --reuid="$user" --regid="$user" --clear-groups "$@"
"""
_NOBODY = 65534


class Condition(NamedTuple):
    """What is put before a command line.

    Attributes:
        prefix: The words.
        needs_root: Only root can do it.
        as_nobody: It ends in the command line of another user's processes.
    """

    prefix: tuple[str, ...]
    needs_root: bool = False
    as_nobody: bool = False

    def words(self, home: Path) -> list[str]:
        """The whole of what stands before a command line."""
        return as_user(_NOBODY, home) if self.as_nobody else list(self.prefix)


def as_user(user: int, home: Path) -> list[str]:
    """What stands before a command line to run it as another user; for root.

    Args:
        user: A uid, of which nothing need be known on this machine.
        home: A directory that the user may write to.
    """
    needed = (Path(sys.base_prefix), Path(sys.prefix), ROOT)
    shell = ["unshare", "--mount", "sh", "-c", _WITH_A_WAY, "sh"]
    return [*shell, str(_closed(needed)), str(home), str(user), *map(str, needed), "--"]


def _closed(needed: tuple[Path, ...]) -> Path:
    """The uppermost directory above one of ``needed`` that others cannot pass through, or /."""
    for path in needed:
        for parent in reversed(path.resolve().parents):
            if not parent.stat().st_mode & 0o001:
                return parent
    return Path("/")


CONDITIONS = {
    "no pidfd": Condition((*DENY, "pidfd_open", "--")),
    "no inotify": Condition((*DENY, "inotify_init1", "--")),
    "a strict container": Condition(
        (*DENY, "--errno", "EPERM", "pidfd_open", "inotify_init1", "memfd_create", "--")
    ),
    "cgroups read-only": Condition(
        ("unshare", "--mount", "sh", "-c", _READ_ONLY_CGROUPS, "sh"), needs_root=True
    ),
    "an ordinary user": Condition((), needs_root=True, as_nobody=True),
}


def suite(condition: Condition, home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run tests of this project under a condition.

    Args:
        condition: Of the machine.
        home: A directory for temporary files, which the condition's user may write to.
        words: Further words for pytest: what to run.
    """
    if os.geteuid() == 0:
        home.chmod(0o777)
    marks = ("-m", "not stress and not full_platform")
    options = ("-q", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", *marks)
    return subprocess.run(
        [*condition.words(home), sys.executable, "-B", "-m", "pytest", *options, *words],
        cwd=ROOT,
        env={
            **os.environ,
            **dict.fromkeys(("TMPDIR", "HOME", "HYPOTHESIS_STORAGE_DIRECTORY"), str(home)),
        },
        capture_output=True,
        text=True,
        check=False,
    )
