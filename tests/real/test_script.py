"""The same program under plain Python and as a worker: nobody can tell the difference.

As a worker it is started by the bootstrap, or forked from a server with imports done ("warm").
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path
from typing import Any

import pytest

WARM = Path(__file__).parent / "scripts" / "warm_script.py"
BOOTSTRAP = Path(__file__).parents[2] / "src/procession/_worker/script.py"
ENVIRONMENT = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "RANK": "6", "LOCAL_RANK": "2"}

needs_311 = pytest.mark.skipif(sys.version_info < (3, 11), reason="of Python 3.11")


class Program:
    """A directory with a program, which is run from there."""

    def __init__(self, directory: Path, *, warm: bool = False) -> None:
        self.directory = directory
        self.warm = warm
        self.error_file = directory / "log" / "error.json"
        self.error_file.parent.mkdir()

    def add(self, name: str, content: str | bytes) -> None:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(
            content if isinstance(content, bytes) else textwrap.dedent(content).encode()
        )

    def run(self, *argv: str, **options: Any) -> tuple[int, bytes, bytes]:
        variables = {"TORCHELASTIC_ERROR_FILE": str(self.error_file)}
        options.setdefault("stdin", subprocess.DEVNULL)
        done = subprocess.run(
            [sys.executable, *argv],
            cwd=options.pop("cwd", self.directory),
            env={**ENVIRONMENT, **variables, **options.pop("env", {})},
            capture_output=True,
            check=False,
            timeout=40,
            **options,
        )
        return done.returncode, done.stdout, done.stderr

    def boot(
        self, *argv: str, flags: tuple[str, ...] = (), **options: Any
    ) -> tuple[int, bytes, bytes]:
        if not self.warm:
            return self.run(*flags, str(BOOTSTRAP), *argv, **options)
        return self.run(str(WARM), *argv, **self.with_variables(flags, options))

    def with_variables(self, flags: tuple[str, ...], options: dict[str, Any]) -> dict[str, Any]:
        """Options with variables in place of flags: those that run a script have no flags."""
        if set(flags) - AS_VARIABLE.keys():
            pytest.skip("procession run gives no such flag to a script")
        variables = {AS_VARIABLE[flag]: "1" for flag in flags}
        return {**options, "env": {**options.get("env", {}), **variables}}

    def same(
        self, *argv: str, flags: tuple[str, ...] = (), **options: Any
    ) -> tuple[int, bytes, bytes]:
        """Run it plainly and booted, and hold that the results are equal to the byte."""
        if self.warm:
            options, flags = self.with_variables(flags, options), ()
        plain = self.run(*flags, *argv, **options)
        assert not self.error_file.exists()
        booted = self.boot(*argv, flags=flags, **options)
        assert self.but_for_modules(booted) == self.but_for_modules(plain)
        return plain

    def but_for_modules(self, outcome: tuple[int, bytes, bytes]) -> tuple[int, bytes, bytes]:
        """Leave out what a program sees of imports that it did not make, where that is the point."""
        if not self.warm:
            return outcome
        status, stdout, stderr = outcome
        shown = [line for line in stdout.splitlines(True) if not line.startswith(b"imported: ")]
        return status, b"".join(shown), stderr

    def error(self) -> dict[str, Any] | None:
        """The error file's message, None if there is no file."""
        if not self.error_file.exists():
            return None
        message: dict[str, Any] = json.loads(self.error_file.read_text())["message"]
        return message


AS_VARIABLE = {"-u": "PYTHONUNBUFFERED", "-B": "PYTHONDONTWRITEBYTECODE"}


@pytest.fixture(params=["exec", "warm"])
def program(request: pytest.FixtureRequest, tmp_path: Path) -> Program:
    return Program(tmp_path, warm=request.param == "warm")


NAMESPACE = """
    import sys
    def spell(value):
        loader = getattr(value, "path", "")
        return f"{type(value).__qualname__} {loader or value if type(value) in (str, dict) else loader}"
    for name in sorted(n for n in list(globals()) if n != "spell"):
        print(name, spell(globals()[name]))
    print(__name__, __package__, __spec__ and __spec__.name, getattr(__loader__, "name", 0))
    print(sys.argv, getattr(sys, "orig_argv", None), sys.path)
    print("imported:", sorted(sys.path_importer_cache))
    print("imported:", sorted(set(sys.modules) - {"faulthandler"}))  # ours, on purpose
    print(sys.modules["__main__"].__dict__ is globals(), __builtins__ is __import__("builtins"))
    print(sys.getrecursionlimit(), sys.excepthook is sys.__excepthook__, sys.exc_info())
"""

