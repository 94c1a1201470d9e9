"""``procession logs`` as a person runs it, beside a run or after it."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import pwd
import re
import resource
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from procession.testing import wait_for_text

MARK = "PROCESSION_TEST_MARK"  # by which the run's own processes are told from these
LOGS = (sys.executable, "-m", "procession", "logs")
TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} "

# Ranks write in turn, each when the test says so: ``turn`` is a FIFO a rank, and a word is a line.
SPEAKER = """
import os, sys
rank = os.environ["RANK"]
for line in open(f"turn{rank}"):
    word = line.rstrip("\\n")
    if word == "end": break
    if word == "fail": sys.exit(3)
    print(word, flush=True)
"""


class Logs:
    """The command in the directory of a run."""

    def __init__(self, here: Any) -> None:
        self.here = here
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, *words: str, **kw: Any) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [*kw.pop("argv", LOGS), *words],
            cwd=kw.pop("cwd", self.here.directory),
            env={**self.here.environ, MARK: "", **kw.pop("environ", {})},
            stdin=subprocess.DEVNULL,
            stdout=kw.pop("stdout", subprocess.PIPE),
            stderr=kw.pop("stderr", subprocess.PIPE),
            **kw,
        )
        self.started.append(process)
        return process

    def __call__(self, *words: str, code: int = 0, err: str | None = "", **kw: Any) -> bytes:
        process = self.start(*words, **kw)
        out, said = process.communicate(timeout=30)
        assert process.returncode == code, said
        if err is not None:
            assert said.decode() == err
        return out

    def close(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.communicate()


@pytest.fixture
def logs(here: Any) -> Iterator[Logs]:
    made = Logs(here)
    yield made
    made.close()


class Speakers:
    """A run whose ranks write what they are told."""

    def __init__(self, here: Any, count: int, *words: str) -> None:
        self.here = here
        self.count = count
        here.file("speaker.py", SPEAKER)
        for rank in range(count):
            os.mkfifo(here.directory / f"turn{rank}")
        self.process = here.start("-n", str(count), *words, "speaker.py")
        self.take_turns()
        here.wait_for_run()
        # Written last, once all runs: from then on nothing new comes into the run's directory.
        wait_for_text(run_dir(here) / "events.jsonl", "START")

    def take_turns(self) -> None:
        """Wait until every rank listens."""
        paths = [self.here.directory / f"turn{rank}" for rank in range(self.count)]
        self.turns = [path.open("w") for path in paths]

    def say(self, rank: int, word: str) -> None:
        self.turns[rank].write(word + "\n")
        self.turns[rank].flush()

    def say_and_see(self, rank: int, word: str) -> None:
        """Have a rank write a line, and wait until the console shows it."""
        self.say(rank, word)
        assert self.process.stdout.readline() == f"[default{rank}]:{word}\n"

    def end(self) -> None:
        for turn in self.turns:
            turn.close()
        self.here.end(self.process)


def run_dir(here: Any) -> Path:
    return Path(os.path.realpath(here.directory / "procession-runs" / "latest"))


def test_a_finished_run(here: Any, logs: Logs) -> None:
    here.script(
        "import os, sys; r = os.environ['RANK']\n"
        "print('out', r); print('err', r, file=sys.stderr)\n"
        "sys.stdout.write('no end')",
        *("-n", "3", "--role", "actor"),
    )
    text = "".join(f"[actor{r}]:out {r}\n[actor{r}]:no end\n[actor{r}]:err {r}\n" for r in range(3))
    assert logs().decode() == text
    assert logs("latest") == logs(run_dir(here).name) == logs(str(run_dir(here))) == text.encode()
    assert logs("--rank", "0,2", "--stream", "err") == b"[actor0]:err 0\n[actor2]:err 2\n"
    assert logs("--rank", "1-5", "--stream", "stdout", "-n", "1") == b"[actor1]:no end\n" + (
        b"[actor2]:no end\n"
    )
    assert logs("--no-prefix", "--grep", "^ERR", "-i") == b"err 0\nerr 1\nerr 2\n"
    assert logs("--grep", "o", "-n", "1", "--rank", "0") == b"[actor0]:no end\n"
    assert re.fullmatch(
        f"({TIME}" + r"\[actor[012]\]:(out|err) [012]\n|" + TIME + r"\[actor[012]\]:no end\n){9}",
        logs("-t", "--merge").decode(),
    )
    assert logs("--since", "1h", "--rank", "0") == logs("--rank", "0")
    assert logs("--until", "1h", "--rank", "0") == b""
    assert logs("--since", "0s") == b""
    assert logs("-n", "0") == b""


def test_by_time(here: Any, logs: Logs) -> None:
    run = Speakers(here, 2)
    for rank, word in ((1, "a"), (0, "b"), (1, "c"), (0, "d")):
        run.say_and_see(rank, word)
        # The index holds together what comes within 10 ms, so that order is known beyond that.
        subprocess.run(["sleep", "0.03"], check=True)
    run.end()
    text = b"[default1]:a\n[default0]:b\n[default1]:c\n[default0]:d\n"
    assert logs("--merge") == text
    assert logs("--merge", "-n", "3") == text.partition(b"\n")[2]
    assert logs() == b"[default0]:b\n[default0]:d\n[default1]:a\n[default1]:c\n"
    times = re.findall(f"(?m)^({TIME})", logs("--merge", "-t").decode())
    assert times == sorted(times)
    moment = times[2].strip().replace(" ", "T")
    assert logs("--merge", "--since", moment) == b"[default1]:c\n[default0]:d\n"
    assert logs("--merge", "--until", moment) in {text[:26], text[:39]}


def test_bytes_come_through(here: Any, logs: Logs) -> None:
    data = b"10%\r 50%\r100%\nnul \0 here\nbad \xff\xfe utf\n" + b"x" * 300_000 + b"\nend"
    here.script(f"import os; os.write(1, {data!r})", "-r", "3")
    assert logs("--no-prefix") == data + b"\n"
    prefixed = re.sub(rb"(?m)^", b"[default0]:", data) + b"\n"
    assert logs() == prefixed
    assert logs("--merge") == prefixed
    assert logs("-n", "2") == b"[default0]:" + b"x" * 300_000 + b"\n[default0]:end\n"
    assert logs("--grep", "utf$") == b"[default0]:bad \xff\xfe utf\n"
    stamped = logs("-t")
    assert re.sub(TIME.encode(), b"", stamped) == prefixed


def test_following_to_the_end_through_a_restart(here: Any, logs: Logs) -> None:
    run = Speakers(here, 2, "--max-restarts", "1")
    run.say_and_see(0, "one")
    follower = logs.start("-f")
    assert follower.stdout
    assert follower.stdout.readline() == b"[default0]:one\n"
    run.say(1, "two")
    assert follower.stdout.readline() == b"[default1]:two\n"
    run.say(1, "fail")
    for turn in run.turns:
        turn.close()
    assert "attempt 2 of 2: " in run.process.stderr.readline()
    run.take_turns()
    run.say(0, "three")
    assert follower.stdout.readline() == b"[default0]:three\n"
    run.say(1, "four")
    assert follower.stdout.readline() == b"[default1]:four\n"
    run.end()
    assert follower.wait(30) == 0
    assert follower.stdout.read() == b""
    assert follower.stderr
    assert follower.stderr.read() == b""
    both = b"[default0]:one\n[default1]:two\n[default0]:three\n[default1]:four\n"
    assert logs() == both
    assert logs("-f") == both
    assert logs("--attempt", "1") == both[30:]
    assert logs("-n", "9") == both[30:]


def test_following_ends_with_a_launcher_that_is_killed(here: Any, logs: Logs) -> None:
    run = Speakers(here, 1)
    run.say_and_see(0, "one")
    follower = logs.start("-f", "-t")
    assert follower.stdout
    assert re.fullmatch(TIME + r"\[default0\]:one\n", follower.stdout.readline().decode())
    run.process.kill()
    assert follower.wait(30) == 0
    run.process.wait()
    run.turns[0].close()
    assert b" killed " in logs("--list")


@pytest.mark.parametrize(
    "words", [(), ("-f",), ("-f", "--grep", "bar|red"), ("--merge", "-n", "9")]
)
def test_a_terminal_is_shown_what_the_console_showed(
    words: tuple[str, ...], here: Any, logs: Logs
) -> None:
    text = "bar 10%\\rbar 99%\\n\\033[31mred\\033[2J\\nred too\\n"
    here.script(f"import os; os.write(1, b'{text}')")
    master, slave = pty.openpty()
    assert logs(*words, stdout=slave, environ={"TERM": "xterm"}) is None
    os.close(slave)
    shown = b"".join(iter(lambda: rest_of(master), b"")).decode()
    os.close(master)
    head = "\033[36m[default0]:\033[0m"
    assert shown.replace("\r\n", "\n") == (
        f"{head}bar 99%\n{head}\033[31mred\033[0m\n{head}\033[31mred too\033[0m\n"
    )


def test_on_a_narrow_terminal_prefixes_are_short(here: Any, logs: Logs) -> None:
    here.script("print('x')")
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    logs(stdout=slave, environ={"NO_COLOR": "1"})
    os.close(slave)
    shown = b"".join(iter(lambda: rest_of(master), b""))
    os.close(master)
    assert shown == b"[0]:x\r\n"


def rest_of(master: int) -> bytes:
    """A piece of what a terminal has been shown; nothing once all of it was (pty(7): EIO)."""
    try:
        return os.read(master, 65536)
    except OSError:
        return b""


def test_following_ends_where_the_run_is_removed(here: Any, logs: Logs) -> None:
    run = Speakers(here, 1)
    run.say_and_see(0, "one")
    follower = logs.start("-f")
    assert follower.stdout
    assert follower.stdout.readline() == b"[default0]:one\n"
    directory = run_dir(here)
    directory.rename(
        here.directory / "elsewhere"
    )  # at one stroke: the launcher may just make an index
    shutil.rmtree(here.directory / "elsewhere", ignore_errors=True)
    assert follower.wait(30) == 2
    assert follower.stdout.read() == b""
    assert follower.stderr
    assert follower.stderr.read().decode() == (
        f"procession: {directory} has been removed meanwhile; what was shown is all there is.\n"
    )
    run.say_and_see(0, "two")
    run.turns[0].close()
    run.process.wait(30)


AS_ANOTHER = """
import os, pwd, sys
from procession.cli.logs.command import launch
base, run = sys.argv[1:]
launch(["--log-dir", base])  # what is imported later may be closed to the other user
if os.getuid() == 0:
    os.setresuid(65534, 65534, 65534)
