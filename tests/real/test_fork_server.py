"""A fork server: imported once, kept for many gangs, safe to fork or not used, and never left behind."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from procession._os import proc
from procession._os.boottime import boottime_ns
from procession.errors import PreloadError, UsageError
from procession.multiprocessing import (
    DefaultLogsSpecs,
    ForkServer,
    PContext,
    RunProcsResult,
    Std,
    Supervision,
    start_processes,
)
from procession.testing import RollCall, wait_gone

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "scripts"))

import warm

AddModule = Callable[[str, str], None]
PATIENCE = 60  # seconds for what takes milliseconds


@pytest.fixture
def add_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AddModule]:
    """Write a module that the launcher's path, and so the server's, leads to."""
    directory = tmp_path / "modules"
    directory.mkdir()
    monkeypatch.syspath_prepend(directory)

    def add(name: str, source: str) -> None:
        (directory / f"{name}.py").write_text(textwrap.dedent(source))

    yield add
    for name in [name for name in sys.modules if name.startswith("pre_")]:
        del sys.modules[name]


def launch(tmp: Path, fn: Any, args: dict[int, Any], **wishes: Any) -> PContext:
    return start_processes(
        name="w",
        entrypoint=fn,
        args=args,
        envs={rank: {"LOCAL_RANK": str(rank), "SHARED": "by all"} for rank in args},
        logs_specs=DefaultLogsSpecs(str(tmp / "logs"), redirects=Std.ALL),
        start_method="forkserver",
        supervision=Supervision(shutdown_timeout=5, **wishes),
    )


def run(tmp: Path, fn: Any, args: dict[int, Any], **wishes: Any) -> RunProcsResult:
    result = launch(tmp, fn, args, **wishes).wait()
    assert result is not None
    return result


def values(tmp: Path, fn: Any, args: dict[int, Any], **wishes: Any) -> dict[int, Any]:
    result = run(tmp, fn, args, **wishes)
    assert result.failures == {}
    return result.return_values


def is_alive(pid: int) -> bool:
    facts = proc.stat(pid)
    return facts is not None and facts.alive


COUNTS = """
    import os
    with open(os.environ["IMPORTS"], "a") as file:
        file.write(f"{os.getpid()}\\n")
    AT_IMPORT = dict(os.environ)
    print("importing")
"""


@pytest.fixture
def imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, add_module: AddModule) -> Path:
    """A file that gets a line at every import of the module pre_counts."""
    path = tmp_path / "imports"
    path.touch()
    monkeypatch.setenv("IMPORTS", str(path))
    add_module("pre_counts", COUNTS)
    return path


def test_a_module_is_imported_once_for_all_workers(tmp_path: Path, imports: Path) -> None:
    args = dict.fromkeys(range(4), ("pre_counts",))
    result = run(tmp_path, warm.is_imported, args, preload=("pre_counts",))
    assert result.return_values == dict.fromkeys(range(4), True)
    assert len(imports.read_text().splitlines()) == 1
    for rank in range(4):  # what an import prints stands in every log, as if each had imported it
        assert Path(result.stdouts[rank]).read_text() == f"importing\nrank {rank}\n"


def test_an_import_sees_what_the_environments_have_in_common(tmp_path: Path, imports: Path) -> None:
    seen = values(tmp_path, warm.environment_at_import, {0: (), 1: ()}, preload=("pre_counts",))
    assert seen == {0: ("by all", None, "0"), 1: ("by all", None, "1")}


CHANGES = """
    import os, sys
    os.environ["BY_IMPORT"] = "yes"
    os.environ["SHARED"] += ", and more"
    del os.environ["FOR_THE_IMPORT"]
    os.environ.setdefault("LOCAL_RANK", "of nobody")
    sys.path.insert(0, os.environ["MORE"])
