"""Where a cgroup of version 2 may be made, by what /proc says; and whose one is."""

from __future__ import annotations

import pytest

from procession._os.cgroup import directory_of, leaf_name, mounted_at, own_path, run_of_leaf

HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
36 31 0:33 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 master:2 - cgroup2 cgroup2 rw
"""
CONTAINER = "600 590 0:29 /../docker/4f /sys/fs/cgroup ro - cgroup2 cgroup rw,nsdelegate\n"


@pytest.mark.parametrize(
    ("mountinfo", "own", "directory"),
    [
        (HYBRID, "9:name=systemd:/\n4:memory:/a\n0::/\n", "/sys/fs/cgroup/unified"),
        (HYBRID, "0::/user.slice/x.scope\n", "/sys/fs/cgroup/unified/user.slice/x.scope"),
        (CONTAINER, "0::/../docker/4f\n", "/sys/fs/cgroup"),
        (CONTAINER, "0::/../docker/4f/job\n", "/sys/fs/cgroup/job"),
        (CONTAINER, "0::/../docker/4f2\n", None),  # another one, of a name that begins alike
        (HYBRID, "4:memory:/a\n", None),
        ("36 31 0:33 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n", "0::/\n", None),
        ("", "", None),
    ],
)
def test_the_directory(mountinfo: str, own: str, directory: str | None) -> None:
    assert directory_of(mounted_at(mountinfo), own_path(own)) == directory


@pytest.mark.parametrize("run_id", ["4f2a", "team-a/job", ""])
def test_a_leaf_knows_its_run(run_id: str) -> None:
    assert run_of_leaf(f"/sys/fs/cgroup/{leaf_name(run_id, 'c0ffee00')}") == run_id.replace(
        "/", "_"
    )


@pytest.mark.parametrize("path", ["/sys/fs/cgroup/user.slice", "/sys/fs/cgroup/procession", ""])
def test_none_of_a_runs(path: str) -> None:
    assert run_of_leaf(path) is None
