"""TailLog on real files: what can become of them, and what it costs to follow them."""

from __future__ import annotations

import errno
import io
import logging
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from procession._logs import lookout, tail
from procession._logs.look import Look
from procession._logs.tail import fork_guard
from procession._os.inotify import Inotify
from procession.multiprocessing import tail_log
from procession.multiprocessing.tail_log import TailLog, tail_logfile

TIMEOUT = 30.0


class Screen(io.StringIO):
    """A text stream that can be waited for."""

    def __init__(self) -> None:
        super().__init__(newline="")
        self.changed = threading.Condition()

    def write(self, text: str, /) -> int:
        with self.changed:
            count = super().write(text)
            self.changed.notify_all()
        return count

    def wait_for(self, view: str | Callable[[str], bool]) -> None:
        """Wait until the stream holds exactly this, or something that fits."""
        fits = view if callable(view) else view.__eq__
        with self.changed:
            shown = self.changed.wait_for(lambda: fits(self.getvalue()), TIMEOUT)
        assert shown, f"the view is still {self.getvalue()!r}"


@pytest.fixture
def screen() -> Screen:
    return Screen()


@pytest.fixture(autouse=True)
def _leaves_nothing() -> Iterator[None]:
    before = sorted(os.listdir("/proc/self/fd"))
    yield
    try:
        for thread in tail_threads():  # which a stop waits for a second for
            thread.join(TIMEOUT)
        assert not tail_threads()
        assert sorted(os.listdir("/proc/self/fd")) == before
    finally:  # what a test that has failed has left is no other test's
        for view in tuple(tail._service._views):
            tail.finish(view)
        for thread in tail_threads():
            thread.join(TIMEOUT)


def tail_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "procession-tail"]


def inotify_descriptors() -> int:
    links = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{fd}"))
        except FileNotFoundError:
            continue
    return links.count("anon_inode:inotify")


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