ENDS_WELL: dict[str, str | bytes] = {
    "empty": "",
    "namespace": NAMESPACE,
    "docstring": '"""The doc."""\nprint(__doc__)',
    "annotated": "x: int = 3\nprint(__annotations__, x)",
    "future flags are not inherited": "def f(x: print('evaluated')): pass\nf.__annotations__",
    "main guard": "if __name__ == '__main__': print('main')",
    "own source": "import inspect\ndef f(): 'here'\nprint(inspect.getsource(f))",
    "own module": "import __main__\nx = 4\nprint(__main__.x)",
    "pickles its class": """
        import pickle
        class Point:
            x = 1
        copy = pickle.loads(pickle.dumps(Point()))
        print(type(copy) is Point, pickle.dumps(Point))
    """,
    **{
        f"multiprocessing {method}": f"""
            import multiprocessing, sys
            class Point:
                def __init__(self, x): self.x = x
            def square(point): return Point(point.x ** 2)
            if __name__ == "__main__":
                with multiprocessing.get_context({method!r}).Pool(1) as pool:
                    print([p.x for p in pool.map(square, [Point(2), Point(3)])], sys.argv)
                    pool.close(); pool.join()
            elif __name__ == "__mp_main__":
                print("again", __file__)
        """
        for method in ("fork", "spawn", "forkserver")
    },
    "threads, then atexit": """
        import atexit, threading
        go = threading.Event()
        atexit.register(print, "atexit")
        threading.Thread(target=lambda: (go.wait(), print("thread"))).start()
        go.set()
    """,
    "thread dies": "import threading\ndef f(): 1 / 0\nthreading.Thread(target=f, name='T').start()",
    "globals are cleared last": """
        class Loud:
            def __del__(self): print("deleted")
        loud = Loud()
        print("end")
    """,
    "warning": "import warnings\ndef f(): warnings.warn('w', stacklevel=2)\nf()",
    "deprecation in main": "import warnings\nwarnings.warn('old', DeprecationWarning)",
    "syntax warning": "x = 1\nif x is 1: pass",
    "no newline, carriage returns": b"x = 1\r\nprint(x)\rprint(2)",
    "encoding cookie": b"# -*- coding: latin-1 -*-\nprint(ascii('\xe4'))",
    "byte order mark": b"\xef\xbb\xbfprint('\xc3\xa4')",
    "reads stdin": "print(input())",
    "closes stdout": "import sys\nprint('x')\nsys.stdout.close()",
    "replaces itself": "import os, sys\nprint('x', flush=True)\nos.execv(sys.executable, ['p', '-c', 'print(1)'])",
    "removes main": "import sys\nx = 1\ndel sys.modules['__main__']\nprint(x)",
    "breakpoint": "x = 3\nbreakpoint()\nprint('after')",
}


@pytest.mark.parametrize("name", ENDS_WELL)
def test_a_script_that_ends_well(program: Program, name: str) -> None:
    program.add("script.py", ENDS_WELL[name])
    flags = ("-u",) if name.startswith("multiprocessing") else ()  # two writers, one pipe
    status, _, _ = program.same("script.py", "a", "-b", flags=flags, input=b"p x\nc\n", stdin=None)
    assert status == 0
    assert program.error() is None


ENDS_BY_EXIT = {
    "sys.exit()": "import sys; sys.exit()",
    "integer": "import sys; sys.exit(42)",
    "negative": "import sys; sys.exit(-1)",
    "beyond a byte": "import sys; sys.exit(2**70)",
    "text": "import sys; sys.exit('so long')",
    "object": "import sys; sys.exit([1, 'x'])",
    "raise": "raise SystemExit",
    "own code class": "class E(SystemExit): code = 9\nraise E",
    "in a function": "def f(): raise SystemExit(5)\nf()",
    "text that fails": "class B:\n def __str__(self): 1/0\nraise SystemExit(B())",
    "from atexit": "import atexit, sys\natexit.register(lambda: print('bye'))\nsys.exit(3)",
    "os._exit": "import os; print('lost?'); os._exit(7)",
    "SIGTERM": "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
    "SIGKILL": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "own SIGTERM handler": """
        import os, signal, sys
        signal.signal(signal.SIGTERM, lambda *a: sys.exit(11))
        signal.raise_signal(signal.SIGTERM)
    """,
    "child of a fork raises": """
        import os
        pid = os.fork()
        if pid == 0: raise ValueError("child")
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """,
}


