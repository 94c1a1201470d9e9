"""Random histories of log files against a model: the view is what was written, line by line."""

from __future__ import annotations

import io
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procession._logs import lookout, pace
from procession._logs.pump import Pump
from procession._logs.view import View
from procession._os.inotify import Inotify

PIECE = st.sampled_from(
    [b"a", b"bc\n", b"\n", b"\r 50%", b"\0", b"\xff\xfe", b"\xe2\x82", b"\xac", b"d" * 70_000]
)
WRITE = st.lists(PIECE, min_size=1, max_size=6).map(b"".join)
STEP = st.one_of(
    st.tuples(st.just("write"), WRITE),
    st.tuples(st.just("turn"), st.just(b"")),
    st.tuples(st.just("truncate"), st.just(b"")),
    st.tuples(st.just("replace"), WRITE),
    st.tuples(st.just("delete"), st.just(b"")),
)
HISTORY = st.lists(st.tuples(st.integers(0, 1), STEP), max_size=25)


class Log:
    """A file, and all that was ever to be read of it, in the parts that end when it starts over."""

    def __init__(self, folder: Path, n: int) -> None:
        self.path = folder / f"{n}.log"
        self.parts = [b""]
        self.content: bytes | None = None

    def write(self, data: bytes) -> None:
        if self.content is None:  # there is no file of that name (any more)
            self.parts.append(b"")
            self.content = b""
        with self.path.open("ab") as file:
            file.write(data)
        self.parts[-1] += data
        self.content += data

    def truncate(self) -> None:
        if self.content:
            os.truncate(self.path, 0)
            self.parts.append(b"")
            self.content = b""

    def replace(self, data: bytes) -> None:
        other = self.path.with_suffix(".new")
        other.write_bytes(data)
        other.replace(self.path)
        self.parts.append(data)
        self.content = data

    def delete(self) -> None:
        if self.content is not None:
            self.path.unlink()
            self.content = None

    def lines(self) -> list[bytes]:
        """The lines of every part, ends left out; what starts over begins a new line."""
        lines: list[bytes] = []
        for part in self.parts:
            *whole, last = part.split(b"\n")
            lines += whole + [last] * bool(last)
        return lines


@contextmanager
def driven(view: View) -> Iterator[Pump]:
    """A pump that turns when the test says so, on the test's thread."""
    pump = Pump()
    with pump.wakeups.at_work:
        pump.admit(view)
        try:
            yield pump
        finally:
            pump.shut()


def settle(pump: Pump) -> None:
    """Turn until everything that is there has been read."""
    for _ in range(12):
        pump.wakeups.order(lambda: None)
        pump.turn()


def lines_of(view: bytes, n: int) -> list[bytes]:
    return [line[3:] for line in view.split(b"\n") if line.startswith(b"<%d>" % n)]


def play(pump: Pump, logs: list[Log], history: list[tuple[int, tuple[str, bytes]]]) -> None:
    for n, (what, data) in history:
        if what == "write":
            logs[n].write(data)
        elif what == "turn":
            pump.wakeups.order(lambda: None)
            pump.turn()
        else:
            # A tail can know of what happened to a file only if it has seen it before and after.
            settle(pump)
            logs[n].replace(data) if what == "replace" else getattr(logs[n], what)()
            settle(pump)


def finish(pump: Pump, view: View) -> None:
    pump.wakeups.order(lambda: pump.drain(view))
    while not view.drained.is_set():
        pump.turn()


@pytest.fixture(autouse=True, scope="module")
def _the_net_is_cast_in_every_turn() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lookout, "NET_PERIOD", 0.0)
        yield


