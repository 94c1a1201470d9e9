"""Imports run downward, as the table in docs/design.md says; and what no line of src may do."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src" / "procession"
MODULES = sorted(SRC.rglob("*.py"))
TORCH_ALLOWED_IN = "_torch.py"
# Rooms that hold one leaf of the public API each, and that the table need not speak of.
LEAVES = {"numa": {"errors"}, "_torch": set[str]()}


def read_table(text: str) -> dict[str, set[str]]:
    """From the design's table of rooms, what each room may import."""
    rows = re.findall(r"^\| (`.*?) \|.*\| (.*?) \|$", text, re.MULTILINE)
    rooms = [re.findall(r"`(\w+?)(?:/|\.py)?`", cell) for cell, _ in rows]
    table = {}
    for n, (_, allowed) in enumerate(rows):
        below = {room for row in rooms[n:] for room in row} | set(LEAVES)
        named = set(re.findall(r"`(\w+)`", allowed))
        for room in rooms[n]:
            table[room] = below if "below" in allowed else named
    return table | LEAVES


TABLE = read_table((ROOT / "docs" / "design.md").read_text())


def room_of(path: Path) -> str:
    """The package or module right under procession that a file is or belongs to."""
    return path.relative_to(SRC).parts[0].removesuffix(".py")