@pytest.mark.parametrize("name", ENDS_BY_EXIT)
def test_an_exit_is_no_exception(program: Program, name: str) -> None:
    program.add("script.py", ENDS_BY_EXIT[name])
    flags = ("-u",) if name == "os._exit" else ()  # a buffered line is lost there, ours is not
    program.same("script.py", flags=flags)
    assert program.error() is None


RAISES: dict[str, tuple[str | bytes, str]] = {
    "plain": ("def f(): 1 / 0\nf()", "ZeroDivisionError: division by zero"),
    "own class": ("class Bad(Exception): pass\nraise Bad('x', 1)", "Bad: ('x', 1)"),
    "cause": ("try: 1 / 0\nexcept Exception as e: raise KeyError('k') from e", "KeyError: 'k'"),
    "context": ("try: 1 / 0\nexcept Exception: raise KeyError('k')", "KeyError: 'k'"),
    "frozen": (
        """
        import dataclasses
        @dataclasses.dataclass(frozen=True)
        class Frozen(Exception):
            x: int
        raise Frozen(1)
        """,
        "Frozen: 1",
    ),
    "str() fails": (
        "class Bad(Exception):\n def __str__(self): raise SystemExit(4)\nraise Bad",
        "Bad: <exception str() failed>",
    ),
    "surrogates": (r"raise ValueError('\udce4 ä')", "ValueError: \\udce4 ä"),
    "in a thread's shadow": (
        """
        import atexit, threading
        atexit.register(print, "atexit")
        threading.Thread(target=print, args=("thread",)).start()
        raise OSError(5, "disk", "/dev/sda")
        """,
        "OSError: [Errno 5] disk: '/dev/sda'",
    ),
    "what is left for post mortem": (
        """
        import atexit, sys, traceback
        def look():
            traceback.print_tb(sys.last_traceback)
            print(sys.last_type, sys.last_value, getattr(sys, "last_exc", None))
            print(sys.last_traceback is sys.last_value.__traceback__)
            print(sys.excepthook is sys.__excepthook__, sys.last_value.__context__)
        atexit.register(look)
        raise ValueError("x")
        """,
        "ValueError: x",
    ),
    "own hook": (
        """
        import sys, traceback
        def hook(*args):
            traceback.print_exception(*args)
            print(args[0], sys.exc_info(), sys.excepthook is hook, sys.last_value is args[1])
        sys.excepthook = hook
        raise ValueError("x")
        """,
        "ValueError: x",
    ),
    "own hook fails": (
        "import sys\ndef hook(*a): raise KeyError(1)\nsys.excepthook = hook\nraise ValueError('x')",
        "ValueError: x",
    ),
    "own hook exits": (
        "import sys\nsys.excepthook = lambda *a: sys.exit(7)\nraise ValueError('x')",
        "ValueError: x",
    ),
    "no hook": ("import sys\nsys.excepthook = None\nraise ValueError('x')", "ValueError: x"),
    "no stderr": ("import sys\nsys.stderr = None\nraise ValueError('x')", "ValueError: x"),
    "keyboard": (
        """
        import atexit, signal
        atexit.register(print, "atexit")
        print("before")
        signal.raise_signal(signal.SIGINT)
        """,
        "KeyboardInterrupt: ",
    ),
    "generator exit": ("raise GeneratorExit('x')", "GeneratorExit: x"),
    "assertion under multiprocessing": (
        """
        import multiprocessing
        def work(): assert False, "in the pool"
        if __name__ == "__main__":
            with multiprocessing.get_context("fork").Pool(1) as pool:
                pool.apply(work)
        """,
        "AssertionError: in the pool",
    ),
    "not a statement": ("x = = 1", "SyntaxError: invalid syntax (script.py, line 1)"),
    "return outside": ("return 1", "SyntaxError: 'return' outside function (script.py, line 1)"),
    "tabs": (
        b"if 1:\n\tx = 1\n        y = 2\n",
        "TabError: inconsistent use of tabs and spaces in indentation (script.py, line 3)",
    ),
    "cookie": (
        b"# coding: latin-1\nx = '\xe4' y\n",
        "SyntaxError: invalid syntax (script.py, line 2)",
    ),
}


