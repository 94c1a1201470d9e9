"""Disks that get full, and logs that are kept below a limit, on file systems of the test's own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

LOGS = (sys.executable, "-m", "procession", "logs")


def mounted(kind: str, options: str, point: Path) -> Iterator[Path]:
    """A file system, for as long as a test lasts; only root may mount one."""
    if os.geteuid():
        pytest.skip("only root may mount a file system")
    point.mkdir()
    subprocess.run(["mount", "-t", kind, "-o", options, kind, point], check=True)
    yield point
    subprocess.run(["umount", "--lazy", point], check=True)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    yield from mounted("tmpfs", "size=2m", tmp_path / "small")


@pytest.fixture
def holeless(tmp_path: Path) -> Iterator[Path]:
    """A file system that cannot punch holes."""
    yield from mounted("ramfs", "mode=755", tmp_path / "holeless")


FILLS = """
import errno, os, sys, time
rank, pause = os.environ["RANK"], float(sys.argv[1])
def tell(fifo, text):
    with open(fifo, "w") as file:
        file.write(text)
def hear(fifo):
    with open(fifo) as file:
        return file.read()
if rank == "0":
    try:
        while True:
            os.write(1, b"x" * 16383 + b"\\n")
            time.sleep(pause)
    except OSError as error:
        tell("full", errno.errorcode[error.errno])
        hear("alive")
        sys.exit(28)
else:
    word = hear("full")  # rank 0 has met the end of the disk
    with open("seen", "w") as file:
        file.write(word)
    tell("alive", "yes")
    time.sleep(60)
"""


@pytest.mark.parametrize("pause", ["0", "0.02"])
def test_a_full_disk_is_the_writers_error_and_the_report_is_written(
    pause: str, here: Any, small: Path
) -> None:
    for fifo in ("full", "alive"):
        os.mkfifo(here.directory / fifo)
    here.file("s.py", FILLS)
    ended = here.run("-n", "2", "--log-dir", str(small), "s.py", pause)
    assert (here.directory / "seen").read_text() == "ENOSPC"
    assert ended.code == 28
    said = [line for line in ended.err.splitlines() if line.startswith("procession: ")]
    assert f"the disk under {small}" in said[-1]
    assert "is full: what workers write there fails (ENOSPC)" in said[-1]
    if pause != "0":  # in time, where there was any
        assert re.search(rf"\d+ (B|KiB|MiB) left for logs in {small}", said[0])
    assert len(said) == len(set(said)) <= 3
    report = json.loads((small / "latest" / "report.json").read_text())
    assert (report["state"], report["exit_code"]) == ("ended", 28)
    assert report["root_cause"]["rank"] == 0
    assert sorted(os.listdir(small / "latest")) == ["attempt_0", "events.jsonl", "report.json"]
    out = (small / "latest" / "attempt_0" / "0" / "stdout.log").read_bytes()
    shown = [line for line in ended.out.splitlines() if line.startswith("[default0]:x")]
    assert len(shown) == -(-len(out) // 16384)


def test_there_is_no_warning_where_there_is_room(here: Any) -> None:
    ended = here.script("for _ in range(1000): print('x' * 1000)", "-r", "3")
    assert ended.err == ""


WRITES = """
import os, sys
lines = b"".join(b"%07d %s\\n" % (n, b"x" * 91) for n in range(1000))
for _ in range(int(sys.argv[1])):
    os.write(1, lines)