else:
    os.chmod(run, 0)
words = [["--log-dir", base], [run], [os.path.basename(run), "--log-dir", base]]
sys.exit(sum(launch(each) for each in words) - 2 * len(words))
"""


def test_a_run_of_somebody_else_is_told_to_be_one() -> None:
    with tempfile.TemporaryDirectory() as base:
        os.chmod(base, 0o755)
        run = Path(base, "job_1")
        (run / "attempt_0" / "0").mkdir(parents=True)
        (run / "attempt_0" / "0" / "stdout.log").write_text("x\n")
        Path(base, "latest").symlink_to("job_1")
        run.chmod(0o700)
        argv = [sys.executable, "-c", AS_ANOTHER, base, str(run)]
        ended = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
        run.chmod(0o700)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "[default0]:x\n"
    name = pwd.getpwuid(os.getuid()).pw_name
    said = set(ended.stderr.splitlines())
    assert said == {
        f"procession: {os.path.realpath(run)} cannot be read: it is that of user {name}. "
        "Become that user, or have it opened to you (chmod go+rX)."
    }


@pytest.mark.parametrize(
    "words", [(), ("-f",), ("--merge", "-t"), ("--grep", "x", "-n", "9999999")]
)
def test_a_reader_that_goes_away_ends_it_quietly(
    words: tuple[str, ...], here: Any, logs: Logs
) -> None:
    here.script("import os\nfor _ in range(40): os.write(1, b'x' * 65535 + b'\\n')")
    process = logs.start(*words)
    assert process.stdout
    assert process.stdout.read(10)
    process.stdout.close()
    assert process.wait(30) == 0
    assert process.stderr
    assert process.stderr.read() == b""


# The end of a run is not waited for by whoever reads what it has written.
HASTY = """
import sys
from procession._logs import tail
from procession.cli.main import command
tail.SINK_PATIENCE = 0.1
sys.argv[1:1] = ["logs"]
command()
"""


def test_a_reader_may_take_his_time(here: Any, logs: Logs) -> None:
    """As in a pager: while attempts follow each other, and after the end of the run."""
    run = Speakers(here, 1, "--max-restarts", "1", "-r", "3")
    here.file("hasty.py", HASTY)
    run.say(0, "first")
    follower = logs.start("-f", argv=(sys.executable, "hasty.py"), bufsize=0)
    assert follower.stdout
    assert follower.stdout.readline() == b"[default0]:first\n"
    lines = [f"{n} {'x' * 1000}" for n in range(2500)]  # more than a pipe takes
    for word in (*lines, "fail"):
        run.say(0, word)
    run.turns[0].close()
    assert "attempt 2 of 2: " in run.process.stderr.readline()
    run.take_turns()
    run.say(0, "last")
    run.end()
    assert follower.stderr
    assert not select.select([follower.stderr], [], [], 0.5)[0]  # it neither ends nor complains
    shown = follower.stdout.read()
    assert shown.decode().splitlines() == [f"[default0]:{line}" for line in (*lines, "last")]
    assert follower.wait(30) == 0
    assert follower.stderr.read() == b""


@pytest.mark.parametrize("words", [(), ("-f",), ("--merge", "-t"), ("--list",)])
def test_a_full_disk_is_told(words: tuple[str, ...], here: Any, logs: Logs) -> None:
    here.script("print('x')")
    with open("/dev/full", "wb") as full:
        process = logs.start(*words, stdout=full)
        assert process.wait(30) == 2
    assert process.stderr
    (said,) = process.stderr.read().decode().splitlines()
    assert "No space left on device" in said


@pytest.mark.parametrize("words", [(), ("-f",), ("--list",)])
def test_a_standard_output_that_is_closed_is_dev_null(
    words: tuple[str, ...], here: Any, logs: Logs
) -> None:
    here.script("print('x')")
    argv = ("sh", "-c", 'exec "$@" >&-', "-", *LOGS)
    assert logs(*words, argv=argv) == b""


def test_ctrl_c_ends_the_following(here: Any, logs: Logs) -> None:
    run = Speakers(here, 1)
    run.say_and_see(0, "one")
    follower = logs.start("-f")
    assert follower.stdout
    assert follower.stdout.readline() == b"[default0]:one\n"
    follower.send_signal(signal.SIGINT)
    assert follower.wait(30) == 130
    assert follower.stderr
    assert follower.stderr.read() == b""
    run.say_and_see(0, "two")  # which is no matter to the run
    run.end()


def test_a_tree_of_torchruns(here: Any, logs: Logs) -> None:
    rank = here.directory / "t" / "none_ab12" / "attempt_0" / "3"
    rank.mkdir(parents=True)
    (rank / "stdout.log").write_bytes(b"one\ntwo\n")
    assert (
        logs("t")
        == logs("t/none_ab12")
        == logs("t/none_ab12/attempt_0")
        == (b"[default3]:one\n[default3]:two\n")
    )
    assert logs("--log-dir", "t", "none") == logs("t")
    untold = (
        "procession: times of none_ab12 are not known, for it has no index: "
        "each file counts as written when it was last written to\n"
    )
    dashes = b"-" * 23
    assert logs("t", "-t", "-n", "1", err=untold) == dashes + b" [default3]:two\n"
    assert logs("t", "--since", "1h", err=untold) == logs("t")
    follower = logs.start("-f", "t")
    assert follower.stdout
    assert follower.stdout.readline() + follower.stdout.readline() == logs("t")
    with (rank / "stdout.log").open("ab") as file:
        file.write(b"three\n")
    assert follower.stdout.readline() == b"[default3]:three\n"
    follower.send_signal(signal.SIGINT)
    assert follower.wait(30) == 130
    assert follower.stderr
    assert b"has no report.json: when it ends cannot be told" in follower.stderr.read()


def test_what_is_not_captured_has_times_too(here: Any, logs: Logs) -> None:
    """Streams that are not teed are looked at all the same."""
    here.script("print('quiet')", "-r", "3")
    assert re.fullmatch(TIME + r"\[default0\]:quiet\n", logs("-t").decode())


def test_few_descriptors_are_enough_for_all_files(here: Any, logs: Logs) -> None:
    """The index takes none of those that the view needs."""

    def allow_few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (80, 80))

    here.file("s.py", "import os; print(os.environ['RANK'])")
    ended = here.run("-n", "20", "s.py", preexec_fn=allow_few)
    assert (ended.code, ended.err) == (0, "")
    assert sorted(ended.out.splitlines()) == sorted(f"[default{r}]:{r}" for r in range(20))
    assert re.fullmatch(f"({TIME}" + r"\[default\d+\]:\d+\n){20}", logs("-t", "--merge").decode())


def test_the_prefix_is_the_consoles(here: Any, logs: Logs) -> None:
    ended = here.script("print('x')", "-n", "2", "--prefix", "${time} <${role_name} ${rank}> ")
    for text in (ended.out, logs().decode(), logs("-f").decode()):
        # Either may have been the first.
        assert sorted(re.sub(r"(?m)^\d\d:\d\d:\d\d\.\d{3}", "T", text).splitlines()) == [
            "T <default 0> x",
            "T <default 1> x",
        ]


def test_what_is_damaged_is_no_obstacle(here: Any, logs: Logs) -> None:
    run = here.directory / "procession-runs" / "job_1"
    rank = run / "attempt_0" / "0"
    rank.mkdir(parents=True)
    (rank / "stdout.log").write_bytes(b"one\ntwo\n")
    report = {"started_ns": 2**64, "workers": -3, "role": [], "prefixes": {"0": None}}
    (run / "report.json").write_text(json.dumps({**report, "state": "ended"}))
    (rank / ".stdout.log.index").write_bytes(b"\x89PRCIX1\n" + b"\xff" * 160)
    assert logs("--list").splitlines()[1].split()[:3] == [b"job_1", b"exit", b"None"]
    for words in ((), ("-f",), ("-f", "--merge", "-n", "2")):
        assert logs(*words) == b"[default0]:one\n[default0]:two\n"
    (rank / "stderr.log").mkdir()
    said = f"procession: {rank}/stderr.log cannot be read: Is a directory.\n"
    logs(code=2, err=said)
    logs("-n", "1", code=2, err=said)


def test_which_run(here: Any, logs: Logs) -> None:
    for number in ("1", "2"):
        here.script(f"print({number})", "--rdzv-id", f"job{number}", "--master-port", "29511")
    names = sorted(os.listdir(here.directory / "procession-runs"))
    one = next(name for name in names if name.startswith("job1_"))
    assert logs("job1") == logs(one[:6]) == b"[default0]:1\n"
    assert logs() == b"[default0]:2\n"
    (here.directory / "procession-runs" / "latest").unlink()
    assert logs() == b"[default0]:2\n"
    table = logs("--list").decode().splitlines()
    assert table[0].split() == ["RUN", "STATE", "STARTED", "RANKS", "ATTEMPTS", "SCRIPT"]
    assert [line.split()[0].rpartition("_")[0] for line in table[1:]] == ["job1", "job2"]
    assert [line.split()[-1] for line in table[1:]] == ["s.py", "s.py"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("jobb1",), "no run jobb1. Did you mean job1 or job1_"),
        (("job",), "job is the beginning of 2 runs: job1_"),
        (("--rank", "x"), "--rank x: give ranks and ranges of them, such as 0,3-5."),
        (("--rank", "4-2"), "--rank 4-2: give ranks"),
        (("--rank", "5"), "--rank: job2_"),
        (("--stream", "log"), "--stream log: give out or err, or leave it out for both."),
        (("--since", "soon"), "--since soon: give how long ago, such as 90s, 5m, 2h or 1d,"),
        (("--grep", "("), "--grep (: no regular expression: "),
        (("--attempt", "4"), "--attempt 4: job2_"),
        (("--folow",), "unknown option --folow? Did you mean --follow?"),
        (("-f", "--until", "1m"), "--follow and --until exclude each other"),
        (("job1", "job2"), "one RUN at a time, so what is job2?"),
        (("--log-dir", "nowhere"), "no run in "),
        (("/tmp",), "/tmp is no run: it has no directory attempt_0."),
        (("-n", "many"), "invalid number of lines value: 'many'"),
    ],
)
def test_what_cannot_be(words: tuple[str, ...], said: str, two_runs: Callable[..., Any]) -> None:
    process = two_runs(*words)
    assert process.returncode == 2
    assert process.stdout == b""
    assert said in process.stderr.decode()
    assert process.stderr.count(b"\n") == 1


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    directory = tmp_path_factory.mktemp("two")
    for number in ("1", "2"):
        rank = directory / "procession-runs" / f"job{number}_{number * 8}" / "attempt_0" / "0"
        rank.mkdir(parents=True)
        (rank / "stdout.log").write_bytes(b"x\n")

    def run(*words: str) -> subprocess.CompletedProcess[bytes]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("PET_", "PROCESSION_"))}
        return subprocess.run(
            [*LOGS, *words], check=False, cwd=directory, env=clean, capture_output=True, timeout=30
        )

    return run