@pytest.mark.parametrize("name", RAISES)
def test_an_uncaught_exception(program: Program, name: str) -> None:
    source, message = RAISES[name]
    program.add("script.py", source)
    _, _, stderr = program.same("script.py")
    error = program.error()
    assert error is not None
    assert error["message"] == message
    assert "script.py" not in (message) or stderr.decode() in error["extraInfo"]["py_callstack"]
    assert "_worker" not in error["extraInfo"]["py_callstack"]


@needs_311
def test_a_group_with_notes(program: Program) -> None:
    program.add(
        "script.py",
        """
        error = ExceptionGroup("two", [ValueError(1), TypeError(2)])
        error.add_note("a note")
        raise error
        """,
    )
    _, _, stderr = program.same("script.py")
    error = program.error()
    assert error is not None
    assert error["extraInfo"]["py_callstack"] == stderr.decode()


LEFT_TO_PYTHON = {
    "not utf-8": (b"x = 1\ns = '\xe4'\n", 1, b"Non-UTF-8 code starting with '\\xe4'"),
    "unknown encoding": (b"# coding: nope\n", 1, b"nope"),
    "holds a NUL": (b"x = 1\ny = '\0'\n", 1, b""),
    "cookie against mark": (b"\xef\xbb\xbf# coding: latin-1\n", 1, b"encoding problem"),
}


@pytest.mark.parametrize("name", LEFT_TO_PYTHON)
def test_text_that_is_none(program: Program, name: str) -> None:
    content, expected, words = LEFT_TO_PYTHON[name]
    program.add("script.py", content)
    status, _, stderr = program.same("script.py", flags=("-X", "dev"))
    assert (status, words in stderr) == (expected, True)


def test_no_such_script(program: Program) -> None:
    status, _, stderr = program.same("missing.py")
    assert status == 2
    assert stderr.endswith(b"[Errno 2] No such file or directory\n")
    assert program.error() is None


def test_a_torn_pyc(program: Program) -> None:
    program.add("script.pyc", b"not a pyc")
    status, _, _ = program.same("script.pyc")
    assert status == 1


def test_a_directory_without_main(program: Program) -> None:
    (program.directory / "empty").mkdir()
    status, _, stderr = program.same("empty")
    assert status == 1
    assert b"can't find '__main__' module" in stderr


PLACES = {
    "relative": ["sub/script.py"],
    "dotted": ["./sub/../sub/script.py"],
    "link": ["link.py"],
    "safe": ["-P", "sub/script.py"],
    "isolated": ["-I", "sub/script.py"],
    "optimized": ["-O", "sub/script.py"],
    "unbuffered": ["-u", "sub/script.py"],
    "directory": ["app"],
    "directory, dotted": ["./app/"],
    "safe directory": ["-I", "app"],
    "zip": ["app.zip"],
    "pyc": ["sub/script.pyc"],
    "pyc by its magic": ["sub/compiled"],
}


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("end", ["", "\n    raise ValueError('x')"])
def test_where_a_script_may_be(program: Program, name: str, end: str) -> None:
    *flags, path = PLACES[name]
    if "-P" in flags and sys.version_info < (3, 11):
        pytest.skip("-P is of Python 3.11")
    source = NAMESPACE + "\n    print(sys.flags)" + end
    program.add("sub/script.py", source)
    program.add("app/__main__.py", source)
    (program.directory / "link.py").symlink_to("sub/script.py")
    with zipfile.ZipFile(program.directory / "app.zip", "w") as archive:
        archive.write(program.directory / "app/__main__.py", "__main__.py")
    compile_to = "import py_compile; [py_compile.compile('sub/script.py', f) for f in ('sub/script.pyc', 'sub/compiled')]"
    assert program.run("-c", compile_to)[0] == 0
    status, stdout, stderr = program.same(path, "x", flags=tuple(flags))
    assert status == bool(end), stderr
    assert stdout
    assert (program.error() is not None) == bool(end)


@needs_311  # where the path of "." lost its dot
def test_here(program: Program) -> None:
    program.add("app/__main__.py", NAMESPACE)
    program.same(".", cwd=program.directory / "app")