def imported_names(tree: ast.AST, package: list[str]) -> Iterator[tuple[int, str]]:
    """Every module named by an import, wherever in the file it stands, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"


def upward_imports(path: Path, source: str) -> list[str]:
    """The imports in a file of src that its room may not make."""
    room, found = room_of(path), []
    package = ["procession", *path.relative_to(SRC).parts[:-1]]
    for line, name in imported_names(ast.parse(source), package):
        top, _, rest = name.partition(".")
        target = rest.partition(".")[0]
        if top != "procession" or target in {"", "__version__", room}:
            continue
        if target not in TABLE.get(room, set()):
            found.append(f"{path.relative_to(ROOT)}:{line}: {room} may not import {target}")
    return found


FORBIDDEN = {"print", "time.sleep", "os.closerange"}


def forbidden(path: Path, source: str) -> list[str]:
    """What no line of src may do: import torch, assert, sleep, print, close whatever may be open.

    The last takes a call for each number below RLIMIT_NOFILE, of which there may be 2**30, where Python was
    built without close_range(2), as conda's is.
    """
    tree = ast.parse(source)
    package = ["procession", *path.relative_to(SRC).parts[:-1]]
    imports = list(imported_names(tree, package))
    found = [(line, f"import of {name}") for line, name in imports if name == "time.sleep"]
    if path.name != TORCH_ALLOWED_IN:
        found += [(line, "import of torch") for line, name in imports if top_is_torch(name)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            found.append((node.lineno, "assert"))
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in FORBIDDEN:
            found.append((node.lineno, ast.unparse(node.func)))
    return [f"{path.relative_to(ROOT)}:{line}: {what}" for line, what in sorted(found)]


def top_is_torch(name: str) -> bool:
    return name.partition(".")[0] == "torch"


def test_the_table_is_read() -> None:
    assert TABLE["errors"] == TABLE["_worker"] == set()
    assert TABLE["_report"] == {"_os", "errors", "_log"}
    assert TABLE["cli"] >= {"multiprocessing", "_loop", "_logs", "numa", "errors"}
    assert "cli" not in TABLE["multiprocessing"]


def test_every_room_is_in_the_table() -> None:
    assert {room_of(path) for path in MODULES} - {"__init__"} <= set(TABLE)


def test_imports_run_downward() -> None:
    assert [found for path in MODULES for found in upward_imports(path, path.read_text())] == []


# The rooms of cli/, the upper ones first; "" is what they share.
FLOORS = ("logs", "run", "plan", "options", "")


def floor_of(parts: Sequence[str]) -> int:
    """On which floor of cli/ a module is, by its path below it."""
    return FLOORS.index(parts[0] if len(parts) > 1 else "")


def climbing_imports(path: Path, source: str) -> list[str]:
    """The imports of a module in cli/ that lead to a floor above its own."""
    own = floor_of(path.relative_to(SRC / "cli").parts)
    names = (name.split(".") for _, name in imported_names(ast.parse(source), ["procession"]))
    rooms = [name[2] for name in names if name[:2] == ["procession", "cli"] and name[2] in FLOORS]
    return [f"{path.relative_to(SRC)}: {room}" for room in rooms if FLOORS.index(room) < own]


def test_imports_in_the_commands_run_downward_too() -> None:
    paths = [path for path in MODULES if room_of(path) == "cli" and path.name != "main.py"]
    assert [found for path in paths for found in climbing_imports(path, path.read_text())] == []
    up = "from procession.cli.run.entry import main"
    assert climbing_imports(SRC / "cli" / "plan" / "x.py", up) == ["cli/plan/x.py: run"]


def test_nothing_forbidden_is_done() -> None:
    assert [found for path in MODULES for found in forbidden(path, path.read_text())] == []


# What speaks to other hosts, or reads what they have written.
NETWORK = (
    *("_agent", "_etcd", "_hub", "_membership", "_store"),
    *("rendezvous", "agent", "launcher", "_report"),
)
RUNS_CODE = {"pickle", "_pickle", "cloudpickle", "dill", "marshal", "shelve", "torch"}


def runs_code(path: Path, source: str) -> list[str]:
    """What in a file could run what came over the network."""
    tree = ast.parse(source)
    package = ["procession", *path.relative_to(SRC).parts[:-1]]
    found = [
        (line, f"import of {name}")
        for line, name in imported_names(tree, package)
        if name.partition(".")[0] in RUNS_CODE
    ]
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    found += [
        (c.lineno, ast.unparse(c.func)) for c in calls if ast.unparse(c.func) in {"eval", "exec"}
    ]
    return [f"{path.relative_to(ROOT)}:{line}: {what}" for line, what in sorted(found)]


def test_nothing_that_came_over_the_network_is_run() -> None:
    paths = [path for path in MODULES if room_of(path) in NETWORK]
    assert len(paths) > 40
    assert [found for path in paths for found in runs_code(path, path.read_text())] == []
    assert len(runs_code(SRC / "_etcd" / "x.py", "import pickle\nexec('')")) == 2


def test_every_module_parses_on_the_oldest_python() -> None:
    for path in MODULES:
        ast.parse(path.read_text(), filename=str(path), feature_version=(3, 10))


@pytest.mark.parametrize(
    ("place", "source", "expected"),
    [
        ("_os/clock.py", "import procession.errors", []),
        ("_os/clock.py", "from procession import __version__", []),
        ("_os/clock.py", "from procession._os import proc", []),
        ("_os/clock.py", "from . import proc", []),
        ("_os/clock.py", "from ..errors import UsageError", []),
        ("_os/clock.py", "from procession import _loop", ["_os may not import _loop"]),
        ("_os/clock.py", "import procession._loop.core", ["_os may not import _loop"]),
        ("_os/clock.py", "from .._logs.lines import x", ["_os may not import _logs"]),
        ("_os/clock.py", "from .. import cli", ["_os may not import cli"]),
        ("_os/clock.py", "def f():\n  import procession.cli", ["_os may not import cli"]),
        ("_logs/tail.py", "import procession._report.x", ["_logs may not import _report"]),
        ("errors.py", "from procession._os import proc", ["errors may not import _os"]),
        ("multiprocessing/errors/x.py", "import procession.cli", ["multiprocessing may not"]),
        ("_loop/core.py", "from procession._guardian.client import Client", []),
    ],
)
def test_an_upward_import_is_seen(place: str, source: str, expected: list[str]) -> None:
    found = upward_imports(SRC / place, source)
    assert len(found) == len(expected)
    assert all(part in line for part, line in zip(expected, found, strict=True))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import torch", ["import of torch"]),
        ("def f():\n  from torch.distributed import run", ["import of torch"]),
        ("import torchless", []),
        ("from procession import torch", []),
        ("assert 1", ["assert"]),
        ("import time\ntime.sleep(1)", ["time.sleep"]),
        ("from time import sleep", ["import of time.sleep"]),
        ("print(1)", ["print"]),
        ("logger.print(1)", []),
    ],
)
def test_a_forbidden_deed_is_seen(source: str, expected: list[str]) -> None:
    found = forbidden(SRC / "_os" / "clock.py", source)
    assert [line.rpartition(": ")[2] for line in found] == expected


def test_torch_is_allowed_in_one_module() -> None:
    assert forbidden(SRC / TORCH_ALLOWED_IN, "import torch") == []


def test_the_command_does_not_know_its_facade() -> None:
    found = upward_imports(SRC / "cli" / "run" / "launch.py", "from procession.run import main")
    assert found[0].endswith("cli may not import run")
    assert upward_imports(SRC / "run.py", "from procession.cli.run.entry import main") == []
