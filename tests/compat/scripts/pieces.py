"""The parts of the library one by one: masks, directories, redirects, tails, errors."""

import ctypes
import io
import json
import os
import signal
import sys
import threading
from pathlib import Path

import dump
from dump import case, failure, raised
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, LogsDest, Std, to_map
from torch.distributed.elastic.multiprocessing.api import SignalException, get_std_cm
from torch.distributed.elastic.multiprocessing.errors import (
    ChildFailedError,
    ErrorHandler,
    ProcessFailure,
    get_error_handler,
    record,
)
from torch.distributed.elastic.multiprocessing.redirects import (
    redirect,
    redirect_stderr,
    redirect_stdout,
)
from torch.distributed.elastic.multiprocessing.subprocess_handler import get_subprocess_handler
from torch.distributed.elastic.multiprocessing.tail_log import TailLog, tail_logfile
from torch.numa.binding import AffinityMode, NumaOptions


def tried(function, *args):
    """What a call returns, or the kind of exception it raises."""
    try:
        return function(*args)
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        return raised(error)


@case
def masks_from_text(_):
    right = ["0", "1", "2", "3", "0:3", "0:3,1:0,2:1,3:2", "9:1", "1:1,1:2"]
    wrong = ["", "4", "-1", "x", "0:4", "0:", ":1", "0:3,", "0:3;1:3", " 3", "0:3 ", "a:1", "--1"]
    return {text: tried(Std.from_str, text) for text in right + wrong}


@case
def masks_beyond_torch(_):
    return {text: tried(Std.from_str, text) for text in ("10:3", "0-3:3", "0-1:3,12:1")}


@case
def masks_are_flags(_):
    return {
        "members": [(one.name, int(one)) for one in (Std.NONE, Std.OUT, Std.ERR, Std.ALL)],
        "or": Std.OUT | Std.ERR == Std.ALL,
        "and": int(Std.ALL & Std.ERR),
        "text": [repr(Std.OUT), str(Std.ALL), f"{Std.ERR}"],
    }


@case
def masks_to_a_map(_):
    wishes = [Std.OUT, Std.NONE, {1: Std.OUT}, {0: Std.ALL, 5: Std.ERR}, {}]
    return [[to_map(wish, size) for wish in wishes] for size in (0, 1, 3)]


ENVS = {"TORCHELASTIC_RUN_ID": "job", "TORCHELASTIC_RESTART_COUNT": "2"}


def places(directory, number, nprocs=2, env=ENVS, **wishes):
    """What reify returns, sets and makes."""
    root = os.path.join(directory, "logs", str(number))
    envs = {rank: dict(env) for rank in range(nprocs)}
    return {"dest": vars(DefaultLogsSpecs(root, **wishes).reify(envs)), "envs": envs}


@case
def places_of_every_mask(directory):
    return [
        places(directory, f"{redirects}{tee}", redirects=Std(redirects), tee=Std(tee))
        for redirects in range(4)
        for tee in range(4)
    ]


@case
def places_by_rank(directory):
    wishes = [
        {"redirects": {0: Std.OUT}, "tee": {1: Std.ERR, 9: Std.ALL}},
        {"redirects": Std.ERR, "tee": {0: Std.OUT}, "local_ranks_filter": {1}},
        {"redirects": Std.NONE, "tee": Std.NONE, "local_ranks_filter": {0, 7}},
        {"redirects": Std.NONE, "tee": Std.ALL, "local_ranks_filter": set()},
        {"nprocs": 0},
        {"nprocs": 1, "env": {}},
        {"nprocs": 12, "redirects": Std.ALL},
    ]
    return [places(directory, number, **wish) for number, wish in enumerate(wishes)]


@case
def places_without_files(_):
    envs = {rank: dict(ENVS) for rank in range(2)}
    specs = DefaultLogsSpecs(os.devnull, Std.ALL, Std.OUT, {0})
    return {"dest": vars(specs.reify(envs)), "envs": envs, "root": specs.root_log_dir}