def test_a_neighbour_is_found_and_ours_is_not(program: Program) -> None:
    program.add("sub/neighbour.py", "print('hello', __name__)")
    program.add("sub/script.py", "import neighbour\nimport errorfile")
    _, stdout, stderr = program.same("sub/script.py")
    assert stdout == b"hello neighbour\n"
    assert b"No module named 'errorfile'" in stderr


def test_without_site(program: Program) -> None:
    program.add("script.py", "import sys\nprint(sys.path, sys.argv, sorted(globals()))\n1 / 0")
    program.same("script.py", flags=("-S", "-E"))


def test_safe_path_by_environment(program: Program) -> None:
    program.add("sub/script.py", NAMESPACE)
    program.same("sub/script.py", env={"PYTHONSAFEPATH": "1"})
    program.same(
        "-m", "sub.script", env={"PYTHONSAFEPATH": "1", "PYTHONPATH": str(program.directory)}
    )


MODULES = {
    "module": (["tool", "a", "-m"], 0),
    "package": (["package", "a"], 0),
    "submodule": (["package.part"], 0),
    "missing": (["nowhere"], 1),
    "missing in package": (["package.nowhere"], 1),
    "no main in it": (["bare"], 1),
    "package that raises": (["broken.part"], 1),
    "exits": (["leaves"], 6),
    "raises": (["raises"], 1),
    "interrupted": (["interrupted"], -2),
    "does not compile": (["garbled"], 1),
}


@pytest.mark.parametrize("name", MODULES)
def test_a_module(program: Program, name: str) -> None:
    argv, expected = MODULES[name]
    for path in ("tool.py", "package/__main__.py", "package/part.py"):
        program.add(path, NAMESPACE)
    program.add("package/__init__.py", "import sys; print(sys.argv, __name__)")
    program.add("bare/__init__.py", "")
    program.add("broken/__init__.py", "raise ValueError('broken')")
    program.add("broken/part.py", "")
    program.add("leaves.py", "import sys; sys.exit(6)")
    program.add("raises.py", "raise ValueError('x')")
    program.add(
        "interrupted.py", "import atexit\natexit.register(print, 1)\nraise KeyboardInterrupt"
    )
    program.add("garbled.py", "x = = 1")
    status, _, _ = program.same("-m", *argv, flags=("-B",))
    assert status == expected
    raised = ("package that raises", "raises", "interrupted", "does not compile")
    assert (program.error() is not None) == (name in raised)


def test_a_directory_that_is_gone(program: Program) -> None:
    program.add("script.py", "print('here')")
    gone = program.directory / "gone"
    script = program.directory / "script.py"
    line = f"mkdir {gone}; cd {gone}; rmdir {gone}; exec {sys.executable}"
    outcomes = {
        argv: [
            subprocess.run(
                ["sh", "-c", f"{line} {boot} {argv}"],
                env=ENVIRONMENT,
                capture_output=True,
                check=False,
            )
            for boot in ("", BOOTSTRAP)
        ]
        for argv in (str(script), "script.py", "-m script")
    }
    for plain, booted in outcomes.values():
        assert (booted.returncode, booted.stdout) == (plain.returncode, plain.stdout)
        assert booted.stderr == plain.stderr
    assert outcomes[str(script)][1].stdout == b"here\n"


