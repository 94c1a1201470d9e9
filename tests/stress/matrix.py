"""The kill matrix as data: who is struck, with what, when, however the gang was started. Pure.

A case is one run of a gang of two workers, each with a child and a daemon that has left everything
behind. At its moment the strokes fall. What has to come of it is `expected`: one table, read from the
top, for all cases alike.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from enum import Enum
from itertools import product
from signal import (
    SIGHUP,
    SIGINT,
    SIGKILL,
    SIGQUIT,
    SIGSTOP,
    SIGTERM,
    Signals,
)
from typing import NamedTuple

LIBRARY = ("binary", "spawn", "fork", "forkserver")
COMMAND = ("script", "program", "run-path-spawn", "run-path-fork", "run-path-forkserver")
ENTRIES = LIBRARY + COMMAND

TERMINATING = (SIGTERM, SIGINT, SIGHUP, SIGQUIT)
STROKES = (SIGKILL, *TERMINATING, SIGSTOP)  # SIGSTOP is followed by SIGCONT, once it has stopped


class Moment(Enum):
    """When the strokes fall; each is known by an event."""

    EXEC = "exec"  # a guardian is there, no worker has been asked of it
    START = "start"  # one worker is up with its family, the other is not asked for yet
    STEADY = "steady"  # both are up
    GRACE = "grace"  # SIGTERM has reached both workers, who do not heed it
    SWEEP = "sweep"  # the grace is over: the first worker has been killed
    RANDOM = "random"  # so many seconds after the launcher was started


class Victim(Enum):
    """Who is struck."""

    LAUNCHER = "launcher"
    GROUP = "group"  # the launcher's whole process group
    GUARDIAN = "guardian"
    WORKER = "worker"  # of local rank 0, if both are up
    OTHER = "other"  # the other worker
    CHILD = "child"  # of that worker
    DAEMON = "daemon"  # of that child: a session of its own, no environment, no parents
    ANYBODY = "anybody"  # one of all these, drawn by lot


class Stroke(NamedTuple):
    """A signal for somebody."""

    victim: Victim
    signum: Signals

    def __str__(self) -> str:
        return f"{self.victim.value}:{self.signum.name.removeprefix('SIG')}"


class Case(NamedTuple):
    """One run.

    Attributes:
        entry: How the workers are started.
        moment: When the strokes fall.
        strokes: One, or two at once.
        seed: Of a random moment, and of what else is drawn by lot.
        isolate: ``pidns`` or ``cgroup``, in which the gang lives.
    """

    entry: str
    moment: Moment
    strokes: tuple[Stroke, ...]
    seed: int = 0
    isolate: str = ""

    def __str__(self) -> str:
        entry = f"{self.entry}@{self.isolate}" if self.isolate else self.entry
        words = [entry, self.moment.value, "+".join(map(str, self.strokes))]
        return "-".join([*words, str(self.seed)] if self.seed else words)

    @property
    def by_command(self) -> bool:
        """True if ``procession run`` is the launcher, else a program that calls the library."""
        return self.entry in COMMAND

    @property
    def stubborn(self) -> bool:
        """True if the workers do not heed SIGTERM."""
        return self.moment in (Moment.GRACE, Moment.SWEEP)

    @property
    def held(self) -> bool:
        """True if the launcher is held up at its moment, until the strokes have fallen.

        At a start the command asks its user for nothing between two workers, nor does the library
        with a fork server: there the other worker comes when it comes.
        """
        at_start = self.moment is Moment.START and not self.by_command
        return self.moment is Moment.EXEC or (at_start and self.entry != "forkserver")

    @property
    def grace(self) -> int:
        """Seconds."""
        return {Moment.GRACE: 2, Moment.SWEEP: 1}.get(self.moment, 0)

    @property
    def moved_in_time(self) -> bool:
        """True if a worker is in the gang's cgroup before it can have forked: where we fork it."""
        return self.isolate == "cgroup" and self.entry.endswith(("fork", "forkserver"))

    @property
    def thorough(self) -> bool:
        """True if the daemon closes every fd too, the run's lock among them.

        Then only its parents told whose it is: not to `procession reap`, nor to a library's user who
        has children of their own, once the guardian has been killed. But a namespace ends with its
        guardian, whatever is in it, and what is in a cgroup the launcher kills.
        """
        guardian_killed = self.hits(Victim.GUARDIAN, Victim.ANYBODY, by=(SIGKILL,))
        others_killed = self.hits(Victim.LAUNCHER, Victim.GROUP, by=(SIGKILL,))
        held = self.by_command or self.moved_in_time
        return self.isolate == "pidns" or not guardian_killed or (held and not others_killed)

    def hits(self, *victims: Victim, by: tuple[Signals, ...]) -> bool:
        """True if one of ``victims`` is struck with one of the signals ``by``."""
        return any(stroke.victim in victims and stroke.signum in by for stroke in self.strokes)