@case
def places_of_several_attempts(directory):
    specs = DefaultLogsSpecs(os.path.join(directory, "logs"), redirects=Std.OUT)
    given = []
    for attempt in ("0", "1", "0"):
        dest = specs.reify({0: {"TORCHELASTIC_RUN_ID": "a", "TORCHELASTIC_RESTART_COUNT": attempt}})
        given.append([dest.stdouts[0], os.path.exists(dest.stdouts[0])])
        Path(dest.stdouts[0]).write_text(attempt)
    return given


@case
def places_are_described_and_compared(directory):
    root = os.path.join(directory, "logs")
    one, same = (DefaultLogsSpecs(root, Std.OUT, {0: Std.ERR}, {1}) for _ in range(2))
    others = [
        DefaultLogsSpecs(root, Std.OUT, {0: Std.ERR}, {2}),
        DefaultLogsSpecs(root, Std.ERR, {0: Std.ERR}, {1}),
        DefaultLogsSpecs(root + "/x", Std.OUT, {0: Std.ERR}, {1}),
        "text",
    ]
    return {
        "repr": repr(one),
        "root": one.root_log_dir,
        "equal": [one == same, *(one == other for other in others)],
        "hash": tried(hash, one),
        "dest": repr(LogsDest()),
        "dests": LogsDest() == LogsDest({}, {}),
    }


@case
def places_that_cannot_be(directory):
    path = os.path.join(directory, "file")
    Path(path).write_text("")
    kept = DefaultLogsSpecs(None).root_log_dir
    return {
        "file": tried(DefaultLogsSpecs, path),
        "below a file": tried(DefaultLogsSpecs, path + "/below"),
        "none given": [os.path.isdir(kept), os.rmdir(kept)],
    }


@case
def places_of_a_subclass(directory):
    class Own(DefaultLogsSpecs):
        def _make_log_dir(self, log_dir, rdzv_run_id):
            return f"{log_dir}/own-{rdzv_run_id}"

        def reify(self, envs):
            dest = super().reify(envs)
            return LogsDest(**{**vars(dest), "tee_stdouts": {}})

    specs = Own(os.path.join(directory, "logs"), tee=Std.ALL)
    dest = specs.reify({0: dict(ENVS)})
    inner = {name: getattr(specs, f"_{name}") for name in ("root_log_dir", "redirects", "tee")}
    return [vars(dest), inner, specs._local_ranks_filter, specs._run_log_dir]


@case
def redirected_output(directory):
    out, err = (os.path.join(directory, "logs", name) for name in ("out", "err"))
    Path(out).write_text("old and longer than what is said\n")
    libc = ctypes.CDLL("libc.so.6")
    with redirect_stdout(out), redirect_stderr(err):
        print("said in Python")
        print("said in Python, stderr", file=sys.stderr)
        sys.stdout.flush()
        libc.printf(b"said in C\n")
        libc.fflush(None)
        os.system("echo said in a shell; echo said in a shell, stderr >&2")
    print("said after the end")
    with redirect("stdout", out + "2"):
        print("said by name")
    with get_std_cm("", redirect_stdout):
        print("said without a file")
    with get_std_cm(out + "3", redirect_stdout):
        print("said with a manager")


@case
def redirects_that_cannot_be(directory):
    def enter(std, path):
        with redirect(std, path):
            return "entered"

    bad = [("stdin", f"{directory}/x"), ("stdout", f"{directory}/missing/x"), ("stdout", directory)]
    given = [tried(enter, *one) for one in bad]
    print("said after the failures")
    return given


@case
def redirect_ends_with_an_exception(directory):
    def fail():
        with redirect_stdout(os.path.join(directory, "logs", "out")):
            print("said before the failure")
            raise ValueError

    given = tried(fail)
    print("said after the failure")
    return given


@case
def redirects_in_each_other(directory):
    out, err, inner = (os.path.join(directory, "logs", name) for name in ("out", "err", "inner"))
    with redirect_stderr(err), redirect_stdout(out):
        print("said outside")
        with redirect_stdout(Path(inner)):
            print("said inside", flush=True)
            os.system("echo said inside by a shell")
            said = Path(inner).read_text()
        print("said outside again")
        print("said to stderr", file=sys.stderr)
    print("said after both")
    return said


