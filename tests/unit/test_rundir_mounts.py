"""Which paths lie on a network file system, from recorded mount tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from procession.cli.mounts import is_over_network, mounted_type, network_file_system

MOUNTINFO = r"""
22 28 0:20 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
28 1 259:2 / / rw,relatime shared:1 - ext4 /dev/root rw,discard
35 28 0:31 / /home rw,relatime shared:16 - nfs4 filer:/export/home rw,vers=4.2,addr=10.0.0.9
36 35 0:32 /me /home/me\040too rw shared:17 master:3 propagate_from:2 - fuse.sshfs me@host: rw
37 28 0:33 / /scratch rw,relatime - lustre 10.0.0.1@o2ib:/scratch rw
38 28 0:34 / /data rw,relatime - xfs /dev/md0 rw
39 28 0:35 / /data rw,relatime - ceph 10.0.0.2:/ rw
torn line
40 28
"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", "ext4"),
        ("/tmp/x", "ext4"),
        ("/home", "nfs4"),
        ("/home/me", "nfs4"),
        ("/home/me too/x", "fuse.sshfs"),
        ("/homestead", "ext4"),
        ("/scratch/a/b", "lustre"),
        ("/data/x", "ceph"),
    ],
)
def test_the_innermost_and_uppermost_mount_counts(path: str, expected: str) -> None:
    assert mounted_type(MOUNTINFO, path) == expected


def test_no_mounts() -> None:
    assert mounted_type("", "/") is None


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("nfs", True),
        ("lustre", True),
        ("fuse.gcsfuse", True),
        ("9p", True),
        ("ext4", False),
        ("overlay", False),
        ("fuseblk", False),
        ("fuse.fuse-overlayfs", False),
        ("tmpfs", False),
    ],
)
def test_kinds(kind: str, expected: bool) -> None:
    assert is_over_network(kind) is expected


def test_this_host_can_be_asked(tmp_path: Path) -> None:
    assert network_file_system("/proc") is None
    kind = network_file_system(str(tmp_path))
    assert kind is None or is_over_network(kind)