"""


def test_what_an_import_changes_is_changed_for_every_worker(
    tmp_path: Path, add_module: AddModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if each had imported it: variables, but for those that are a rank's own, and the search path."""
    add_module("pre_changes", CHANGES)
    (tmp_path / "pre_further.py").touch()
    (tmp_path / "sitecustomize.py").write_text("import os\nos.environ['BY_SITE'] = 'yes'\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("MORE", str(tmp_path))
    monkeypatch.setenv("FOR_THE_IMPORT", "yes")
    args: dict[int, Any] = {0: (), 1: ()}
    variables = ("yes", "yes", "by all, and more", None)
    expected = {rank: (*variables, str(rank), True) for rank in args}
    for wishes in ({}, {"preload": ("pre_changes",)}, {"preload": ("pre_changes",), "spares": 2}):
        assert values(tmp_path, warm.what_an_import_changed, args, **wishes) == expected
    with ForkServer(["pre_changes"], env={"SHARED": "by all"}) as server:
        monkeypatch.syspath_prepend(tmp_path / "elsewhere")
        seen = values(tmp_path, warm.what_an_import_changed, args, fork_server=server)
        assert seen == expected


def test_an_import_that_ignores_the_deaths_of_children(
    tmp_path: Path, add_module: AddModule, caplog: Any
) -> None:
    add_module("pre_deaf", "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)")
    args = {0: ("pre_deaf",), 1: ("pre_deaf",)}
    assert values(tmp_path, warm.is_imported, args, preload=("pre_deaf",)) == {0: True, 1: True}
    assert caplog.records == []


def test_a_server_outlives_gangs(tmp_path: Path, imports: Path) -> None:
    with ForkServer(["pre_counts"]) as server:
        families = [
            values(tmp_path, warm.family, {0: (), 1: ()}, fork_server=server) for _ in range(3)
        ]
    assert len(imports.read_text().splitlines()) == 1
    guardians = {guardian for family in families for _, guardian, _ in family.values()}
    workers = {pid for family in families for pid, _, _ in family.values()}
    assert (len(guardians), len(workers)) == (1, 6)  # the guardian is the parent, not the server
    assert all(leads for family in families for _, _, leads in family.values())


@pytest.mark.stress  # for the seconds that it waits
def test_a_server_outlives_the_time_by_which_a_gang_had_to_be_gone(
    tmp_path: Path, imports: Path
) -> None:
    """Hosts may be waited for between two gangs for longer than a lease lasts."""
    with ForkServer(["pre_counts"]) as server:
        wishes = {"fork_server": server, "until": lambda: boottime_ns() + 3 * 10**9}
        assert values(tmp_path, abs, {0: (-4,)}, **wishes) == {0: 4}
        (warm_one,) = map(int, imports.read_text().split())
        assert wait_gone([warm_one], 4) == [warm_one]
        assert values(tmp_path, abs, {0: (-4,)}, **wishes) == {0: 4}
    assert len(imports.read_text().splitlines()) == 1


def test_a_server_outlives_a_gang_that_fails_and_what_that_leaves(
    tmp_path: Path, imports: Path
) -> None:
    pids = tmp_path / "pids"
    with ForkServer(["pre_counts"]) as server:
        failed = run(
            tmp_path, warm.leave_a_daemon_and_fail, {0: (str(pids),), 1: ("",)}, fork_server=server
        )
        assert {rank: failure.exitcode for rank, failure in failed.failures.items()} == {0: 9}
        assert not is_alive(int(pids.read_text()))
        assert values(tmp_path, abs, {0: (-4,)}, fork_server=server) == {0: 4}
    assert len(imports.read_text().splitlines()) == 1


def test_one_gang_at_a_time(tmp_path: Path) -> None:
    with ForkServer() as server:
        first = launch(tmp_path, warm.wait_for_ever, {0: ()}, fork_server=server)
        with pytest.raises(UsageError, match="used by a gang that has not ended"):
            launch(tmp_path, abs, {0: (1,)}, fork_server=server)
        first.close()
        assert values(tmp_path, abs, {0: (-4,)}, fork_server=server) == {0: 4}
    with pytest.raises(UsageError, match="is closed"):
        launch(tmp_path, abs, {0: (1,)}, fork_server=server)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_more_workers_than_one_process_may_have_files_open(tmp_path: Path, method: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f"ulimit -n 400; exec {sys.executable} {warm.__file__} - {tmp_path} {method}"],
        check=True,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.stdout == "100\n", done.stderr


def test_a_server_that_was_killed_is_replaced(tmp_path: Path, imports: Path) -> None:
    with ForkServer(["pre_counts"]) as server:
        for _ in range(2):
            assert values(tmp_path, abs, {0: (-4,)}, fork_server=server) == {0: 4}
            pid = int(imports.read_text().splitlines()[-1])
            os.kill(pid, signal.SIGKILL)
            assert wait_gone([pid]) == []
    assert len(imports.read_text().splitlines()) == 2


def test_a_guardian_that_was_killed_is_replaced(tmp_path: Path, imports: Path) -> None:
    with ForkServer(["pre_counts"]) as server:
        assert values(tmp_path, abs, {0: (-4,)}, fork_server=server) == {0: 4}
        os.kill(server.kept.have().pid, signal.SIGKILL)
        assert values(tmp_path, abs, {0: (-4,)}, fork_server=server) == {0: 4}
    assert len(imports.read_text().splitlines()) == 2


def test_a_start_that_fails_leaves_nothing_and_the_next_one_works(tmp_path: Path) -> None:
    args = {0: (), 1: (sys._getframe(),)}  # when the second fails, rank 0 runs or is about to
    with ForkServer() as server:
        with pytest.raises(Exception, match="cannot be pickled"):
            launch(tmp_path, warm.wait_for_ever, args, fork_server=server)
        assert values(tmp_path, abs, {0: (-4,)}, fork_server=server) == {0: 4}


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (None, r"'pre_bad' cannot be preloaded: there is no module of that name"),
        ("import pre_missing", r"its import raised ModuleNotFoundError: No module named 'pre_m"),
        ("1/0", r"'pre_bad' cannot be preloaded, its import raised ZeroDivisionError: .*\n"
                r"Traceback .*\n  File .*pre_bad.py\", line 1"),
        ("def", r"its import raised SyntaxError"),
        ("raise SystemExit(0)", r"its import raised SystemExit: 0"),
        ("import os; os.write(2, b'dying\\n'); os._exit(3)",
         r"the import of 'pre_bad' ended the fork server: exit status 3; .*: dying\. .*python -c"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", r"fork server: SIGSEGV"),
        ("import os; os.closerange(3, 1000)\nimport time; time.sleep(1000)", r"SIGKILL"),
    ],
)  # fmt: skip
def test_an_import_that_fails_is_named_and_nothing_starts(
    tmp_path: Path, add_module: AddModule, source: str | None, said: str
) -> None:
    if source is not None:
        add_module("pre_bad", source)
    with pytest.raises(PreloadError, match=said):
        launch(tmp_path, abs, {0: (-4,), 1: (-4,)}, preload=("random", "pre_bad"))


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("import threading, time\n"
         "threading.Thread(target=time.sleep, args=(1000,), name='meter', daemon=True).start()",
         "'pre_unfit' has left the thread 'meter'"),
        ("import socket; s = socket.socket()", "'pre_unfit' has left an open socket"),
        ("import subprocess; p = subprocess.Popen(['sleep', '1000'])\n"
         "while open(f'/proc/{p.pid}/comm').read() != 'sleep\\n': pass",  # its name comes with exec, a little later
         "'pre_unfit' has left the child process sleep"),
        ("import sys, types\nsys.modules['torch.cuda'] = types.SimpleNamespace(_initialized=True)",
         "'pre_unfit' has left an initialised CUDA context"),
    ],
)  # fmt: skip
def test_what_a_fork_would_break_is_named_and_workers_are_spawned(
    tmp_path: Path, add_module: AddModule, caplog: Any, source: str, what: str
) -> None:
    add_module("pre_unfit", source)
    add_module("pre_fine", "import json")
    with ForkServer(["pre_fine", "pre_unfit"]) as server:
        for _ in range(2):
            args = dict.fromkeys(range(2), ("pre_fine",))
            seen = values(tmp_path, warm.is_imported, args, fork_server=server)
            assert seen == {0: False, 1: False}
    (record,) = caplog.records  # one warning, however many gangs
    assert what in record.getMessage()