@case
def redirect_of_a_function_and_its_threads(directory):
    @redirect_stdout(os.path.join(directory, "logs", "out"))
    def work(words):
        threads = [threading.Thread(target=print, args=(word,)) for word in words]
        for thread in threads:
            thread.start()
            thread.join()
        return len(words)

    # The second call needs a manager of its own, which contextlib makes.
    return [work(["one", "two"]), work(["three"])]


@case
def redirect_is_for_once(directory):
    manager = redirect_stdout(os.path.join(directory, "logs", "out"))
    with manager:
        print("said once")
    return tried(manager.__enter__)


@case
def redirect_to_nowhere(_):
    with redirect_stdout(os.devnull):
        print("said to nobody")
    print("said after")
    return [redirect_stdout.args, redirect_stderr.args, redirect_stdout.func is redirect]


def tail_of(directory, texts, name="trainer", **options):
    """What a TailLog of files with these texts writes."""
    paths = {}
    for rank, text in texts.items():
        paths[rank] = os.path.join(directory, "logs", f"{name}{rank}")
        Path(paths[rank]).write_bytes(text)
    dst = io.StringIO()
    tail = TailLog(name, paths, dst, **options)
    before = tail.stopped()
    same = tail.start() is tail
    tail.stop()
    return [sorted(dst.getvalue().splitlines()), before, same, tail.stopped()]


@case
def tails(directory):
    two = {0: b"one\ntwo\n", 3: b"three\n"}
    return [
        tail_of(directory, two, "plain"),
        tail_of(directory, two, "prefix", log_line_prefixes={3: "<3> ", 8: "no"}),
        tail_of(directory, two, "filter", log_line_filter=lambda line: "t" in line),
        tail_of(directory, two, "interval", interval_sec=0.01),
        tail_of(directory, {}, "nothing"),
        tail_of(directory, {0: b""}, "empty"),
        tail_of(directory, {0: b"\n\nx\n"}, "blank"),
        tail_of(directory, {0: "h\u00e9 \u2713\n".encode()}, "unicode"),
        tail_of(directory, {0: b"a\xff\xfeb\n"}, "invalid"),
        tail_of(directory, {0: b"a\r\nb\n"}, "crlf"),
    ]


@case
def tails_of_odd_usage(directory):
    one = {0: b"one\n"}

    class Writer:
        text = ""

        def write(self, text):
            self.text += text

    class Own(TailLog):
        def start(self):
            super().start()
            return self

    Path(directory, "logs", "odd").write_text("a\nb\n")
    path, writer, screen = Path(directory, "logs", "odd"), Writer(), io.StringIO()
    TailLog("t", {0: path}, writer).start().stop()
    own = Own("t", {0: str(path)}, screen).start()
    own.stop()
    names = [own._name, own._log_files, own._interval_sec, own._stopped, own._dst is screen]
    return {
        "paths, and a stream that only writes": writer.text,
        "a subclass": [screen.getvalue(), names],
        "text as rank": tail_of(directory, {"a": b"one\n"}, log_line_prefixes={"a": "<a>"}),
        "no interval": tail_of(directory, one, interval_sec=0),
        "no prefix": tail_of(directory, one, log_line_prefixes={0: ""}),
        "any truth": tail_of(
            directory, {0: b"a\nb\n"}, log_line_filter=lambda line: "b" in line or ""
        ),
        "a filter that raises": tail_of(directory, {0: b"2\n1\n0\n"}, log_line_filter=positive),
        "a wrong name": tried(lambda: TailLog("t", {}, None, filter=None)),
    }


def positive(line):
    if line == "0\n":
        raise ValueError
    return True


@case
def tail_that_is_stopped_without_or_before_a_start(directory):
    tails = {
        "file": TailLog("t", {0: os.path.join(directory, "missing")}, io.StringIO()),
        "no file": TailLog("t", {}, io.StringIO()),
        "no destination": TailLog("t", {0: os.path.join(directory, "missing")}, None),
    }
    for tail in tails.values():
        tail.stop()
        tail.stop()
    return {
        name: [tail.stopped(), tried(lambda tail=tail: tail.start() is tail)]
        for name, tail in tails.items()
    }