@settings(max_examples=60, deadline=None)
@given(HISTORY)
def test_the_view_is_what_was_written(history: list[tuple[int, tuple[str, bytes]]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        logs = [Log(folder, n) for n in range(2)]
        files = [(str(log.path), f"<{n}>") for n, log in enumerate(logs)]
        view = View(files, str(folder / "view"), interval=0.1)
        with driven(view) as pump:
            play(pump, logs, history)
            finish(pump, view)
        shown = (folder / "view").read_bytes()

        for n, log in enumerate(logs):
            assert lines_of(shown, n) == log.lines()
            assert log.content is None or log.path.read_bytes() == log.content
        for line in shown.removesuffix(b"\n").split(b"\n") if shown else []:
            assert re.match(rb"<[01]>[^<>]*\Z", line)


@settings(max_examples=25, deadline=None)
@given(HISTORY)
def test_a_text_stream_shows_the_same(history: list[tuple[int, tuple[str, bytes]]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        log = Log(Path(name), 0)
        screen = io.StringIO(newline="")
        view = View([(str(log.path), "<0>")], screen, interval=0.1, keep=lambda _: True)
        with driven(view) as pump:
            play(pump, [log, log], history)
            finish(pump, view)

        expected = [line.decode(errors="replace") for line in log.lines()]
        assert [line[3:] for line in screen.getvalue().split("\n") if line] == expected


class TestCloseCalls:
    """What happens between two steps of the tail, one case each."""

    @pytest.fixture
    def log(self, tmp_path: Path) -> Log:
        return Log(tmp_path, 0)

    @pytest.fixture(autouse=True)
    def _no_net(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lookout, "NET_PERIOD", 3600.0)

    def view_of(self, log: Log) -> tuple[View, io.StringIO]:
        screen = io.StringIO()
        return View([(str(log.path), "")], screen, interval=3600.0), screen

    def test_written_to_and_replaced_right_before_the_end(self, log: Log) -> None:
        view, screen = self.view_of(log)
        log.write(b"seen\n")
        with driven(view) as pump:
            settle(pump)
            log.write(b"last of old\n")
            log.replace(b"new")
            finish(pump, view)
        assert screen.getvalue() == "seen\nlast of old\nnew"

    def test_replaced_by_a_file_that_cannot_be_read_right_before_the_end(self, log: Log) -> None:
        view, screen = self.view_of(log)
        log.write(b"seen\n")
        with driven(view) as pump:
            settle(pump)
            log.path.unlink()
            log.path.mkdir()
            finish(pump, view)
        assert screen.getvalue() == "seen\n"

    def test_truncated_right_before_the_end(self, log: Log) -> None:
        view, screen = self.view_of(log)
        log.write(b"seen\nhalf")
        with driven(view) as pump:
            settle(pump)
            log.truncate()
            log.write(b"new\n")
            finish(pump, view)
        assert screen.getvalue() == "seen\nhalf\nnew\n"

    def test_what_comes_under_the_name_of_a_file_that_its_writer_holds_is_not_shown(
        self, log: Log, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(lookout, "NET_PERIOD", 0.0)
        screen = io.StringIO()
        view = View([(str(log.path), "")], screen, interval=3600.0, stays=True)
        log.write(b"one\n")
        with driven(view) as pump, log.path.open("ab", buffering=0) as held:
            settle(pump)
            log.replace(b"foreign\n")
            settle(pump)
            held.write(b"two\n")
            settle(pump)
            log.path.unlink()
            held.write(b"three\n")
            finish(pump, view)
        assert screen.getvalue() == "one\ntwo\nthree\n"

    def test_created_unnoticed_before_the_end(
        self, log: Log, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Inotify, "read", lambda self: set())
        view, screen = self.view_of(log)
        with driven(view) as pump:
            log.write(b"there\n")
            finish(pump, view)
        assert screen.getvalue() == "there\n"

    @pytest.mark.full_platform
    def test_created_while_the_directory_gets_its_watch(
        self, log: Log, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first_comes(monkeypatch, lambda: log.replace(b"there\n"))
        view, screen = self.view_of(log)
        with driven(view) as pump:
            settle(pump)
            assert screen.getvalue() == "there\n"

    @pytest.mark.full_platform
    def test_written_to_while_it_gets_its_watch(
        self, log: Log, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log.write(b"first\n")
        first_comes(monkeypatch, lambda: log.write(b"more\n"))
        view, screen = self.view_of(log)
        with driven(view) as pump:
            settle(pump)
            assert screen.getvalue() == "first\nmore\n"

    @pytest.mark.full_platform
    def test_written_to_while_it_gets_its_watch_back(
        self, log: Log, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log.write(b"first\n")
        view, screen = self.view_of(log)
        with driven(view) as pump:
            settle(pump)
            pump.lookout.relieve(view.files, now=0.0)
            first_comes(monkeypatch, lambda: log.write(b"more\n"))
            now = 0.0
            while "more" not in log.parts[-1].decode():
                pump.lookout.look(now := now + 1.0)
            settle(pump)
            assert screen.getvalue() == "first\nmore\n"

    def test_much_at_once_goes_out_in_bounded_pieces(self, tmp_path: Path) -> None:
        logs = [Log(tmp_path, n) for n in range(40)]
        for log in logs:
            log.write(b"x" * 99 + b"\n" + (b"y" * 99 + b"\n") * 2000)
        pieces: list[int] = []

        class Pieces(io.StringIO):
            def write(self, text: str, /) -> int:
                pieces.append(len(text))
                return len(text)

        view = View([(str(log.path), "") for log in logs], Pieces(), interval=0.1)
        with driven(view) as pump:
            finish(pump, view)
        assert sum(pieces) == sum(len(log.parts[-1]) for log in logs)
        assert max(pieces) < 400_000

    def test_a_blocked_place_is_not_read_for(self, log: Log, tmp_path: Path) -> None:
        fifo = tmp_path / "fifo"
        os.mkfifo(fifo)
        log.write(b"line\n" * 1_000_000)
        view = View([(str(log.path), "")], str(fifo), interval=0.1)
        with driven(view) as pump:
            while not view.sinks[0].blocked:
                settle(pump)
            gathered = view.sinks[0].size
            settle(pump)  # as other views' news would make it turn
            assert view.sinks[0].blocked
            assert view.sinks[0].size == gathered < 400_000


class TestFlood:
    """Writers that are faster than the view; who writes is the test, between any two turns."""

    @pytest.fixture(autouse=True)
    def _no_net(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lookout, "NET_PERIOD", 3600.0)

    def view_of(self, *logs: Log) -> View:
        files = [(str(log.path), f"{n}:") for n, log in enumerate(logs)]
        return View(files, io.StringIO(), interval=3600.0)

    def flood(self, pump: Pump, log: Log, until: Callable[[], object]) -> None:
        deadline = time.monotonic() + 30
        while not until():
            assert time.monotonic() < deadline
            with log.path.open("ab") as file:
                file.write(b"flood\n" * 200_000)
            pump.wakeups.order(lambda: None)
            pump.turn()

    @pytest.mark.full_platform
    def test_is_left_alone_for_a_while_and_calm_files_are_not(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pace, "_LONGEST_REST", 1000.0)
        monkeypatch.setattr(pace, "_FLOOD_REST", 1e9)
        monkeypatch.setattr(pace, "_REST", 1e9)  # a processor may be free
        flood, calm = Log(tmp_path, 0), Log(tmp_path, 1)
        for log in (flood, calm):
            log.write(b"")
        view = self.view_of(flood, calm)
        with driven(view) as pump:
            settle(pump)
            self.flood(pump, flood, lambda: pump.lookout.rests(time.monotonic()))
            read = [file.outputs[0].offset for file in view.files]
            calm.write(b"calm\n")
            settle(pump)
            assert [file.outputs[0].offset for file in view.files] == [read[0], len("calm\n")]
            pump.lookout.look(time.monotonic() + 1001)
            assert list(pump.lookout.news) == view.files[:1]

    def test_of_a_view_that_ends_is_read_without_rest(self, tmp_path: Path) -> None:
        log = Log(tmp_path, 0)
        log.write(b"line\n" * 1_000_000)
        view = self.view_of(log)
        with driven(view) as pump:
            pump.wakeups.order(lambda: pump.drain(view))
            rested: list[bool] = []

            def ended() -> bool:
                rested.append(pump.lookout.rests(time.monotonic()))
                return view.drained.is_set()

            self.flood(pump, log, ended)
            assert not any(rested)


def first_comes(monkeypatch: pytest.MonkeyPatch, happening: Callable[[], object]) -> None:
    """Have something happen right before each watch is set."""
    watch: Callable[[Inotify, str, int], int] = Inotify.watch

    def late(self: Inotify, path: str, mask: int) -> int:
        happening()
        return watch(self, path, mask)

    monkeypatch.setattr(Inotify, "watch", late)