def test_a_main_module_that_ends_the_server_ends_each_worker(tmp_path: Path) -> None:
    script = tmp_path / "fatal.py"
    script.write_text(
        "import os, sys\n"
        "from procession.multiprocessing import DefaultLogsSpecs, start_processes\n"
        "if __name__ == '__main__':\n"
        "    c = start_processes('w', abs, {0: (1,)}, {0: {}}, DefaultLogsSpecs(sys.argv[1]),"
        " start_method='forkserver')\n"
        "    print({r: f.exitcode for r, f in c.wait().failures.items()})\n"
        "else:\n"
        "    os._exit(7)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "logs")],
        check=True,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.stdout == "{0: 7}\n"
    assert "ended in the import of the main module: exit status 7" in done.stderr


@pytest.mark.parametrize("victim", ["launcher", "guardian", "server", "interrupt"])
def test_nothing_is_left_of_an_import_that_hangs(
    tmp_path: Path, add_module: AddModule, victim: str
) -> None:
    add_module(
        "pre_hangs",
        """
        import os, subprocess, time
        child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
        with open(os.environ["PIDS"], "w") as file:
            file.write(f"{os.getppid()} {os.getpid()} {child.pid}\\n")
        time.sleep(1000)
        """,
    )
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDWR)
    with subprocess.Popen(
        [sys.executable, warm.__file__, "pre_hangs", str(tmp_path / "logs")],
        env={**os.environ, "PIDS": str(fifo), "PYTHONPATH": str(tmp_path / "modules")},
        stderr=subprocess.PIPE,
        text=True,
    ) as launcher:
        try:
            guardian, server, child = map(int, os.read(reader, 100).split())
            target = {"guardian": guardian, "server": server}.get(victim, launcher.pid)
            os.kill(target, signal.SIGINT if victim == "interrupt" else signal.SIGKILL)
            said = launcher.communicate(timeout=PATIENCE)[1]
        finally:
            os.close(reader)
            launcher.kill()
    assert wait_gone([guardian, server, child]) == []
    if victim == "server":
        assert "the import of 'pre_hangs' ended the fork server: SIGKILL" in said
    if victim == "interrupt":
        assert "SignalException" in said