@case
def tail_of_a_last_line_without_an_end(directory):
    return tail_of(directory, {0: b"whole\npart"})


@case
def tail_without_a_destination(directory):
    tail = TailLog("trainer", {0: os.path.join(directory, "missing")}, None)
    return [tail.start() is tail, tail.stop(), tail.stopped()]


@case
def tail_of_a_file_that_never_comes(directory):
    dst = io.StringIO()
    tail = TailLog("trainer", {0: os.path.join(directory, "missing")}, dst).start()
    return [tail.stop(), tail.stopped(), dst.getvalue()]


@case
def tail_of_a_file_that_comes_later(directory):
    path, dst = os.path.join(directory, "logs", "late"), Told(2)
    tail = TailLog("trainer", {0: path}, dst, interval_sec=0.02).start()
    with open(path, "w") as file:
        for line in ("one\n", "two\n"):
            file.write(line)
            file.flush()
    in_time = dst.full.wait(30)
    tail.stop()
    return [in_time, dst.getvalue()]


class Told(io.StringIO):
    """Says when it has so many lines."""

    def __init__(self, lines):
        super().__init__()
        self.lines, self.full = lines, threading.Event()

    def write(self, text):
        written = super().write(text)
        if self.getvalue().count("\n") >= self.lines:
            self.full.set()
        return written


@case
def tail_of_one_file_by_hand(directory):
    path, dst, finished = os.path.join(directory, "logs", "one"), io.StringIO(), threading.Event()
    Path(path).write_text("one\ntwo\n")
    finished.set()
    tail_logfile("> ", path, dst, finished, 0.01, lambda line: True)
    tail_logfile("> ", path + "-missing", dst, finished, 0.01)
    return dst.getvalue()


def recorded(directory, name, function, **options):
    """What a recorded function does, and the error file it leaves."""
    path = os.path.join(directory, "logs", name, "error.json")
    os.makedirs(os.path.dirname(path))
    os.environ["TORCHELASTIC_ERROR_FILE"] = path
    try:
        return tried(record(function, **options))
    finally:
        del os.environ["TORCHELASTIC_ERROR_FILE"]


def fail():
    raise ValueError("recorded \u00e9")


def child_failure(directory, data):
    path = os.path.join(directory, "child.json")
    Path(path).write_text(json.dumps(data))
    return ProcessFailure(local_rank=1, pid=997, exitcode=7, error_file=path)


MESSAGE = {
    "message": "of the child",
    "extraInfo": {"py_callstack": "stack\nlast", "timestamp": "100"},
}


@case
def recorded_endings(directory):
    def child():
        raise ChildFailedError("trainer", {1: child_failure(directory, {"message": MESSAGE})})

    def stop(status):
        return lambda: sys.exit(status)

    def interrupt():
        raise KeyboardInterrupt

    return {
        "value": recorded(directory, "value", lambda: 42),
        "exception": recorded(directory, "exception", fail),
        "exit 0": recorded(directory, "exit 0", stop(0)),
        "exit 3": recorded(directory, "exit 3", stop(3)),
        "exit None": recorded(directory, "exit None", stop(None)),
        "interrupt": recorded(directory, "interrupt", interrupt),
        "child": recorded(directory, "child", child),
    }


@case
def recorded_without_an_error_file(_):
    return [tried(record(fail)), record(lambda: 1)(), record(fail).__name__]


@case
def recorded_by_a_handler_of_ones_own(directory):
    class Own(ErrorHandler):
        def initialize(self):
            calls.append("initialize")

        def record_exception(self, e):
            calls.append(f"record {e}")

    calls = []
    given = recorded(directory, "own", fail, error_handler=Own())
    return [given, calls, type(get_error_handler()).__name__]


