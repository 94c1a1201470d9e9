"""``procession run`` with a handler and a class of logs of somebody else's, found as torchrun finds them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

# As a third party would write it for torchrun, under the migration rule: hosts meet in a directory.
THEIRS = '''
import os, socket, time
from procession.rendezvous import RendezvousHandler, RendezvousInfo, RendezvousStoreInfo

class Files:
    """As much of a store as agents need."""

    def __init__(self, place):
        self.place = place

    def path(self, key):
        return os.path.join(self.place, key.replace("/", "_"))

    def set(self, key, value):
        fresh = self.path(key) + f".{os.getpid()}"
        with open(fresh, "wb") as file:
            file.write(value)
        os.rename(fresh, self.path(key))

    def get(self, key):
        self.wait([key])
        return open(self.path(key), "rb").read()

    def add(self, key, amount):
        fd = os.open(self.path(key) + ".count", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        os.write(fd, b"x" * amount)
        os.close(fd)
        return os.stat(self.path(key) + ".count").st_size

    def wait(self, keys, timeout=None):
        while not all(os.path.exists(self.path(key)) for key in keys):
            time.sleep(0.01)

class Directory(RendezvousHandler):
    def __init__(self, params):
        self.params, self.place = params, params.endpoint
        self.store = Files(self.place)

    def get_backend(self):
        return "directory"

    def next_rendezvous(self):
        rank = int(self.params.get("seat"))
        self.store.set(f"host{rank}", b"")
        self.store.wait([f"host{n}" for n in range(self.params.min_nodes)])
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        where = RendezvousStoreInfo.build(rank, self.store, "127.0.0.1", port)
        return RendezvousInfo(self.store, rank, self.params.min_nodes, where)

    def is_closed(self): return False
    def set_closed(self): pass
    def num_nodes_waiting(self): return 0
    def get_run_id(self): return self.params.run_id
    def shutdown(self): return True

def find():
    return Directory

from procession.multiprocessing import DefaultLogsSpecs

class Marked(DefaultLogsSpecs):
    def reify(self, envs):
        open(os.path.join(self.root_log_dir, "..", "marked"), "w").close()
        return super().reify(envs)
'''
ENTRIES = """
[torchrun.handlers]
directory = theirs:find
broken = theirs:no_such_thing
[torchrun.logs_specs]
marked = theirs:Marked
"""
TELL = """
import json, os, sys
names = ("RANK", "WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID")
print(json.dumps({name: os.environ[name] for name in names}))
sys.exit(7 if os.environ["RANK"] == os.environ.get("FAILS") else 0)
"""


@pytest.fixture
def theirs(here: Any) -> dict[str, str]:
    """An environment in which their package is installed."""
    installed = here.directory / "installed"
    about = installed / "theirs-1.0.dist-info"
    about.mkdir(parents=True)
    (installed / "theirs.py").write_text(THEIRS)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(ENTRIES)
    here.file("s.py", TELL)
    (here.directory / "meet").mkdir()
    return {"PYTHONPATH": f"{installed}{os.pathsep}{here.environ['PYTHONPATH']}"}


def host(here: Any, theirs: dict[str, str], seat: int, *words: str, **environ: str) -> Any:
    return here.start(
        *("--nnodes", "2", "-n", "2", "--rdzv-backend", "directory", "--rdzv-endpoint", "meet"),
        *("--rdzv-id", "job", "--rdzv-conf", f"seat={seat}", "--log-dir", f"logs{seat}", *words),
        "s.py",
        environ={**theirs, **environ},
    )


def told(out: str) -> list[dict[str, str]]:
    lines = (line.partition("]:")[2] for line in out.splitlines())
    return [json.loads(line) for line in lines if line.startswith("{")]


def test_hosts_meet_by_somebody_elses_handler(here: Any, theirs: dict[str, str]) -> None:
    hosts = [host(here, theirs, seat) for seat in (0, 1)]
    ends = [process.communicate(timeout=50) for process in hosts]
    assert [process.returncode for process in hosts] == [0, 0], ends
    workers = sorted((t for out, _ in ends for t in told(out)), key=lambda t: t["RANK"])
    assert [worker["RANK"] for worker in workers] == ["0", "1", "2", "3"]
    assert [worker["GROUP_RANK"] for worker in workers] == ["0", "0", "1", "1"]
    assert {worker["WORLD_SIZE"] for worker in workers} == {"4"}
    assert len({(w["MASTER_ADDR"], w["MASTER_PORT"]) for w in workers}) == 1
    assert {worker["TORCHELASTIC_RUN_ID"] for worker in workers} == {"job"}
    assert (here.directory / "logs0").is_dir()
    assert here.left() == []


def test_a_failure_there_is_reported_with_its_own_status(here: Any, theirs: dict[str, str]) -> None:
    process = here.start(
        *("--nnodes", "1", "--rdzv-backend", "directory", "--rdzv-endpoint", "meet"),
        *("--rdzv-conf", "seat=0", "--log-dir", "logs", "s.py"),
        environ={**theirs, "FAILS": "0"},
    )
    _, err = process.communicate(timeout=50)
    assert process.returncode == 7
    assert "Root cause (first failure):" in err
    assert here.left() == []


def test_logs_specs_of_somebody_elses(here: Any, theirs: dict[str, str]) -> None:
    ended = here.run("--logs-specs", "marked", "--log-dir", "logs", "s.py", environ=theirs)
    assert ended.code == 0, ended.err
    assert Path(here.directory / "marked").exists()


def test_an_unknown_backend_is_named_with_those_there_are(
    here: Any, theirs: dict[str, str]
) -> None:
    ended = here.run("--rdzv-backend", "directry", "s.py", environ=theirs)
    assert ended.code == 2
    assert "--rdzv-backend directry: give one of static, c10d, etcd, etcd-v2" in ended.err
