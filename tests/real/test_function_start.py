"""What starting a function costs: the modules that launcher and worker import, the code that is compiled.

Each launcher here is a program of its own: pytest has imported all there is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

METHODS = ["spawn", "fork", "forkserver"]

MAIN = """
import json, sys
from procession.multiprocessing import DefaultLogsSpecs, Std, start_processes

def run(fn, *given, method=sys.argv[1], env={}):
    logs = DefaultLogsSpecs(sys.argv[2], redirects=Std.ALL)
    result = start_processes("w", fn, {0: given}, {0: env}, logs, start_method=method).wait()
    return result.return_values[0] if not result.is_failed() else result.failures[0]

def loaded(): return sorted(sys.modules)
def search_path(): return sys.path
def reach(address):
    from multiprocessing.managers import BaseManager
    BaseManager(address=address).connect()
    return "reached"
def checked(): assert False
def optimized():
    try: checked()
    except AssertionError: return __debug__
    return "not asserted"
"""


def run_main(tmp: Path, method: str, body: str) -> Any:
    """Run a main module whose body prints JSON, and return that."""
    program = tmp / "program.py"
    guarded = textwrap.indent(textwrap.dedent(body), "    ")
    program.write_text(f"{MAIN}\nif __name__ == '__main__':\n{guarded}")
    done = subprocess.run(
        [sys.executable, str(program), method, str(tmp / "logs")],
        check=False, capture_output=True, text=True, timeout=50, cwd=tmp,
    )  # fmt: skip
    assert (done.stderr, done.returncode) == ("", 0)
    return json.loads(done.stdout)


@pytest.mark.full_platform
@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_imported_that_is_not_needed(tmp_path: Path, method: str) -> None:
    launcher, worker = run_main(
        tmp_path, method, "worker = run(loaded); print(json.dumps([loaded(), worker]))"
    )
    heavy = {"cloudpickle", "ctypes", "logging", "procession._logs.tail", "tempfile"}
    if method != "fork":  # by which the worker is multiprocessing's own kind of child
        heavy |= {"multiprocessing", "subprocess", "socket"}
        assert {"multiprocessing", "subprocess", "inspect", "typing"} & set(worker) == set()
        assert [name for name in worker if name.startswith("procession._loop")] == []
    assert heavy & set(launcher) == set()


@pytest.mark.parametrize("method", METHODS)
def test_the_search_path_is_the_launchers(tmp_path: Path, method: str) -> None:
    body = """
        sys.path[:] = ["/of/the/launcher", *(path for path in sys.path if not path.endswith(".zip"))]
        print(json.dumps([run(search_path), sys.path]))
        """
    workers, launchers = run_main(tmp_path, method, body)
    assert workers == launchers


def test_what_needs_multiprocessing_gets_it(tmp_path: Path) -> None:
    """A socket says nothing of multiprocessing before it is pickled."""
    body = """
        import socket
        ours, theirs = socket.socketpair()
        before = "multiprocessing" in sys.modules
        run(socket.socket.sendall, theirs, b"hello")
        print(json.dumps([before, ours.recv(5).decode()]))
        """
    assert run_main(tmp_path, "spawn", body) == [False, "hello"]


def test_a_manager_is_reached_by_its_address(tmp_path: Path) -> None:
    """It lets in whom multiprocessing has given its key."""
    body = """
        from multiprocessing.managers import BaseManager
        with BaseManager(address=("127.0.0.1", 0)) as manager:
            print(json.dumps(run(reach, manager.address)))
        """
    assert run_main(tmp_path, "spawn", body) == "reached"


def test_what_a_closure_holds_goes_with_it(tmp_path: Path) -> None:
    """multiprocessing would have the worker fetch a socket from a thread of the launcher's."""
    body = """
        import socket, threading
        ours, theirs = socket.socketpair()
        run(lambda: theirs.sendall(b"hello"))
        print(json.dumps([ours.recv(5).decode(), threading.active_count()]))
        """
    assert run_main(tmp_path, "spawn", body) == ["hello", 1]


def test_the_code_of_main_is_the_launchers(tmp_path: Path) -> None:
    """It goes along, so that no worker compiles it; a worker under another -O compiles its own."""
    body = """
        failure = run(checked)
        inner = failure.exception.__traceback__
        place = inner.tb_frame.f_code.co_filename
        print(json.dumps([place, run(optimized), run(optimized, env={"PYTHONOPTIMIZE": "1"})]))
        """
    program = os.path.join(tmp_path, "program.py")
    assert run_main(tmp_path, "spawn", body) == [program, True, "not asserted"]


def test_main_may_be_started_from_a_thread(tmp_path: Path) -> None:
    """There its code is not to be had, and workers read the file."""
    body = """
        import threading
        found = []
        thread = threading.Thread(target=lambda: found.append(run(optimized)))
        thread.start(); thread.join()
        print(json.dumps(found))
        """
    assert run_main(tmp_path, "spawn", body) == [True]


def test_what_the_function_makes_is_collected_at_the_end(tmp_path: Path) -> None:
    """An open file in a circle is flushed by the collection at the interpreter's end, as in any Python."""
    body = """
        def keep(path):
            import builtins
            class Holder: pass
            holder = Holder()
            holder.self, holder.file = holder, open(path, "w")
            holder.file.write("kept")
            builtins.kept = holder
        run(keep, "circle")
        print(json.dumps(open("circle").read()))
        """
    assert run_main(tmp_path, "spawn", body) == "kept"


def test_multiprocessing_that_imports_main_may_not_launch(tmp_path: Path) -> None:
    """A child of multiprocessing's that imports an unguarded main module is refused, as it would refuse."""
    program = tmp_path / "program.py"
    program.write_text(
        f"{MAIN}\nimport multiprocessing\n"
        "if __name__ == '__main__':\n"
        "    child = multiprocessing.get_context('spawn').Process(target=loaded)\n"
        "    child.start(); child.join(); sys.exit(child.exitcode)\n"
        "run(loaded)\n"
    )
    done = subprocess.run(
        [sys.executable, str(program), "spawn", str(tmp_path / "logs")],
        check=False, capture_output=True, text=True, timeout=50,
    )  # fmt: skip
    assert done.returncode == 1
    assert "while the main module is being imported" in done.stderr
