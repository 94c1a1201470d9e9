"""Plays one case of the kill matrix with real processes, and looks at what came of it from outside.

Who belongs to the case is known by the brand that the leak check puts on all that a test starts
(`procession.testing.leaks`), and by the pids that the workers told: never by the launcher's word.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.real.pace import AT_ONCE, at_once
from tests.stress.matrix import Case, Moment, Outcome, Stroke, Victim

from procession._guardian.unguarded import remove_deserted_cgroups
from procession._os import members, proc
from procession._os.cgroup import leaf_around, make_leaf
from procession.testing import Inventory, Ready, RollCall, stop, wait_gone

SCRIPTS = Path(__file__).parent / "scripts"
PATIENCE = 30.0  # seconds for what has no bound of its own
LINES = 100  # of each worker's log, written before it was ready (family.py)
LATEST = 0.8  # seconds after the start: the last of the random moments


class Play:
    """One case: its processes and what was seen of them."""

    def __init__(self, case: Case, directory: Path, stack: contextlib.ExitStack) -> None:
        self.case = case
        self.directory = directory
        self.run_id = uuid.uuid4().hex
        self.before = Inventory.take()
        self.roll = stack.enter_context(RollCall())
        os.mkfifo(directory / "gate")
        self.gate = os.open(directory / "gate", os.O_RDWR)  # a byte in it waits for its reader
        stack.callback(os.close, self.gate)
        self.heard: list[Ready] = []
        self.lot = random.Random(case.seed)
        self.launcher = stack.enter_context(self._launch())
        stack.callback(self._end_all)
        self.guardian = 0
        self.leaf: str | None = None  # the gang's cgroup, if it has one

    # ---- the scene

    def _launch(self) -> subprocess.Popen[str]:
        source = str(Path(members.__file__).parents[2])
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("PET_", "PROCESSION_"))}
        return subprocess.Popen(
            self._by_command() if self.case.by_command else self._by_library(),
            cwd=self.directory,
            env={
                **clean,
                "PYTHONPATH": os.pathsep.join([source, str(SCRIPTS), str(self.directory)]),
                "HELD_ROLL": self.roll.path,
                "HELD_GATE": str(self.directory / "gate"),
                "ISOLATE": self.case.isolate,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def _arguments(self) -> list[str]:
        case = self.case
        return [self.roll.path, str(int(case.stubborn)), str(int(case.thorough))]

    def _by_library(self) -> list[str]:
        case = self.case
        rank = -1 if not case.held else 0 if case.moment is Moment.EXEC else 1
        words = [case.entry, "logs", str(case.grace), self.run_id, str(rank)]
        return [sys.executable, str(SCRIPTS / "caller.py"), *words, *self._arguments()]

    def _by_command(self) -> list[str]:
        script = str(SCRIPTS / "family.py")
        if self.case.entry == "program":
            job = ["--no-python", sys.executable, script]
        elif self.case.entry == "script":
            job = [script]
        else:
            method = self.case.entry.removeprefix("run-path-")
            job = ["--run-path", "--start-method", method, script]
        if self.case.moment is Moment.EXEC:
            self._install_specs()
            job = ["--logs-specs", "held", *job]
        if self.case.isolate:
            job = ["--isolate", self.case.isolate, *job]
        run = [sys.executable, "-m", "procession", "run", "-n", "2", "--log-dir", "logs"]
        return [*run, "--shutdown-timeout", str(self.case.grace), *job, *self._arguments()]

    def _install_specs(self) -> None:
        made = self.directory / "held-1.0.dist-info"
        made.mkdir()
        (made / "METADATA").write_text("Metadata-Version: 2.1\nName: held\nVersion: 1.0\n")
        (made / "entry_points.txt").write_text("[torchrun.logs_specs]\nheld = held:Specs\n")

    # ---- its moment

    def wait_for_moment(self) -> None:
        """Return when the case's moment has come."""
        moment = self.case.moment
        if moment is Moment.RANDOM:
            _sleep(self.lot.uniform(0, LATEST))
            self.guardian = self._guardian()
            return
        self._hear("held", int(self.case.held))
        self._hear("family", {Moment.EXEC: 0, Moment.START: 1}.get(moment, 2))
        self.guardian = self._await_guardian()
        self._find_isolated()
        if self.case.stubborn:
            self.launcher.terminate()
            self._hear("term", 2)
        if moment is Moment.SWEEP:
            self._wait_for_first_kill()

    def _hear(self, name: str, count: int) -> None:
        """Wait until so many have said this word."""
        while len([ready for ready in self.heard if ready.name == name]) < count:
            self.heard += self.roll.wait(1, PATIENCE)

    def _find_isolated(self) -> None:
        """Call processes of a namespace by the numbers that they have out here; find the cgroup."""
        if self.case.isolate == "pidns":
            outer = {inner: pid for pid in self.left() if (inner := _inner_pid(pid))}
            self.heard = [
                ready._replace(
                    pid=outer[ready.pid], others=tuple(outer[pid] for pid in ready.others)
                )
                for ready in self.families
            ]
        if self.case.isolate == "cgroup":
            self.leaf = leaf_around(self.families[0].pid)
            assert self.leaf, "no cgroup"

    @property
    def families(self) -> list[Ready]:
        """Each worker with its child and its daemon, in the order in which they were ready."""
        return [ready for ready in self.heard if ready.name == "family"]

    def _wait_for_first_kill(self) -> None:
        workers = [family.pid for family in self.families]
        deadline = time.monotonic() + PATIENCE
        while not (gone := set(workers) - proc.living(workers).keys()):
            assert time.monotonic() < deadline, "nobody was killed"
            wait_gone(workers[:1], 0.002)  # the other may be the first
        assert gone

    def _await_guardian(self) -> int:
        """It is there by now; one that was forked may yet have to make its session."""
        deadline = time.monotonic() + PATIENCE
        while not (guardian := self._guardian()):
            assert time.monotonic() < deadline, "no guardian"
            _sleep(0.001)
        return guardian

    def _guardian(self) -> int:
        """The launcher's child that leads a session; 0 while there is none."""
        children = proc.living(proc.children(self.launcher.pid))
        return next((pid for pid, stat in children.items() if stat.session == pid), 0)

    # ---- the strokes

    def strike(self) -> None:
        """Send each stroke's signal, and continue who was stopped."""
        pids = [self._pid(stroke.victim) for stroke in self.case.strokes]
        struck = [(pid, stroke) for pid, stroke in zip(pids, self.case.strokes, strict=True) if pid]
        for pid, stroke in struck:
            self._send(pid, stroke)
        for pid, stroke in struck:
            if stroke.signum == signal.SIGSTOP:
                with contextlib.suppress(ProcessLookupError):
                    stop(pid)  # once more, should a launcher have continued its guardian meanwhile
                self._send(pid, stroke._replace(signum=signal.SIGCONT))
        self.struck_at = time.monotonic()
        if self.case.held:
            os.write(self.gate, b"!")

    def _pid(self, victim: Victim) -> int:
        if victim in (Victim.LAUNCHER, Victim.GROUP):
            return self.launcher.pid
        if victim is Victim.GUARDIAN:
            return self.guardian
        if victim is Victim.ANYBODY:
            return self.lot.choice(sorted(self.left()) or [0])
        if victim is Victim.OTHER:
            return self.families[1].pid
        worker = self.families[0]
        family = (Victim.WORKER, Victim.CHILD, Victim.DAEMON)
        return (worker.pid, *worker.others)[family.index(victim)]

    def _send(self, pid: int, stroke: Stroke) -> None:
        kill = os.killpg if stroke.victim is Victim.GROUP else os.kill
        with contextlib.suppress(ProcessLookupError):
            kill(pid, stroke.signum)

    # ---- what comes of it

    def left(self) -> dict[int, str]:
        """The processes of this case that live, by pid."""
        found = self.before.left().processes
        return {pid: text for pid, text in found.items() if "never waited for" not in text}

    def untouched(self) -> list[int]:
        """All that was known and not struck, for a run that goes on."""
        struck = {self._pid(stroke.victim) for stroke in self.case.strokes}
        known = [pid for family in self.families for pid in (family.pid, *family.others)]
        return [pid for pid in (self.launcher.pid, self.guardian, *known) if pid not in struck]

    def await_end(self) -> dict[int, str]:
        """Wait until nothing of the case is left but the launcher's own end; return what is."""
        return self._left_after(AT_ONCE) and self._left_after(at_once())

    def _left_after(self, seconds: float) -> dict[int, str]:
        deadline = self.struck_at + seconds + self.case.grace
        known = [pid for family in self.families for pid in (family.pid, *family.others)]
        wait_gone(
            [*known, *([self.guardian] if self.guardian else ())], deadline - time.monotonic()
        )
        while (left := self._others()) and time.monotonic() < deadline:
            _sleep(0.005)
        return left

    def _others(self) -> dict[int, str]:
        # multiprocessing's tracker goes by itself, when its last user has.
        found = {pid: t for pid, t in self.left().items() if "resource_tracker" not in t}
        return {pid: text for pid, text in found.items() if pid != self.launcher.pid}

    def reap(self) -> str:
        """Have ``procession reap`` end what is left; its words, where it fails."""
        runs = {
            run_id for run_id, run in members.all_members().items() if run.pids & self.left().keys()
        }
        said = ""
        for run_id in runs:
            argv = [sys.executable, "-m", "procession", "reap", run_id]
            ended = subprocess.run(argv, capture_output=True, text=True, check=False)
            # Who was on the way out when the strokes fell has gone by itself: there is no such run then.
            said += ended.stdout + ended.stderr if ended.returncode and self._others() else ""
        self.struck_at = time.monotonic()
        return said

    def remove_deserted_cgroup(self) -> None:
        """As ``procession reap`` does where nobody lives of a run; by itself it would end others' runs."""
        remove_deserted_cgroups([self.leaf] if self.leaf else [], [])

    def ended(self) -> tuple[int, str, str]:
        """The launcher's exit status, the last line of its stdout and all of its stderr."""
        out, err = self.launcher.communicate(timeout=PATIENCE)
        return self.launcher.returncode, (out.splitlines() or [""])[-1], err

    def report(self) -> dict[str, Any]:
        """What report.json holds; nothing where there is none."""
        found = list((self.directory / "logs").glob("*/report.json"))
        return json.loads(found[0].read_text()) if found else {}

    def torn_logs(self) -> list[str]:
        """The logs that are not what their workers have written."""
        logs = [
            path
            for path in (self.directory / "logs").rglob("stdout.log")
            if not path.parent.is_symlink()
        ]
        torn = [f"{path}: {fault}" for path in logs for fault in _faults(path.read_bytes())]
        full = sum(path.read_bytes().count(b"\n") >= LINES for path in logs)
        missing = len(self.families) - full
        return torn + ([f"{missing} logs lack what was written before"] if missing > 0 else [])

    def _end_all(self) -> None:
        for pid in self.left():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_gone(self.left())
        self.launcher.wait(PATIENCE)