@case
def error_files_are_passed_up(directory):
    child, mine = (os.path.join(directory, "logs", name, "error.json") for name in ("a", "b"))
    for path in (child, mine):
        os.makedirs(os.path.dirname(path))
        Path(path).write_text(json.dumps({"message": MESSAGE}))
    os.environ["TORCHELASTIC_ERROR_FILE"] = mine
    try:
        get_error_handler().dump_error_file(child, 7)
    finally:
        del os.environ["TORCHELASTIC_ERROR_FILE"]
    data = [{"message": dict(MESSAGE)}, {"message": "text"}, {"other": 1}]
    for one in data:
        get_error_handler().override_error_code_in_rootcause_data(child, one, 9)
    return data


@case
def failures(directory):
    none = os.path.join(directory, "missing")
    return {
        "message": failure(child_failure(directory, {"message": MESSAGE})),
        "text": failure(child_failure(directory, {"message": "plain", "timestamp": "12"})),
        "no time": failure(child_failure(directory, {"message": "plain"})),
        "stamps": [
            child_failure(directory, {"message": MESSAGE}).timestamp,
            child_failure(directory, {"message": "plain", "timestamp": "12"}).timestamp,
            child_failure(directory, {"message": "plain"}).timestamp,
            len(child_failure(directory, {"message": MESSAGE}).timestamp_isoformat()),
        ],
        "data": child_failure(directory, {"message": MESSAGE, "more": [1]}).error_file_data,
        "killed": failure(ProcessFailure(0, 997, -9, none)),
        "unknown signal": failure(ProcessFailure(0, 997, -63, none)),
        "no path": failure(ProcessFailure(0, 997, -9, "")),
    }


@case
def failures_without_a_message(directory):
    return failure(ProcessFailure(0, 997, 3, os.path.join(directory, "missing")))


@case
def failures_of_children(directory):
    def made(stamp):
        message = {"message": "m", "extraInfo": {"py_callstack": "stack", "timestamp": stamp}}
        return child_failure(directory, {"message": message})

    error = ChildFailedError("trainer", {0: made("200"), 4: made("100"), 5: made("300")})
    rank, first = error.get_first_failure()
    text = str(error)
    return {
        "name": error.name,
        "ranks": list(error.failures),
        "first": [rank, first.timestamp],
        "tells": [word in text for word in ("trainer FAILED", "stack", "exitcode  : 7 (pid: 997)")],
        "is": isinstance(error, Exception),
        "none": tried(ChildFailedError, "trainer", {}),
    }


@case
def a_signal_exception_tells_the_signal(_):
    error = SignalException("got it", sigval=signal.SIGTERM)
    return [str(error), error.sigval, isinstance(error, Exception)]


@case
def a_binary_by_hand(directory):
    out = os.path.join(directory, "logs", "out")
    line = 'echo "said $1 $WHO"; echo "said to stderr" >&2'
    handler = get_subprocess_handler("sh", ("-c", line, "sh", 5), {"WHO": "me"}, out, "", 3)
    status = handler.proc.wait(30)
    sleeper = get_subprocess_handler("sleep", (60,), {}, "", "", 0)
    session = os.getsid(sleeper.proc.pid) == sleeper.proc.pid
    sleeper.close()
    ended = [sleeper.proc.wait(30)]
    stopped = get_subprocess_handler("sleep", (60,), {}, "", "", 0)
    stopped.close(signal.SIGKILL)
    ended.append(stopped.proc.wait(30))
    return [status, handler.local_rank_id, session, ended]


@case
def numa_options(_):
    options = NumaOptions(affinity_mode=AffinityMode.NODE)
    return {
        "modes": {mode.name: mode.value for mode in AffinityMode},
        "from text": AffinityMode("socket") == AffinityMode.SOCKET == "socket",
        "falls back": options.should_fall_back_if_binding_fails,
        "equal": options == NumaOptions(AffinityMode.NODE, False),
        "repr": repr(options),
        "hash": hash(options) == hash(NumaOptions(AffinityMode.NODE)),
        "changed": tried(setattr, options, "affinity_mode", AffinityMode.SOCKET),
    }


if __name__ == "__main__":
    dump.main()
