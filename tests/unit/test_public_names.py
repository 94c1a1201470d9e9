"""``__all__`` of every public module names what the module defines, and nothing else but imports.

The commands (``procession.cli``) are a program, not an API, and are left out.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src"


def public_modules() -> Iterator[tuple[str, Path]]:
    """Every module whose dotted name has no part that begins with an underscore."""
    for path in sorted((SRC / "procession").rglob("*.py")):
        parts = list(path.relative_to(SRC).with_suffix("").parts)
        if parts[-1] == "__init__":
            parts.pop()
        if parts[1:2] != ["cli"] and not any(part.startswith("_") for part in parts):
            yield ".".join(parts), path


def defined_names(source: str) -> set[str]:
    """The public names that a module itself binds at its top level; two names are nobody's."""
    names: set[str] = set()
    for node in ast.parse(source).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            parts = (part for target in targets for part in ast.walk(target))
            names |= {part.id for part in parts if isinstance(part, ast.Name)}
    return {name for name in names if not name.startswith("_")} - {"logger", "TYPE_CHECKING"}


MODULES = dict(public_modules())


def test_the_walk_finds_the_public_modules() -> None:
    assert {
        "procession",
        "procession.errors",
        "procession.multiprocessing",
        "procession.multiprocessing.std",
        "procession.multiprocessing.subprocess_handler.handlers",
        "procession.numa.binding",
    } <= set(MODULES)
    assert not [name for name in MODULES if "._" in name or ".cli" in name]


@pytest.mark.parametrize("name", MODULES)
def test_all_names_what_there_is(name: str) -> None:
    module = importlib.import_module(name)
    listed = getattr(module, "__all__", [])
    assert len(listed) == len(set(listed))
    assert [missing for missing in listed if not hasattr(module, missing)] == []
    assert defined_names(MODULES[name].read_text()) - set(listed) == set()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f(): ...", {"f"}),
        ("class C:\n  def f(self): ...", {"C"}),
        ("A = B = 1", {"A", "B"}),
        ("A, (B, _c) = x", {"A", "B"}),
        ("A: int = 1", {"A"}),
        ("_a = 1\n__all__ = []\nlogger = 1\nimport os", set()),
    ],
)
def test_a_name_that_is_not_listed_is_seen(source: str, expected: set[str]) -> None:
    assert defined_names(source) == expected