@pytest.mark.parametrize("spares", [0, 1])
def test_one_whose_guardian_dies_between_two_gangs(
    tmp_path: Path, add_module: AddModule, spares: int
) -> None:
    """No gang's launcher would sweep it, and its import would not hear of it."""
    with RollCall() as roll:
        add_module(
            "pre_hangs_alone",
            f"""
            import os, signal
            with open({roll.path!r}, "w") as told:
                told.write(f"{{os.getpid()}}\\n")
            signal.pause()
            """,
        )
        with ForkServer(["pre_hangs_alone"], spares=spares) as server:
            pids = [int(line) for line in roll.lines(1)]
            os.kill(server.kept.have().pid, signal.SIGKILL)
            assert wait_gone(pids) == []


def test_one_that_is_killed_before_its_first_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No module is to blame, and workers can be had without it."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nif sys.orig_argv[-1].endswith('serve.py'):\n    os.kill(os.getpid(), 9)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    result = run(tmp_path, warm.square, {0: (2,), 1: (3,)}, preload=["json"])
    assert result.return_values == {0: 4, 1: 9}
    assert "the fork server ended: SIGKILL. Workers are started one by one instead" in caplog.text


def test_one_that_dies_before_it_has_told_of_a_birth(
    tmp_path: Path, add_module: AddModule, caplog: pytest.LogCaptureFixture
) -> None:
    """Each rank is there once: whoever waits at the gate for a server that is gone was never born."""
    add_module(
        "pre_dies_giving_birth",
        """
        import os, signal
        SERVER = os.getpid()
        def die():
            if os.getpid() == SERVER:
                os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)  # the mother has forked all
                os.kill(SERVER, signal.SIGKILL)
        os.register_at_fork(after_in_parent=die)
        """,
    )
    ranks = {rank: (str(tmp_path / "born"),) for rank in range(4)}
    result = run(tmp_path, warm.leave_name, ranks, preload=["pre_dies_giving_birth"])
    assert not result.failures
    assert sorted((tmp_path / "born").read_text().split()) == ["0", "1", "2", "3"]
    assert "the fork server ended: SIGKILL" in caplog.text  # in no import


