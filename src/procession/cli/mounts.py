"""On which kind of file system a path lies: over a network, logs are slow and may lose their order."""

from __future__ import annotations

import os
import re

_MOUNTINFO = "/proc/self/mountinfo"
_OVER_NETWORK = {
    "9p", "acfs", "afs", "beegfs", "ceph", "cifs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs",
    "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2", "smb3", "smbfs", "vboxsf", "wekafs",
}  # fmt: skip
_LOCAL_FUSE = {"fuse.fuse-overlayfs", "fuse.ntfs-3g", "fuse.lxcfs", "fuse.zfs"}
_ESCAPE = re.compile(r"\\([0-7]{3})")


def network_file_system(path: str) -> str | None:
    """The type of the file system a path lies on, None if it is local or cannot be told.

    Args:
        path: An existing file or directory.
    """
    try:
        with open(_MOUNTINFO, encoding="utf-8", errors="surrogateescape") as file:
            kind = mounted_type(file.read(), os.path.realpath(path))
    except OSError:
        return None
    return kind if kind is not None and is_over_network(kind) else None


def is_over_network(kind: str) -> bool:
    """Whether a file system of this type has its data on other hosts. Pure.

    A file system in user space counts as such, unless it is known not to be one: s3fs, gcsfuse,
    sshfs, juicefs and their like have all but the name in common.
    """
    return kind in _OVER_NETWORK or (kind.startswith("fuse.") and kind not in _LOCAL_FUSE)


def mounted_type(mountinfo: str, path: str) -> str | None:
    """The type of the file system that an absolute path lies on. Pure.

    Args:
        mountinfo: /proc/self/mountinfo, see proc_pid_mountinfo(5). Of two mounts on one directory
            the later one is on top.
        path: Absolute, without symbolic links.
    """
    best, kind = "", None
    for line in mountinfo.splitlines():
        mount, _, rest = line.partition(" - ")
        fields = mount.split(" ")
        if len(fields) < 5 or not rest:
            continue
        point = _ESCAPE.sub(lambda escape: chr(int(escape[1], 8)), fields[4])
        if len(point) >= len(best) and _contains(point, path):
            best, kind = point, rest.split(" ")[0]
    return kind


def _contains(directory: str, path: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")