def test_what_the_error_file_says(program: Program) -> None:
    program.add("script.py", "import zipfile\ndef f(): raise zipfile.BadZipFile('x')\nf()")
    status, _, stderr = program.boot("script.py", env={"TORCHELASTIC_RESTART_COUNT": "3"})
    error = program.error()
    assert status == 1
    assert error is not None
    extra = error["extraInfo"]
    assert error["message"] == "BadZipFile: x"
    assert extra["py_callstack"] == stderr.decode()
    assert extra["exception_type"] == "zipfile.BadZipFile"
    assert (extra["rank"], extra["local_rank"], extra["restart_count"]) == (6, 2, 3)
    assert extra["timestamp"] == str(extra["timestamp_ns"] // 10**9)
    assert list(program.error_file.parent.iterdir()) == [program.error_file]


def test_the_error_file_is_there_before_the_hook_runs(program: Program) -> None:
    program.add(
        "script.py",
        """
        import os, sys
        sys.excepthook = lambda *a: print(os.path.exists(os.environ["TORCHELASTIC_ERROR_FILE"]))
        raise ValueError
        """,
    )
    assert program.boot("script.py")[1] == b"True\n"


def test_what_a_handler_of_the_script_wrote_stays(program: Program) -> None:
    program.add(
        "script.py",
        """
        import json, os
        message = {"message": "theirs", "extraInfo": {"timestamp": "5", "more": 1}}
        with open(os.environ["TORCHELASTIC_ERROR_FILE"], "w") as file:
            json.dump({"message": message}, file)
        raise ValueError("ours")
        """,
    )
    program.boot("script.py")
    error = program.error()
    assert error is not None
    assert error["message"] == "theirs"
    assert (error["extraInfo"]["timestamp"], error["extraInfo"]["more"]) == ("5", 1)
    assert error["extraInfo"]["exception_type"] == "ValueError"
    assert error["extraInfo"]["monotonic_ns"] > 0


def test_an_error_file_of_an_earlier_attempt_is_replaced(program: Program) -> None:
    program.add("script.py", "raise ValueError('new')")
    program.error_file.write_text('{"message": {"message": "old"}}')
    os.utime(program.error_file, (1, 1))
    program.boot("script.py")
    error = program.error()
    assert error is not None
    assert error["message"] == "ValueError: new"


def test_no_directory_for_the_error_file_is_one_line(program: Program) -> None:
    program.add("script.py", "raise ValueError('x')")
    path = str(program.directory / "gone" / "error.json")
    status, _, plain = program.run("script.py")
    told = program.boot("script.py", env={"TORCHELASTIC_ERROR_FILE": path})
    first, _, rest = told[2].partition(b"\n")
    assert (told[0], rest) == (status, plain)
    assert first.startswith(b"procession: the exception could not be written to")


def test_without_an_error_file_nothing_is_said(program: Program) -> None:
    program.add("script.py", "raise ValueError('x')")
    program.same("script.py", env={"TORCHELASTIC_ERROR_FILE": ""})


def test_lines_come_when_they_are_printed(program: Program) -> None:
    program.add("script.py", "import os\nprint('one')\nprint('tw', end='')\nos._exit(0)")
    assert program.run("script.py")[1] == b""
    assert program.boot("script.py")[1] == b"one\n"
    assert program.boot("script.py", env={"PYTHONUNBUFFERED": "1"})[1] == b"one\ntw"
    assert program.boot("script.py", flags=("-u",))[1] == b"one\ntw"


def test_a_crash_shows_its_stack(program: Program) -> None:
    program.add(
        "script.py", "import os, signal\ndef deep(): os.kill(os.getpid(), signal.SIGSEGV)\ndeep()"
    )
    status, _, stderr = program.boot("script.py")
    assert status == -11
    assert b"Segmentation fault" in stderr
    assert b"in deep" in stderr


def test_a_stack_dump_that_the_user_has_set_up_stays(program: Program) -> None:
    program.add("sitecustomize.py", "import faulthandler\nfaulthandler.enable(open('dump', 'w'))")
    program.add("script.py", "import os\nos.abort()")
    _, _, stderr = program.same("script.py", env={"PYTHONPATH": str(program.directory)})
    assert stderr == b""
    assert "Aborted" in (program.directory / "dump").read_text()


def test_a_script_may_switch_the_stack_dump_off(program: Program) -> None:
    program.add("script.py", "import faulthandler, os\nfaulthandler.disable()\nos.abort()")
    program.same("script.py")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", ">&- 2>&- <&-"])
def test_closed_streams(program: Program, closed: str) -> None:
    program.add("script.py", "print('x')\nraise ValueError('y')")
    commands = [f"{sys.executable} {boot} script.py {closed}" for boot in ("", BOOTSTRAP)]
    plain, booted = (
        subprocess.run(
            ["sh", "-c", c],
            cwd=program.directory,
            env=ENVIRONMENT,
            capture_output=True,
            check=False,
        )
        for c in commands
    )
    assert (booted.returncode, booted.stdout, booted.stderr) == (
        plain.returncode,
        plain.stdout,
        plain.stderr,
    )


@pytest.mark.parametrize("source", ["import zlib", "pass"])
def test_no_module_of_ours_is_left(program: Program, source: str) -> None:
    program.add(
        "script.py", f"{source}\nimport sys\nprint([n for n in sys.modules if 'procession' in n])"
    )
    assert program.boot("script.py")[1] == b"[]\n"
