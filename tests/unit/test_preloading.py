"""What is said of a fork server, and what its imports may see."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest

from procession._worker.reborn import environment
from procession.errors import UsageError
from procession.multiprocessing.fork_server import (
    common_environment,
    first_of_path,
    module_names,
    spare_count,
)
from procession.multiprocessing.preloading import refusal, warning

UNSAFE = [("a.b", "the thread 'meter'"), ("__main__", "an open socket")]


@pytest.mark.parametrize(
    ("state", "report", "refused", "warned"),
    [
        ("importing", {"pid": 3}, None, None),
        ("ready", {"seconds": {"torch": 1.5}, "unsafe": []}, None, None),
        ("unfit", {"unsafe": UNSAFE}, None,
         "not forked: the import of 'a.b' has left the thread 'meter'; the import of the main module has "
         "left an open socket, which a fork would break. Workers are"),
        ("lost", {"module": "__main__", "exitcode": -9, "stderr": ""}, None,
         "the fork server ended in the import of the main module: SIGKILL. Workers are"),
        ("lost", {"module": "torch", "exitcode": 1, "stderr": "a\nlast\n"}, None,
         "the fork server ended: exit status 1; last line of its stderr: last. Workers are"),
        ("refused", {"errno": 24, "program": "/bin/python"},
         "[Errno 24] Too many open files: '/bin/python'", None),
        ("refused", {"module": "", "exitcode": 1, "stderr": "no site\n", "program": "/bin/sh"},
         "/bin/sh could not be a fork server: exit status 1; last line of its stderr: no site. Is it a "
         "Python, 3.8", None),
        ("lost", {"module": "", "exitcode": -9, "stderr": ""}, None,
         "the fork server ended: SIGKILL. Workers are"),
        ("refused", {"module": "x", "text": "ModuleNotFoundError: No module named 'x'\n"},
         "'x' cannot be preloaded: there is no module of that name. Is it spelt as in 'import x'",
         None),
        ("refused", {"module": "x", "text": "Traceback\nModuleNotFoundError: No module named 'y'\n"},
         "'x' cannot be preloaded, its import raised ModuleNotFoundError: No module named 'y'\nTrace",
         None),
        ("refused", {"module": "x", "exitcode": -11, "stderr": ""},
         "the import of 'x' ended the fork server: SIGSEGV. Leave it out", None),
    ],
)  # fmt: skip
def test_words(state: str, report: dict[str, Any], refused: str | None, warned: str | None) -> None:
    error, text = refusal(state, report), warning(state, report)
    assert (error is None, text is None) == (refused is None, warned is None)
    assert (refused or "") in str(error or "")
    assert (warned or "") in (text or "")


def test_imports_see_what_all_environments_agree_on() -> None:
    environments = [{"A": "1", "RANK": "0", "ONE": ""}, {"A": "1", "RANK": "1"}]
    assert common_environment(environments) == {"A": "1"}
    assert common_environment(environments[:1]) == environments[0]


@pytest.mark.parametrize("names", [["a"], ["a.b_1"], [], ("ä",)])
def test_names_of_modules(names: list[str]) -> None:
    assert module_names(names) == tuple(names)


@pytest.mark.parametrize("names", ["json", ["a-b"], [""], ["a."], ["a b"], [1], ["./x.py"]])
def test_what_is_no_name_of_a_module(names: Any) -> None:
    with pytest.raises(UsageError):
        module_names(names)


def test_spares_have_something_to_import() -> None:
    assert spare_count(2, ("torch",)) == 2
    assert spare_count(0, ()) == 0
    for spares, modules in ((-1, ("torch",)), (1, ())):
        with pytest.raises(UsageError, match=f"spares={spares}"):
            spare_count(spares, modules)


def test_what_python_puts_before_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for directory in ("real", "app"):
        (tmp_path / directory).mkdir()
    (tmp_path / "real" / "s.py").touch()
    (tmp_path / "link.py").symlink_to("real/s.py")
    with zipfile.ZipFile(tmp_path / "app.zip", "w") as archive:
        archive.writestr("__main__.py", "")
    assert first_of_path(("real/s.py", "x")) == first_of_path(("link.py",)) == f"{tmp_path}/real"
    assert first_of_path(("-m", "package")) == str(tmp_path)
    assert first_of_path(("app",)) == f"{tmp_path}/app"
    assert first_of_path(("app.zip",)) == f"{tmp_path}/app.zip"


@pytest.mark.parametrize(
    ("asked", "before", "after", "expected"),
    [
        ({"A": "1"}, {"A": "1"}, {"A": "1"}, {"A": "1"}),
        ({"A": "1"}, {"A": "1"}, {"A": "1", "B": "2"}, {"A": "1", "B": "2"}),
        ({"A": "1"}, {"A": "1"}, {"A": "2"}, {"A": "2"}),
        ({"A": "1", "B": "2"}, {"A": "1", "B": "2"}, {"A": "1"}, {"A": "1"}),
        ({"RANK": "3"}, {}, {"RANK": "0"}, {"RANK": "3"}),
        ({"RANK": "3"}, {"RANK": "0"}, {}, {"RANK": "3"}),
        ({}, {"A": "1"}, {"A": "2"}, {}),
        ({}, {"A": "1"}, {"A": "1"}, {}),
    ],
)
def test_a_workers_environment_after_imports(
    asked: dict[str, str], before: dict[str, str], after: dict[str, str], expected: dict[str, str]
) -> None:
    """What they change is changed, but for what the worker has otherwise than they have found it."""
    assert environment(asked, before, after) == expected
