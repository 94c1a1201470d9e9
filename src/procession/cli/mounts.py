"""On which kind of file system a path lies: over a network, logs are slow and may lose their order."""

from __future__ import annotations

import os

from procession._os import mounts

_OVER_NETWORK = {
    "9p", "acfs", "afs", "beegfs", "ceph", "cifs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs",
    "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2", "smb3", "smbfs", "vboxsf", "wekafs",
}  # fmt: skip
_LOCAL_FUSE = {"fuse.fuse-overlayfs", "fuse.ntfs-3g", "fuse.lxcfs", "fuse.zfs"}


def network_file_system(path: str) -> str | None:
    """The type of the file system a path lies on, None if it is local or cannot be told.

    Args:
        path: An existing file or directory.
    """
    kind = mounted_type(mounts.read(), os.path.realpath(path))
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
        mountinfo: The text of /proc/self/mountinfo.
        path: Absolute, without symbolic links.
    """
    best, kind = "", None
    for mount in mounts.parse(mountinfo):
        if len(mount.point) >= len(best) and mounts.inside(mount.point, path):
            best, kind = mount.point, mount.kind
    return kind