class Outcome(NamedTuple):
    """What has to come of a case.

    Attributes:
        name: In one word.
        statuses: Exit statuses that the command may end with, as of ``Popen.returncode``.
        words: What a library's user may be told in the end.
        origins: What may stand under "origin" in report.json; "running" where nobody has ended it,
            "" where there is none.
        needs_reap: Nobody is left to end the workers but ``procession reap``.
        goes_on: Nothing happens: the run goes on until it is ended by SIGTERM.
    """

    name: str
    statuses: frozenset[int]
    words: frozenset[str]
    origins: frozenset[str]
    needs_reap: bool = False
    goes_on: bool = False


KILLED = Outcome("killed", frozenset({-SIGKILL}), frozenset({""}), frozenset({"running"}))
LOST = Outcome("lost", frozenset({71}), frozenset({"lost"}), frozenset({"internal"}))


def signalled(signum: int) -> Outcome:
    """The launcher was asked to end."""
    word = f"signal {Signals(signum).name}"
    return Outcome("signalled", frozenset({128 + signum}), frozenset({word}), frozenset({"signal"}))


def failed(signum: int) -> Outcome:
    """A worker was the first to die."""
    word = f"failed {-signum}"
    return Outcome("failed", frozenset({128 + signum}), frozenset({word}), frozenset({"worker"}))


# The launcher's interpreter had not come so far as to handle a signal.
UNHANDLED = Outcome("unhandled", frozenset({-SIGTERM}), frozenset({""}), frozenset({""}))

GOES_ON = signalled(SIGTERM)._replace(name="goes on", goes_on=True)


def either(*outcomes: Outcome) -> Outcome:
    """One of several: two things happen at once, and whichever is seen first decides."""
    return Outcome(
        " or ".join(outcome.name for outcome in outcomes),
        frozenset().union(*(outcome.statuses for outcome in outcomes)),
        frozenset().union(*(outcome.words for outcome in outcomes)),
        frozenset().union(*(outcome.origins for outcome in outcomes)),
    )


def expected(case: Case) -> Outcome:
    """Return what has to come of a case: the first line that holds decides."""
    killed = (SIGKILL,)
    launcher, guardian = (Victim.LAUNCHER, Victim.GROUP), Victim.GUARDIAN
    worker = (Victim.WORKER, Victim.OTHER)
    launcher_killed = case.hits(*launcher, by=killed)
    guardian_killed = case.hits(guardian, by=killed)
    told = next((s.signum for s in case.strokes if case.hits(*launcher, by=(s.signum,))), SIGTERM)
    fatal = next((s.signum for s in case.strokes if s.victim in worker), SIGKILL)
    # With the first process of a PID namespace, its guardian, the kernel ends all others.
    lost = guardian_killed and case.isolate != "pidns"
    lots = (LOST, GOES_ON, UNHANDLED)  # at a random moment SIGTERM follows, to end who was not hurt
    ends = (
        (case.hits(Victim.ANYBODY, by=killed), either(KILLED, failed(SIGKILL), *lots)),
        (case.moment is Moment.RANDOM and guardian_killed, either(*lots)),
        # In a sweep the launcher is a few milliseconds from its own end, and may have come to it; in
        # a grace two seconds, which a busy machine may have had other use for.
        (
            case.stubborn and launcher_killed,
            either(KILLED, signalled(SIGTERM))._replace(needs_reap=lost),
        ),
        (launcher_killed and guardian_killed, KILLED._replace(needs_reap=lost)),
        (launcher_killed, KILLED),
        # It had been asked to end, whatever happened then; a further signal ends the grace at most.
        (case.stubborn, signalled(SIGTERM)),
        (guardian_killed and case.hits(*launcher, by=TERMINATING), either(LOST, signalled(told))),
        (case.hits(*launcher, by=TERMINATING), signalled(told)),
        (guardian_killed, LOST),
        (case.hits(*worker, by=(SIGKILL, *TERMINATING)), failed(fatal)),
    )
    outcome = next((outcome for holds, outcome in ends if holds), GOES_ON)
    return _early(outcome) if case.moment in EARLY else outcome


EARLY = (Moment.EXEC, Moment.START, Moment.RANDOM)


def _early(outcome: Outcome) -> Outcome:
    """So early that there may be no report yet, or no directory for one."""
    return outcome._replace(origins=outcome.origins | {"", "running"})