os.write(2, b"z" * 3000 + b"\\nthe end\\n")
sys.exit(3)
"""
# The end of a run has a rule of its own: a console that takes nothing is waited for 5 s.
WRITES_AND_WAITS = WRITES.replace("sys.exit", "open('end').read()\nsys.exit")


def blocks(path: Path) -> int:
    return os.stat(path).st_blocks * 512


def test_a_limited_log_stays_small_and_its_offsets_stay(here: Any) -> None:
    ended = here.script(WRITES, "-r", "3", "--log-limit", "1M", "s.py", "2000")
    assert ended.code == 3
    log = ended.logs(0) / "stdout.log"
    assert log.stat().st_size == 2000 * 100_000  # 200 MB
    assert blocks(log) <= 2**20 + 4096
    text = log.read_bytes()
    whole = b"".join(b"%07d %s\n" % (n, b"x" * 91) for n in range(1000)) * 6
    assert whole.endswith(text[-(2**19) :])
    assert "the end" in ended.err  # the report's last lines are no zeros
    assert "\0" not in ended.err

    out = subprocess.run([*LOGS], cwd=here.directory, capture_output=True, check=True).stdout
    assert b"\0" not in out
    first, *lines = out.splitlines()
    match = re.fullmatch(
        rb"\[default0\]:\[(\d+) bytes are missing here: --log-limit has released them\]", first
    )
    assert match
    assert all(re.fullmatch(rb"\[default0\]:\d{7} x{91}", line) for line in lines[:-2])
    kept = len(b"".join(lines[:-2])) - (len(lines) - 2) * (len(b"[default0]:") - 1)
    assert int(match[1]) + kept == log.stat().st_size
    assert kept >= 2**19
    last = [*LOGS, "-n", "2", "--stream", "out"]
    out = subprocess.run(last, cwd=here.directory, capture_output=True, check=True).stdout
    assert out == b"".join(b"[default0]:%07d %s\n" % (n, b"x" * 91) for n in (998, 999))


def test_a_console_that_lags_is_told_what_it_has_missed(here: Any) -> None:
    os.mkfifo(here.directory / "end")
    process = here.start("--log-limit", "64K", here.file("s.py", WRITES_AND_WAITS).name, "300")
    line = process.stdout.readline()  # and then nothing for a while: the pipe fills, the tee waits
    here.wait_for_run()
    log = here.directory / "procession-runs" / "latest" / "attempt_0" / "0" / "stdout.log"
    while log.stat().st_size < 300 * 100_000 or blocks(log) > 2**17:
        subprocess.run(["sleep", "0.05"], check=True)
    with (here.directory / "end").open("w"):
        pass
    out = line + process.stdout.read()
    assert here.end(process).code == 3
    shown = out.splitlines()
    notices = [re.search(r"\[(\d+) bytes are missing here", text) for text in shown]
    missing = sum(int(match[1]) for match in notices if match)
    assert missing > 20_000_000
    seen = [text for text, match in zip(shown, notices, strict=True) if not match]
    torn = [text for text in seen if not re.fullmatch(r"\[default0\]:\d{7} x{91}", text)]
    assert len(torn) <= len(shown) - len(seen)  # the line in which a hole began
    bytes_seen = sum(len(text) + 1 - len("[default0]:") for text in seen) - len(torn)
    assert missing + bytes_seen == 300 * 100_000
    assert "\0" not in out


def test_another_process_that_follows_a_limited_log_sees_no_zeros(here: Any) -> None:
    """Its console is slow, the launcher releases meanwhile: it counts what it came too late for."""
    for fifo in ("go", "end"):
        os.mkfifo(here.directory / fifo)
    script = "print('first', flush=True); open('go').read()\n" + WRITES_AND_WAITS
    process = here.start("-r", "3", "--log-limit", "64K", here.file("s.py", script).name, "500")
    here.wait_for_run()
    follower = subprocess.Popen(
        [*LOGS, "-f", "--stream", "out", "--no-prefix"],
        cwd=here.directory,
        stdout=subprocess.PIPE,
        bufsize=0,
    )
    assert follower.stdout
    assert follower.stdout.readline() == b"first\n"
    with (here.directory / "go").open("w"):
        pass
    log = here.directory / "procession-runs" / "latest" / "attempt_0" / "0" / "stdout.log"
    while log.stat().st_size < 500 * 100_000 or blocks(log) > 2**17:
        subprocess.run(["sleep", "0.05"], check=True)
    with (here.directory / "end").open("w"):
        pass
    out = follower.stdout.read()
    assert follower.wait(30) == 0
    follower.stdout.close()
    assert here.end(process).code == 3
    assert b"\0" not in out
    lines = out.splitlines(keepends=True)
    notices = [re.fullmatch(rb"\[(\d+) bytes are missing here: .*\]\n", line) for line in lines]
    missing = sum(int(match[1]) for match in notices if match)
    seen = [line for line, match in zip(lines, notices, strict=True) if not match]
    torn = [line for line in seen if not re.fullmatch(rb"\d{7} x{91}\n", line)]
    assert len(torn) <= len(lines) - len(seen)
    assert missing + sum(map(len, seen)) - len(torn) == 500 * 100_000


# It waits for a launcher that is not let run for a moment, in which hundreds of megabytes are written.
WRITES_BELOW = """
import os, sys, time
lines = (b"x" * 99 + b"\\n") * 10_000
for _ in range(600):
    os.write(1, lines)
    while os.fstat(1).st_blocks * 512 > int(sys.argv[1]): time.sleep(0.001)