@pytest.mark.parametrize("seed", range(4))
def test_deaths_at_random_moments_are_told_truly(tmp_path: Path, seed: int) -> None:
    moments = random.Random(seed)
    with ForkServer() as server:
        for _ in range(6):
            pauses = {rank: (moments.choice([0, 0, 0.001, 0.01]),) for rank in range(4)}
            result = run(tmp_path, warm.die_of_sigkill, pauses, fork_server=server)
            assert result.failures
            ends = {**result.failures, **result.stopped}
            assert {end.exitcode for end in ends.values()} <= {-9, -15}
            assert all(failure.exitcode == -9 for failure in result.failures.values())


@pytest.mark.parametrize(
    ("wishes", "method", "said"),
    [
        ({"preload": "json"}, "forkserver", r"give a list of module names, \['json'\]"),
        ({"preload": ["no-name"]}, "forkserver", "'no-name' is no module's name"),
        ({"preload": ["json"]}, "spawn", 'give start_method="forkserver"'),
        ({"preload": ["json"]}, "fork", 'give start_method="forkserver"'),
    ],
)
def test_what_cannot_be_is_refused(
    tmp_path: Path, wishes: dict[str, Any], method: str, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        start_processes(
            "w", abs, {0: (1,)}, {0: {}}, DefaultLogsSpecs(str(tmp_path)),
            start_method=method, supervision=Supervision(**wishes),
        )  # fmt: skip


AT_IMPORT = """
    import atexit, logging, multiprocessing, tempfile, threading
    from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

    LOG = logging.getLogger("ours")
    LOG.addHandler(logging.StreamHandler())
    LOCK = threading.Lock()
    TURNS = multiprocessing.get_context("fork").Lock()
    THREADS = ThreadPoolExecutor(2)
    atexit.register(print, "at exit")
    PLACE = tempfile.TemporaryDirectory(prefix="pre_made")
"""


def test_what_an_import_has_made_works_in_every_worker(
    tmp_path: Path, add_module: AddModule
) -> None:
    add_module("pre_made", AT_IMPORT)
    args = dict.fromkeys(range(2), ())
    result = run(tmp_path, warm.use_what_was_made, args, preload=("pre_made",))
    squares = [1, 4]
    places = {place for _, _, place in result.return_values.values()}
    assert result.return_values == dict.fromkeys(range(2), (squares, squares, *places))
    shutil.rmtree(places.pop())  # no worker has, though each has ended
    for rank in range(2):
        assert Path(result.stderrs[rank]).read_text() == f"logged by {rank}\n"
        assert Path(result.stdouts[rank]).read_text() == "at exit\n"


def test_a_gang_within_a_worker(tmp_path: Path) -> None:
    logs = str(tmp_path / "inner")
    assert values(tmp_path, warm.nested, {0: (logs,)}, preload=("json",)) == {0: {0: 4, 1: 9}}


def test_random_numbers_are_each_workers_own(tmp_path: Path) -> None:
    drawn = values(tmp_path, warm.draw, dict.fromkeys(range(3), ()), preload=("random", "uuid"))
    assert len(set(drawn.values())) == 3


def test_no_warning_of_forks_beside_threads_is_shown(tmp_path: Path) -> None:
    """numpy's import starts threads of OpenBLAS's; Python >= 3.12 warns of a fork beside threads."""
    args = dict.fromkeys(range(2), ("numpy",))
    result = run(tmp_path, warm.is_imported, args, preload=("numpy",))
    assert result.return_values == dict.fromkeys(range(2), True)
    assert [Path(result.stderrs[rank]).read_text() for rank in range(2)] == ["", ""]


# Gives the file its line once the import is over: a thread sees the main thread wait for an order.
READY = """
    import os, sys, threading, time
    def wait():
        while sys._current_frames()[threading.main_thread().ident].f_code.co_name != "_sleep":
            time.sleep(0.001)
        with open(os.environ["IMPORTS"], "a") as file:
            file.write(f"{os.getpid()}\\n")
        time.sleep(1000)
    threading.Thread(target=wait, daemon=True).start()
"""
UNFIT = """
    import os, threading, time
    threading.Thread(target=time.sleep, args=(1000,), name="meter", daemon=True).start()
    with open(os.environ["IMPORTS"], "a") as file:
        file.write(f"{os.getpid()}\\n")
    print("importing")
"""


def pids(imports: Path) -> list[int]:
    return [int(line) for line in imports.read_text().splitlines()]


def test_spares_become_workers_of_modules_that_cannot_be_forked(
    tmp_path: Path, imports: Path, add_module: AddModule, caplog: Any
) -> None:
    add_module("pre_unfit", UNFIT)
    with ForkServer(["pre_unfit"], spares=2) as server:
        gangs = []
        for _ in range(3):
            args = dict.fromkeys(range(3), ("pre_unfit",))
            result = run(tmp_path, warm.pid_and_import, args, fork_server=server)
            gangs.append(result.return_values)
            assert Path(result.stdouts[0]).read_text() == "importing\nrank 0\n"
            wait_for(lambda: len(pids(imports)) >= 2 * (len(gangs) + 1))
        for gang in gangs:  # two of them were spares, and the third one started by itself
            assert [imported for _, imported in gang.values()] == [True, True, False]
            assert {pid for pid, imported in gang.values() if imported} <= set(pids(imports))
        assert len({pid for gang in gangs for pid, _ in gang.values()}) == 9
    assert caplog.records == []
    assert not any(map(is_alive, pids(imports)))


def test_a_spare_that_was_killed_is_nobody(
    tmp_path: Path, imports: Path, add_module: AddModule
) -> None:
    add_module("pre_unfit", READY)  # the death of one that imports is the import's failure
    with ForkServer(["pre_unfit"], spares=2) as server:
        wait_for(lambda: len(pids(imports)) == 2)
        os.kill(pids(imports)[0], signal.SIGKILL)
        assert wait_gone(pids(imports)[:1]) == []  # with its thread, which has its files too
        args = dict.fromkeys(range(2), ("pre_unfit",))
        seen = values(tmp_path, warm.pid_and_import, args, fork_server=server)
        assert sorted(imported for _, imported in seen.values()) in ([False, True], [True, True])


def test_a_spare_whose_import_fails_is_an_error(tmp_path: Path, add_module: AddModule) -> None:
    add_module("pre_bad", "1/0")
    with pytest.raises(PreloadError, match=r"'pre_bad' cannot be preloaded, .* ZeroDivisionError"):
        launch(tmp_path, abs, {0: (-4,), 1: (-4,)}, preload=("pre_bad",), spares=1)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


MOVES = """
import json, os, resource, sys
from procession.multiprocessing import DefaultLogsSpecs, ForkServer, Supervision, start_processes

def place():
    return [os.getcwd(), os.umask(0o77), resource.getrlimit(resource.RLIMIT_CORE)[0],
            sorted(os.sched_getaffinity(0)), os.nice(0)]

def run(server):
    logs = DefaultLogsSpecs(sys.argv[1])
    wishes = Supervision(fork_server=server)
    gang = start_processes("w", place, {0: ()}, {0: {}}, logs, start_method="forkserver", supervision=wishes)
    return gang.wait().return_values[0]

if __name__ == "__main__":
    with ForkServer(json.loads(sys.argv[2]), spares=int(sys.argv[3])) as server:
        first, here = run(server), place()
        os.umask(here[1])
        os.chdir(sys.argv[1]), os.umask(0o26), os.nice(3)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.sched_setaffinity(0, here[3][:1])
        second, there = run(server), place()
        print(json.dumps([first == here, second == there, here != there, there]))
"""


@pytest.mark.parametrize("kind", ["server", "spares", "unfit"])
def test_workers_of_a_kept_server_are_where_their_launcher_is(tmp_path: Path, kind: str) -> None:
    """Its directory, umask, limits, affinity and niceness are those of each start, however one comes to be."""
    (tmp_path / "moves.py").write_text(MOVES)
    (tmp_path / "pre_thread.py").write_text(
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    )
    modules = {"server": "[]", "spares": '["json"]', "unfit": '["pre_thread"]'}[kind]
    logs = tmp_path / "logs"
    logs.mkdir()
    done = subprocess.run(
        [sys.executable, "moves.py", str(logs), modules, "1" if kind == "spares" else "0"],
        check=False, capture_output=True, text=True, timeout=50, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    same, followed, moved, there = json.loads(done.stdout)
    assert (same, followed, moved) == (True, True, True)
    assert there[:3] == [str(logs), 0o26, 0]