# --- which cases there are ---

PRESENT: dict[Moment, tuple[Victim, ...]] = {
    Moment.EXEC: (Victim.LAUNCHER, Victim.GROUP, Victim.GUARDIAN),
    Moment.START: tuple(set(Victim) - {Victim.OTHER, Victim.ANYBODY}),
    Moment.STEADY: tuple(set(Victim) - {Victim.ANYBODY}),
    Moment.GRACE: tuple(set(Victim) - {Victim.ANYBODY}),
    # One worker has just been killed, and the others are about to be.
    Moment.SWEEP: (Victim.LAUNCHER, Victim.GROUP, Victim.GUARDIAN),
}
PAIRS = (
    (Victim.LAUNCHER, Victim.GUARDIAN),
    (Victim.LAUNCHER, Victim.WORKER),
    (Victim.LAUNCHER, Victim.CHILD),
    (Victim.LAUNCHER, Victim.DAEMON),
    (Victim.GUARDIAN, Victim.WORKER),
    (Victim.GUARDIAN, Victim.CHILD),
    (Victim.GUARDIAN, Victim.DAEMON),
    (Victim.WORKER, Victim.OTHER),
    (Victim.WORKER, Victim.CHILD),
    (Victim.WORKER, Victim.DAEMON),
    (Victim.CHILD, Victim.DAEMON),
)


def strokes_at(moment: Moment) -> Iterator[tuple[Stroke, ...]]:
    """Every stroke that is struck at a moment: each victim with each signal, then pairs."""
    present = sorted(set(PRESENT[moment]) - {Victim.OTHER}, key=lambda victim: victim.value)
    for victim, signum in product(present, STROKES):
        if (victim, signum) != (Victim.GROUP, SIGSTOP):  # the same as of the launcher alone
            yield (Stroke(victim, signum),)
    for pair in PAIRS:
        if set(pair) <= set(PRESENT[moment]):
            yield tuple(Stroke(victim, SIGKILL) for victim in pair)
    yield Stroke(Victim.LAUNCHER, SIGTERM), Stroke(Victim.GUARDIAN, SIGKILL)


def planned(entries: tuple[str, ...] = ENTRIES) -> list[Case]:
    """Every stroke at every moment: by each of the library's entries, and by one of the command's in turn."""
    cases = []
    for moment in PRESENT:
        for i, strokes in enumerate(strokes_at(moment)):
            turn = (*LIBRARY, COMMAND[i % len(COMMAND)])
            cases += [Case(entry, moment, strokes) for entry in turn if entry in entries]
    return cases


ISOLATIONS = ("pidns", "cgroup")


def isolated() -> list[Case]:
    """The strokes that isolation is for, by the same entries; it is made when a gang starts."""
    kills = [(Stroke(victim, SIGKILL),) for victim in (Victim.LAUNCHER, *PAIRS[4])]
    pairs = [tuple(Stroke(victim, SIGKILL) for victim in pair) for pair in (PAIRS[0], PAIRS[4])]
    others = [
        (Stroke(Victim.LAUNCHER, SIGTERM),),
        (Stroke(Victim.GUARDIAN, SIGSTOP),),
        (Stroke(Victim.LAUNCHER, SIGTERM), Stroke(Victim.GUARDIAN, SIGKILL)),
    ]
    cases = []
    moments = (Moment.STEADY, Moment.GRACE, Moment.SWEEP)
    for isolate, moment in product(ISOLATIONS, moments):
        for i, strokes in enumerate((*kills, *pairs, *others)):
            if {stroke.victim for stroke in strokes} <= set(PRESENT[moment]):
                turn = (*LIBRARY, COMMAND[i % len(COMMAND)])
                cases += [Case(entry, moment, strokes, 0, isolate) for entry in turn]
    return cases


def drawn(count: int, seed: int) -> list[Case]:
    """Cases whose moment, victim and entry are drawn by lot; each has a seed of its own."""
    lot = random.Random(seed)
    victims = (Victim.LAUNCHER, Victim.GUARDIAN, Victim.ANYBODY)
    return [
        Case(
            lot.choice(ENTRIES),
            Moment.RANDOM,
            (Stroke(lot.choice(victims), SIGKILL),),
            lot.randrange(1, 1 << 32),
        )
        for _ in range(count)
    ]


def sample(cases: list[Case], count: int) -> list[Case]:
    """``count`` cases, spread evenly over the list and thereby over moments, victims and entries."""
    step = len(cases) / count
    # The odd stride keeps entries, which change fastest in the list, from falling into step with it.
    return [cases[min(int(i * step) + i % 5, len(cases) - 1)] for i in range(count)]