"""


def test_while_it_is_written_at_full_speed(here: Any) -> None:
    """Disk use comes down again however much is written, while the worker lives."""
    here.file("s.py", WRITES_BELOW)
    ended = here.run("-r", "3", "--log-limit", "4M", "s.py", str(2**26))
    assert (ended.code, ended.err) == (0, "")
    log = ended.logs(0) / "stdout.log"
    assert log.stat().st_size == 600_000_000
    assert blocks(log) <= 2**22 + 4096


def test_where_holes_cannot_be_there_is_a_refusal(here: Any, holeless: Path) -> None:
    ended = here.script("print(1)", "--log-limit", "1M", "--log-dir", str(holeless / "a"))
    assert ended.code == 2
    assert ended.out == ""
    assert f"--log-limit: the file system of {holeless}/a cannot release" in ended.err
    assert os.listdir(holeless) == []


REPLACES = """
import os
log = os.readlink("/proc/self/fd/1")
lines = (b"x" * 99 + b"\\n") * 10_000
os.write(1, b"begun\\n")
open("go").read()
with open("other", "wb") as other:
    other.write(b"precious\\n" * 100_000)
os.replace("other", log)
for _ in range(5): os.write(1, lines)
os.write(1, b"the end\\n")
"""


def test_what_somebody_has_put_in_the_place_of_a_log_is_left_as_it_is(here: Any) -> None:
    """As `sed -i` does: the worker goes on with its own file, and so does the console."""
    os.mkfifo(here.directory / "go")
    process = here.start("--log-limit", "64K", here.file("s.py", REPLACES).name)
    assert process.stdout.readline() == "[default0]:begun\n"
    with (here.directory / "go").open("w"):
        pass
    ended = here.end(process)
    assert (ended.code, ended.err) == (0, "")
    assert (ended.logs(0) / "stdout.log").read_bytes() == b"precious\n" * 100_000
    assert "precious" not in ended.out
    assert ended.out.endswith("[default0]:the end\n")


@pytest.mark.parametrize("size", ["1", "63K", "lots", "-5", "1.5G"])
def test_sizes_that_cannot_be(size: str, here: Any) -> None:
    ended = here.script("print(1)", f"--log-limit={size}")
    assert ended.code == 2
    assert f"--log-limit {size}: give" in ended.err


def test_nothing_half_made_is_left_on_a_disk_that_is_full(here: Any, small: Path) -> None:
    program = here.file("garbage", "garbage", 0o755)
    with pytest.raises(OSError, match="No space left"):
        (small / "full").write_bytes(bytes(4 << 20))
    ended = here.run("--no-python", str(program), cwd=small)
    assert ended.code == 126
    assert os.listdir(small) == ["full"]