def _inner_pid(pid: int) -> int:
    """The number of a process in the innermost of its PID namespaces; 0 if it has ended."""
    status = proc.read(f"/proc/{pid}/status") or b""
    line = next((line for line in status.splitlines() if line.startswith(b"NSpid:")), b"0")
    return int(line.split()[-1])


def _faults(log: bytes) -> Iterator[str]:
    lines = log.split(b"\n")
    if lines.pop():
        yield "its last line is torn"
    if lines != [b"%06d" % number for number in range(len(lines))]:
        yield f"its {len(lines)} lines are not those written"


def _sleep(seconds: float) -> None:
    select.select([], [], [], seconds)


def can_isolate(how: str) -> None:
    """Skip the test where this host does not let us have such an isolation."""
    if how == "pidns":
        words = ["unshare", *(() if os.geteuid() == 0 else ("--user",)), "--pid", "--fork", "true"]
        if subprocess.run(words, capture_output=True, check=False).returncode:
            pytest.skip("no PID namespaces are to be had here")
    if how == "cgroup":
        try:
            make_leaf("test").remove()
        except OSError as error:
            pytest.skip(f"no writable cgroup of version 2 here: {error}")


def play(case: Case, outcome: Outcome, directory: Path) -> None:
    """Play a case, and fail where what comes of it is not ``outcome``."""
    with contextlib.ExitStack() as stack:
        play = Play(case, directory, stack)
        play.wait_for_moment()
        play.strike()
        if outcome.goes_on:
            assert wait_gone(play.untouched(), 0.1) == play.untouched(), "not all live on"
            play.launcher.terminate()
            play.struck_at = time.monotonic()
        if outcome.needs_reap:
            play.launcher.wait(PATIENCE)
            assert play.reap() == ""
        if case.moment is Moment.RANDOM:
            play.launcher.terminate()  # whoever was not hurt by it
        left = play.await_end()
        status, word, err = play.ended()
        assert left == {}, f"left: {left}; stderr: {err}"
        if outcome.needs_reap:
            play.remove_deserted_cgroup()
        assert play.leaf is None or not os.path.exists(play.leaf)
        _check_words(play, outcome, status, word, err)
        assert play.torn_logs() == []


def _check_words(play: Play, outcome: Outcome, status: int, word: str, err: str) -> None:
    said = f"status {status}, {word!r}; stderr: {err}"
    if not play.case.by_command:
        assert word in outcome.words, said
        return
    assert status in outcome.statuses, said
    report = play.report()
    origin = report.get("origin") or report.get("state", "")
    assert origin in outcome.origins, f"{said}; report: {report}"
    if report.get("state") == "ended":
        assert report["exit_code"] == status, f"{said}; report: {report}"