class TestViews:
    def test_prefixes(self, tmp_path: Path, screen: Screen) -> None:
        files = {n: str(tmp_path / f"{n}.log") for n in (0, 1, 10)}
        for n, path in files.items():
            Path(path).write_text(f"line of {n}\n")

        TailLog("trainer", files, screen, log_line_prefixes={1: "<one> "}).start().stop()

        assert screen.getvalue().splitlines() == [
            "[trainer0]:line of 0",
            "<one> line of 1",
            "[trainer10]:line of 10",
        ]

    def test_life(self, tmp_path: Path, screen: Screen) -> None:
        log = TailLog("t", {0: str(tmp_path / "log")}, screen)
        assert not log.stopped()
        assert log.start() is log
        assert log.start() is log
        append(tmp_path / "log", b"once\n")
        screen.wait_for("[t0]:once\n")
        assert not log.stopped()
        log.stop()
        log.stop()
        assert log.stopped()
        assert log.skipped == {}
        with pytest.raises(RuntimeError, match="make a new one"):
            log.start()

    @pytest.mark.parametrize("nothing", ["no files", "no destination"])
    def test_nothing_to_do(self, screen: Screen, nothing: str) -> None:
        files = {} if nothing == "no files" else {0: "/nonexistent/log"}
        log = TailLog("t", files, None if files else screen).start()

        assert not tail_threads()
        log.stop()
        assert log.stopped()
        assert log.start() is log  # as with torch: there is nothing to start

    @pytest.mark.parametrize(
        "number", [None, "one", NotImplementedError(), io.UnsupportedOperation()]
    )
    def test_a_stream_without_a_descriptor_is_written_to(
        self, tmp_path: Path, screen: Screen, number: object
    ) -> None:
        def fileno() -> object:
            if isinstance(number, Exception):
                raise number
            return number

        (tmp_path / "log").write_text("line\n")
        screen.fileno = fileno  # type: ignore[assignment]
        TailLog("t", {0: str(tmp_path / "log")}, screen).start().stop()
        assert screen.getvalue() == "[t0]:line\n"

    def test_a_filter_sees_lines_and_lets_some_through(
        self, tmp_path: Path, screen: Screen
    ) -> None:
        (tmp_path / "log").write_bytes(b"step 1\r\nloss 2\nstep 3\nlast step")
        seen: list[str] = []

        def keep(line: str) -> bool:
            seen.append(line)
            return "step" in line

        TailLog("t", {0: str(tmp_path / "log")}, screen, log_line_filter=keep).start().stop()

        assert seen == ["step 1\r\n", "loss 2\n", "step 3\n", "last step"]
        assert screen.getvalue() == "[t0]:step 1\r\n[t0]:step 3\n[t0]:last step"

    @pytest.mark.parametrize("end", ["\n", "", "\nmore\n"])
    def test_a_filter_that_raises_ends_its_file_alone(
        self, tmp_path: Path, screen: Screen, caplog: pytest.LogCaptureFixture, end: str
    ) -> None:
        bad, good = tmp_path / "bad", tmp_path / "good"
        bad.write_text("2\n1\n0" + end)
        shown = Screen()
        log = TailLog("b", {0: str(bad)}, shown, log_line_filter=lambda line: 1 // int(line) >= 0)
        other = TailLog("g", {0: str(good)}, screen)
        for one in (log, other):
            one.start()

        log.stop()
        append(good, b"goes on\n")
        screen.wait_for("[g0]:goes on\n")
        other.stop()

        assert shown.getvalue() == "[b0]:2\n[b0]:1\n"
        assert [record.getMessage() for record in caplog.records] == [
            f"error in log tailer for {bad}"
        ]
        assert "ZeroDivisionError" in caplog.text

    @pytest.mark.parametrize("which", ["stream", "filter"])
    def test_foreign_code_that_would_leave_ends_its_view_alone(
        self, tmp_path: Path, screen: Screen, caplog: pytest.LogCaptureFixture, which: str
    ) -> None:
        def leave(text: str) -> bool:
            raise SystemExit(text)

        stream = Screen()
        if which == "stream":
            stream.write = leave  # type: ignore[method-assign]
        log = TailLog(
            *("b", {0: str(tmp_path / "bad")}, stream),
            log_line_filter=leave if which == "filter" else bool,
        ).start()
        other = TailLog("g", {0: str(tmp_path / "good")}, screen).start()
        append(tmp_path / "bad", b"line\n")
        log.stop()
        append(tmp_path / "good", b"goes on\n")
        other.stop()

        assert screen.getvalue() == "[g0]:goes on\n"
        (record,) = caplog.records
        assert "the view of the logs ends" in record.getMessage() or record.exc_info

    def test_a_narrow_terminal_is_no_matter_to_a_copy(
        self, tmp_path: Path, screen: Screen, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tail_log, "columns_of", lambda _: 40)
        (tmp_path / "log").write_text("keep\ndrop\n")
        copy = Screen()
        log = TailLog("default", {0: str(tmp_path / "log")}, screen).looking(Look())
        log.also_into(copy, lambda line: "keep" in line).start().stop()
        assert screen.getvalue() == "[0]:keep\n[0]:drop\n"
        assert copy.getvalue() == "[default0]:keep\n"

    def test_a_thread_that_is_slow_is_waited_for_where_a_console_is_given_up(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tail, "SINK_PATIENCE", 0.1)
        monkeypatch.setattr(tail, "_THREAD_PATIENCE", 0.1)
        (tmp_path / "log").write_bytes(b"line\n" * 500_000 + b"last\n")
        os.mkfifo(tmp_path / "console")
        reader = os.open(tmp_path / "console", os.O_RDONLY | os.O_NONBLOCK)
        copy, begun, may_end = Screen(), threading.Event(), threading.Event()

        def keep(line: str) -> bool:
            if line == "last\n":
                begun.set()
                may_end.wait()
            return line == "last\n"

        log = TailLog("t", {0: str(tmp_path / "log")}, str(tmp_path / "console"))
        stopping = threading.Thread(target=log.also_into(copy, keep).start().stop)
        try:
            assert begun.wait(TIMEOUT)
            stopping.start()
            stopping.join(1.0)
            assert stopping.is_alive()
        finally:
            may_end.set()
            os.close(reader)
            if stopping.ident:
                stopping.join(TIMEOUT)
        assert copy.getvalue() == "[t0]:last\n"
        assert log.skipped

    def test_two_views_of_one_file(self, tmp_path: Path, screen: Screen) -> None:
        path = tmp_path / "log"
        path.write_bytes(b"old\n")
        all_of_it = TailLog("all", {0: str(path)}, screen).start()
        screen.wait_for("[all0]:old\n")
        some = Screen()
        filtered = TailLog(
            "some", {0: str(path)}, some, log_line_filter=lambda line: "new" in line
        ).start()

        append(path, b"new\nother\n")
        some.wait_for("[some0]:new\n")
        filtered.stop()
        append(path, b"last\n")
        screen.wait_for(lambda view: view.endswith("[all0]:last\n"))
        all_of_it.stop()

        assert screen.getvalue() == "[all0]:old\n[all0]:new\n[all0]:other\n[all0]:last\n"

    def test_a_path_is_appended_to_byte_for_byte(self, tmp_path: Path) -> None:
        view = tmp_path / "view"
        view.write_bytes(b"header\n")
        (tmp_path / "log").write_bytes(b"\xff\0\r\nlast")

        for _ in range(2):
            TailLog("t", {0: str(tmp_path / "log")}, str(view)).start().stop()

        # The second begins a line of its own behind the first one's unfinished line.
        shown = b"[t0]:\xff\0\r\n[t0]:last"
        assert view.read_bytes() == b"header\n" + shown + b"\n" + shown

    def test_two_views_in_one_file_share_no_line(self, tmp_path: Path) -> None:
        view = tmp_path / "view"
        logs = []
        for name in ("a", "b"):
            (tmp_path / name).write_bytes(b"whole\nunfinished")
            logs.append(TailLog(name, {0: str(tmp_path / name)}, str(view)).start())
        for log in logs:
            log.stop()

        expected = [f"[{name}0]:{line}" for name in "ab" for line in ("unfinished", "whole")]
        assert sorted(view.read_text().split("\n")) == expected

    def test_a_path_that_cannot_be_written(self, tmp_path: Path) -> None:
        log = TailLog("t", {0: str(tmp_path / "log")}, str(tmp_path))

        with pytest.raises(IsADirectoryError):
            log.start()

    def test_tail_logfile_shows_all_without_a_filter(self, tmp_path: Path, screen: Screen) -> None:
        finished = threading.Event()
        args = ("head:", str(tmp_path / "log"), screen, finished, 0.1)
        caller = threading.Thread(target=tail_logfile, args=args)
        caller.start()

        append(tmp_path / "log", b"one\n")
        screen.wait_for("head:one\n")
        assert caller.is_alive()
        append(tmp_path / "log", b"two\nlast")
        finished.set()
        caller.join(TIMEOUT)

        assert not caller.is_alive()
        assert screen.getvalue() == "head:one\nhead:two\nhead:last"


class TestFiles:
    def test_that_come_later(self, tmp_path: Path, screen: Screen) -> None:
        path = tmp_path / "log"
        with TailLogOf(path, screen, prefix=""):
            append(path, b"first\n")
            screen.wait_for("first\n")

    def test_whose_directory_comes_later(self, tmp_path: Path, screen: Screen) -> None:
        path = tmp_path / "to" / "come" / "log"
        with TailLogOf(path, screen, prefix=""):
            path.parent.mkdir(parents=True)
            append(path, b"first\n")
            screen.wait_for("first\n")

    def test_that_never_come(self, tmp_path: Path, screen: Screen) -> None:
        with TailLogOf(tmp_path / "log", screen):
            pass
        assert screen.getvalue() == ""

    def test_that_come_right_before_the_stop(self, tmp_path: Path, screen: Screen) -> None:
        with TailLogOf(tmp_path / "log", screen, prefix=""):
            append(tmp_path / "log", b"just in time")
        assert screen.getvalue() == "just in time"

    def test_truncated(self, tmp_path: Path, screen: Screen) -> None:
        path = tmp_path / "log"
        with TailLogOf(path, screen):
            append(path, b"before\n")
            screen.wait_for("P before\n")
            os.truncate(path, 0)
            append(path, b"new\n")
            screen.wait_for("P before\nP new\n")

    def test_replaced(self, tmp_path: Path, screen: Screen) -> None:
        path, other = tmp_path / "log", tmp_path / "other"
        other.write_bytes(b"new file\n")
        path.write_bytes(b"old\n")
        with TailLogOf(path, screen), path.open("ab") as writer:
            screen.wait_for("P old\n")
            with fork_guard():  # who looks in between is done with the old file
                other.rename(path)
                writer.write(b"last of old")
                writer.flush()
            screen.wait_for("P old\nP last of old\nP new file\n")
            append(path, b"more\n")
            screen.wait_for(lambda view: view.endswith("P new file\nP more\n"))

    def test_replaced_right_before_the_stop(self, tmp_path: Path, screen: Screen) -> None:
        path, other = tmp_path / "log", tmp_path / "other"
        other.write_bytes(b"new file")
        path.write_bytes(b"old\n")
        with TailLogOf(path, screen):
            screen.wait_for("P old\n")
            append(path, b"last of old\n")
            other.rename(path)
        assert screen.getvalue() == "P old\nP last of old\nP new file"

    def test_deleted(self, tmp_path: Path, screen: Screen) -> None:
        path = tmp_path / "log"
        path.write_bytes(b"old\n")
        with TailLogOf(path, screen), path.open("ab") as writer:
            screen.wait_for("P old\n")
            path.unlink()
            writer.write(b"written after\n")
            writer.flush()
            screen.wait_for("P old\nP written after\n")
            append(path, b"under the same name\n")
            screen.wait_for("P old\nP written after\nP under the same name\n")

    @pytest.mark.parametrize("kind", ["directory", "fifo", "loop", "device"])
    def test_that_cannot_be_read(
        self, tmp_path: Path, screen: Screen, caplog: pytest.LogCaptureFixture, kind: str
    ) -> None:
        path, other = tmp_path / "log", tmp_path / "other"
        if kind == "directory":
            path.mkdir()
        elif kind == "fifo":
            os.mkfifo(path)
        else:
            path.symlink_to(path if kind == "loop" else "/dev/null")
        files = {0: str(path), 1: str(other)}
        log = TailLog("t", files, screen, {0: "P ", 1: "Q "}).start()
        append(other, b"goes on\n")
        screen.wait_for("Q goes on\n")

        path.rmdir() if kind == "directory" else path.unlink()
        append(path, b"a file at last\n")
        screen.wait_for("Q goes on\nP a file at last\n")
        log.stop()

        (record,) = caplog.records
        assert record.getMessage().startswith(f"{path} cannot be shown: ")
        assert record.levelno == logging.WARNING

    def test_that_grow_for_ever(self, tmp_path: Path, screen: Screen) -> None:
        path = tmp_path / "log"
        code = f"f = open({str(path)!r}, 'ab', 0)\nwhile True: f.write(b'line\\n')"
        writer = subprocess.Popen([sys.executable, "-S", "-c", code])
        try:
            log = TailLog("t", {0: str(path)}, screen, {0: ""}).start()
            screen.wait_for(lambda view: len(view) > 100_000)
            size = path.stat().st_size
            log.stop()
            assert len(screen.getvalue()) >= size
            assert writer.poll() is None
        finally:
            writer.kill()
            writer.wait()
        data = path.read_text()
        assert data.startswith(screen.getvalue().removesuffix("\n"))

    def test_of_a_writer_that_is_killed(self, tmp_path: Path, screen: Screen) -> None:
        path = tmp_path / "log"
        code = (
            f"import os, signal\nf = open({str(path)!r}, 'ab', 0)\n"
            "for n in range(2000): f.write(b'%d\\n' % n)\n"
            "f.write(b'half a li'); os.kill(os.getpid(), signal.SIGKILL)"
        )
        log = TailLog("t", {0: str(path)}, screen, {0: "P "}).start()
        status = subprocess.run([sys.executable, "-S", "-c", code], check=False)
        log.stop()

        assert status.returncode == -signal.SIGKILL
        expected = [f"P {n}\n" for n in range(2000)] + ["P half a li"]
        assert screen.getvalue() == "".join(expected)

    def test_of_one_long_line(self, tmp_path: Path) -> None:
        path, view = tmp_path / "log", tmp_path / "view"
        line = b"0123456789abcdef" * (16 * 65536)  # 16 MiB
        log = TailLog("t", {0: str(path)}, str(view), {0: "P "}).start()
        append(path, line)
        append(path, line + b"\nnext")
        log.stop()

        assert view.read_bytes() == b"P " + line + line + b"\nP next"


class TailLogOf:
    """One file on a screen, for a with statement."""

    def __init__(self, path: Path, screen: Screen, prefix: str = "P ") -> None:
        self.log = TailLog("t", {0: str(path)}, screen, {0: prefix})

    def __enter__(self) -> TailLog:
        return self.log.start()

    def __exit__(self, *_: object) -> None:
        self.log.stop()


@pytest.mark.full_platform
class TestCost:
    def test_one_thread_and_one_inotify_for_all(self, tmp_path: Path) -> None:
        screens = [Screen() for _ in range(4)]
        logs = []
        for n, screen in enumerate(screens):
            files = {rank: str(tmp_path / f"{n}-{rank}") for rank in range(50)}
            for path in files.values():
                Path(path).touch()
            logs.append(TailLog("t", files, screen, dict.fromkeys(files, "")).start())
        for n, screen in enumerate(screens):
            append(tmp_path / f"{n}-{49}", b"here\n")
            screen.wait_for("here\n")

        assert len(tail_threads()) == 1
        assert inotify_descriptors() == 1
        for log in logs:
            log.stop()

    def test_a_line_is_shown_at_once(self, tmp_path: Path, screen: Screen) -> None:
        path = tmp_path / "log"
        path.touch()
        delays = []
        with TailLogOf(path, screen, prefix=""):
            for n in range(100):
                end = f"line {n}\n"
                began = time.monotonic()
                append(path, end.encode())
                screen.wait_for(lambda view, end=end: view.endswith(end))  # type: ignore[misc]
                delays.append(time.monotonic() - began)

        # Half a millisecond on an idle machine; who looks every 100 ms needs 50.
        assert statistics.median(delays) < 0.04

    def test_nothing_happens_while_nothing_happens(self, tmp_path: Path) -> None:
        files = {rank: str(tmp_path / f"{rank}") for rank in range(128)}
        for path in files.values():
            Path(path).touch()
        screen = Screen()
        log = TailLog("t", files, screen, dict.fromkeys(files, "")).start()
        append(Path(files[127]), b"ready\n")
        screen.wait_for("ready\n")
        (thread,) = tail_threads()
        before = 0
        while before != (before := waits_of(thread)):
            time.sleep(0.1)  # the turn in which the line was shown comes to its end
        began = time.monotonic()
        time.sleep(1.2)  # a while in which nothing happens is what is looked at
        waits, took = waits_of(thread) - before, time.monotonic() - began
        assert waits <= 2 + 2 * took / lookout.NET_PERIOD
        log.stop()

    def test_a_busy_file_is_let_off_its_watch_until_it_pauses(
        self, tmp_path: Path, screen: Screen, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls: list[str] = []
        for name in ("watch", "unwatch"):
            monkeypatch.setattr(Inotify, name, noted(name, calls))
        path = tmp_path / "log"
        path.touch()
        with TailLogOf(path, screen, prefix=""), path.open("ab", buffering=0) as writer:
            deadline = time.monotonic() + TIMEOUT
            while len(calls) < 2 and time.monotonic() < deadline:
                writer.write(b"busy\n")
            while len(calls) < 3 and time.monotonic() < deadline:
                time.sleep(0.01)  # the pause; one of the machine may have come before
            assert calls[:3] == ["watch", "unwatch", "watch"]
            writer.write(b"calm\n")
            screen.wait_for(lambda view: view.endswith("calm\n"))


def noted(name: str, calls: list[str]) -> Callable[..., Any]:
    """A method of Inotify that notes its calls."""
    method = getattr(Inotify, name)

    def call(self: Inotify, *args: Any) -> Any:
        result = method(self, *args)
        calls.append(name)
        return result

    return call


@pytest.mark.full_platform
def test_who_wants_the_tail_to_rest_gets_a_turn_under_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "_THREAD_PATIENCE", TIMEOUT)  # else it is given up after a second
    path, shown, begun = tmp_path / "log", [0], threading.Event()
    path.write_bytes((b"x" * 1023 + b"\n") * 50_000)
    load = [20_000]  # at each line, so that all of them take a quarter of a minute

    class Sized:
        def write(self, text: str) -> None:
            shown[0] += len(text)
            begun.set()

    dst: Any = Sized()
    log = TailLog(
        "t", {0: str(path)}, dst, {0: ""}, log_line_filter=lambda _: sum(range(load[0])) >= 0
    ).start()
    meanwhile = []
    try:
        assert begun.wait(TIMEOUT)
        for _ in range(5):
            before = shown[0]
            with fork_guard():
                meanwhile.append(shown[0] - before)
    finally:
        load[0] = 0
        log.stop()
    assert shown[0] == 51_200_000
    # A batch of 256 KiB or two; who comes by chance only waits for a hundred of them.
    assert max(meanwhile) < 5_000_000


def waits_of(thread: threading.Thread) -> int:
    status = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
    return int(status.split("voluntary_ctxt_switches:")[1].split()[0])


class NoWatches(Inotify):
    """An inotify with no watch left."""

    def watch(self, path: str, mask: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def no_inotify() -> Any:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


@pytest.mark.full_platform
class TestWithout:
    @pytest.mark.parametrize("factory", [no_inotify, NoWatches])
    def test_inotify_files_are_looked_at_every_interval(
        self, tmp_path: Path, screen: Screen, monkeypatch: pytest.MonkeyPatch, factory: Any
    ) -> None:
        monkeypatch.setattr(lookout, "Inotify", factory)
        path = tmp_path / "log"
        log = TailLog("t", {0: str(path)}, screen, {0: ""}, interval_sec=0.01).start()
        began = time.monotonic()
        for n in range(20):
            append(path, b"%d\n" % n)
            screen.wait_for("".join(f"{m}\n" for m in range(n + 1)))
        took = time.monotonic() - began
        log.stop()

        assert took < lookout.NET_PERIOD * 15  # of 20 times

    def test_events_the_net_catches_all(
        self, tmp_path: Path, screen: Screen, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Inotify, "read", lambda self: os.read(self.fileno(), 65536) and set())
        with TailLogOf(tmp_path / "log", screen, prefix=""):
            append(tmp_path / "log", b"seen\n")
            screen.wait_for("seen\n")
            append(tmp_path / "log", b"seen too\n")
            screen.wait_for("seen\nseen too\n")

    def test_a_queue_all_files_are_looked_at(
        self, tmp_path: Path, screen: Screen, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def overflow(self: Inotify) -> set[int]:
            os.read(self.fileno(), 65536)
            return {-1}

        monkeypatch.setattr(lookout, "NET_PERIOD", 3600.0)
        monkeypatch.setattr(Inotify, "read", overflow)
        (tmp_path / "log").touch()
        with TailLogOf(tmp_path / "log", screen, prefix=""):
            append(tmp_path / "log", b"seen\n")
            screen.wait_for("seen\n")

    def test_descriptors_the_start_fails_and_leaves_nothing(
        self, tmp_path: Path, screen: Screen, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def no_pipe() -> tuple[int, int]:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        monkeypatch.setattr(os, "pipe", no_pipe)
        log = TailLog("t", {0: str(tmp_path / "log")}, screen)

        with pytest.raises(OSError, match="Too many open files"):
            log.start()
        log.stop()
