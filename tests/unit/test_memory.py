"""Where OOM kills are counted, by cgroup v1, v2 and mixed, as hosts and containers mount them."""

from __future__ import annotations

from pathlib import Path

import pytest

from procession._os import memory, mounts
from procession._os.memory import HOST, Oom, OomWatch, counted, counter_file

V1 = "\n".join(
    [
        "9:name=systemd:/user.slice",
        "4:memory,hugetlb:/slurm/job_7",
        "1:cpu,cpuacct:/",
        "0::/user.slice/session",
    ]
)
V2 = "0::/slurm/job_7\n"
ROOT_FS = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw"
MEMORY = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory,hugetlb"
CPU = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct"
UNIFIED = "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw"
PLACES = {
    "v1": (V1, [ROOT_FS, CPU, MEMORY], "/sys/fs/cgroup/memory/slurm/job_7/memory.oom_control"),
    "hybrid": (
        V1,
        [UNIFIED, CPU, MEMORY],
        "/sys/fs/cgroup/memory/slurm/job_7/memory.oom_control",
    ),
    "v1 whose memory is not mounted": (V1, [UNIFIED, CPU], None),
    "v2": (V2, [UNIFIED], "/sys/fs/cgroup/unified/slurm/job_7/memory.events"),
    "v2 elsewhere, with a space": (
        V2,
        [r"41 31 0:38 / /my\040groups rw - cgroup2 none rw,nsdelegate"],
        "/my groups/slurm/job_7/memory.events",
    ),
    "a container that sees the host's path": (
        "0::/docker/abc/inner\n",
        ["41 31 0:38 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw"],
        "/sys/fs/cgroup/inner/memory.events",
    ),
    "a container whose own is the root": (
        "0::/\n",
        ["41 31 0:38 / /sys/fs/cgroup ro - cgroup2 cgroup rw"],
        "/sys/fs/cgroup/memory.events",
    ),
    "another's cgroup": (
        "0::/docker/xyz\n",
        ["41 31 0:38 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw"],
        None,
    ),
    "outside of the namespace": ("0::/../../x\n", [UNIFIED], None),
    "no cgroups": ("", [ROOT_FS], None),
    "garbage": ("::\nx", ["", "1 2", UNIFIED, "a - b"], None),
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_the_counter_is_found_through_the_mounts(place: tuple[str, list[str], str | None]) -> None:
    cgroup, mountinfo, expected = place
    assert counter_file(cgroup, mounts.parse("\n".join(mountinfo))) == expected


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n", 2),
        ("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n", 7),
        ("oom_kill_disable 0\nunder_oom 0\n", None),  # Linux before 4.13
        ("oom_kill x\n", None),
        ("", None),
    ],
)
def test_the_count(text: str, count: int | None) -> None:
    assert counted(text) == count


class Host:
    """A tree of files in place of /proc and the cgroups."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        mountinfo = f"41 31 0:38 / {root} rw - cgroup2 none rw"
        monkeypatch.setattr(mounts, "read", lambda: mountinfo)
        monkeypatch.setattr(memory, "HOST", str(root / "vmstat"))
        monkeypatch.setattr(memory, "_text", self.text)
        self.cgroups = {"self": "/job"}

    def text(self, path: str) -> str:
        if path.startswith("/proc/"):
            name = self.cgroups.get(path.split("/")[2], self.cgroups["self"])
            return f"0::{name}\n"
        file = Path(path)
        return file.read_text() if file.exists() else ""

    def count(self, file: str, number: int) -> str:
        path = self.root / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"oom_kill {number}\n")
        return str(path)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def test_the_cgroups_counter_moved(host: Host) -> None:
    host.count("vmstat", 10)
    file = host.count("job/memory.events", 4)
    watch = OomWatch()
    host.count("vmstat", 11)
    host.count("job/memory.events", 5)
    assert watch.look(1, killed=True) == Oom(file, 4, 5, sure=True)
    assert watch.look(2, killed=True) == Oom(file, 4, 5, sure=False)  # one kill explains one death
    assert watch.look(2, killed=False) == Oom(file, 4, 5, sure=False)
    host.count("job/memory.events", 6)
    raised = watch.look(3, killed=False)  # a child of it was killed, and explains nothing else
    assert raised == Oom(file, 4, 6, sure=True)
    assert watch.look(3, killed=True) == Oom(file, 4, 6, sure=True)


def test_the_hosts_counter_moved(host: Host) -> None:
    vmstat = host.count("vmstat", 10)
    host.count("job/memory.events", 4)
    watch = OomWatch()
    host.count("vmstat", 11)
    assert watch.look(1, killed=True) == Oom(vmstat, 10, 11, sure=False)


def test_no_counter_moved(host: Host) -> None:
    vmstat = host.count("vmstat", 10)
    host.count("job/memory.events", 4)
    oom = OomWatch().look(1, killed=True)
    assert oom == Oom(vmstat, 10, 10, sure=False)
    assert not oom.moved


def test_a_worker_that_went_to_a_cgroup_of_its_own(host: Host) -> None:
    host.count("vmstat", 10)
    host.count("job/memory.events", 4)
    watch = OomWatch()
    file = host.count("other/memory.events", 1)
    host.cgroups["77"] = "/other"
    host.count("vmstat", 11)  # as it is with every kill
    assert watch.look(77, killed=True) == Oom(file, None, 1, sure=False)


def test_a_zombie_of_v1_is_in_no_cgroup_of_its_own(host: Host) -> None:
    host.count("vmstat", 10)
    host.count("memory.events", 99)
    watch = OomWatch()
    host.cgroups["77"] = "/"
    oom = watch.look(77, killed=True)
    assert oom is not None
    assert not oom.moved


def test_nothing_can_be_read(host: Host) -> None:
    host.cgroups["self"] = ""
    assert OomWatch().look(1, killed=True) is None
    assert HOST == "/proc/vmstat"
