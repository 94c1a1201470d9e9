"""The shell around the membership machine: sleeps, hears both sides, carries effects out."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from procession._agent.words import full_gang, roll_call
from procession._membership import machine
from procession._membership.clocks import tighter
from procession._membership.machine import (
    Call,
    CallOff,
    CallOver,
    CutOff,
    End,
    Ended,
    Kill,
    Leave,
    Left,
    Phase,
    Propose,
    Rest,
    Rested,
    Start,
    Stop,
    Tell,
)
from procession._membership.model import Account, Fate, Roll
from procession._membership.rules import is_spare, leader
from procession._restarts.cause import not_started
from procession._restarts.policy import Again, Budget
from procession._restarts.words import again_line
from procession.errors import ProcessionError, RendezvousClosedError, RendezvousTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable

    from procession._membership.machine import Effect, Event
    from procession._membership.meeting import Meeting
    from procession._membership.model import Beat, Round, Terms

_BEFORE_FIRST_WORD = 1.0  # seconds: who has not waited so long is told nothing
_BETWEEN_WORDS = 15.0
_LAST_WORD = 1.0  # seconds before the time is over
_BETWEEN_BEATS = 30.0  # clocks drift apart by 3 ms meanwhile, at worst


class Crew(Protocol):
    """The workers of one host."""

    def start(self, now: Round, rank: int) -> None:
        """Start them.

        Raises:
            ProcessionError: They cannot be started; none is left.
        """

    def stop(self) -> None:
        """Begin to stop them, with their grace; asked again, without."""

    def kill(self) -> None:
        """Kill them; none is left on return."""

    def wait(self, fd: int, timeout: float) -> list[machine.Failing | Ended]:
        """Sleep until something happens to them, ``fd`` is readable or so many seconds are over.

        Raises:
            SignalException: Somebody ends this agent.
        """

    def free_port(self) -> int:
        """Find a port for the next round."""


class Patience(NamedTuple):
    """How long is waited for hosts.

    Attributes:
        join: Seconds that a host waits for a gang; where one runs that is full, without end.
        last_call: Seconds that a first round waits for more than the least number of hosts.
    """

    join: float = 600.0
    last_call: float = 30.0


class Agent:
    """One host's part in a run.

    Args:
        me: This host's id in the store.
        terms: What the run was asked to be.
        meeting: The other hosts.
        crew: The workers.
        patience: How long is waited for hosts.
        say: Tells a person.
        clock: This host's, ns, the one that the meeting has.
        ending: The exceptions that ``crew.wait`` raises where somebody ends this agent.
    """

    def __init__(
        self,
        me: str,
        terms: Terms,
        meeting: Meeting,
        crew: Crew,
        patience: Patience,
        say: Callable[[str], None],
        clock: Callable[[], int],
        ending: type[BaseException] = KeyboardInterrupt,
    ) -> None:
        self._state = machine.State(me, terms)
        self._meeting = meeting
        self._crew = crew
        self._patience = patience
        self._say = say
        self._clock = clock
        self._beat_due = math.inf  # while this host does not lead
        self._heard: Beat | None = None  # of the leader's clock, what tells most
        self._ending = ending
        self._raised: BaseException | None = None  # what ends this agent
        self._not_started: ProcessionError | None = None
        self._came_late = False  # the run was over before this host came
        self._call_until = math.inf
        self._rest: Rest | None = None
        self._rest_until = math.inf
        self._waiting_since = time.monotonic()
        self._word_due = self._waiting_since + _BEFORE_FIRST_WORD
        self._roll = Roll((), 0)
        self._end: End | None = None
        self._has_left = False

    @property
    def has_left(self) -> bool:
        """Whether it has taken leave of the others: it was not cut off, nor has it broken down."""
        return self._has_left

    def run(self) -> End:
        """Take part until the end.

        Returns:
            How the run ended, or why it goes on without this host.

        Raises:
            RendezvousTimeoutError: Not enough hosts came in time.
            RendezvousClosedError: The run was over before this host came.
            ProcessionError: The store cannot be reached, or workers could not be started.
            BaseException: What ended this agent, after its workers are gone.
        """
        try:
            self._meeting.join()
            while self._end is None:
                for event in self._happened():
                    self._step(event)
        finally:
            if self._end is None:
                self._crew.kill()
            self._meeting.close()
        return self._outcome(self._end)

    def _outcome(self, end: End) -> End:
        if self._raised is not None:
            raise self._raised
        if self._came_late and end.verdict is not None:
            raise RendezvousClosedError(
                f"the run is over: {end.verdict.reason}. For another one give another --rdzv-id."
            )
        if self._not_started is not None and end.verdict is not None and end.verdict.status:
            raise self._not_started
        return end

    def _happened(self) -> list[Event]:
        events: list[Event] = []
        try:
            events += self._crew.wait(self._meeting.fileno(), self._timeout())
        except self._ending as ending:
            self._raised = self._raised or ending
            if self._state.leaving:
                self._crew.stop()
            events.append(Left())
        for news in self._meeting.news():
            if isinstance(news, Roll):
                self._hear(news)
            else:
                events.append(news)
        return events + self._due()

    def _timeout(self) -> float:
        due = min(
            self._call_until,
            self._rest_until,
            self._join_until(),
            self._word_due_at(),
            self._beat_due,
        )
        return max(due - time.monotonic(), 0.0)

    @property
    def _is_spare(self) -> bool:
        """Whether this host takes the place of another, should one go."""
        state = self._state
        return state.phase is Phase.JOINING and is_spare(state.view, state.terms, state.me)

    def _join_until(self) -> float:
        waits = self._state.phase is Phase.JOINING and not self._is_spare
        return self._waiting_since + self._patience.join if waits else math.inf

    def _word_due_at(self) -> float:
        """When to tell a person what is waited for; once workers are done, only if they cannot be told of."""
        waits = self._state.phase is Phase.JOINING
        waits = waits or (self._state.phase is Phase.DONE and bool(self._meeting.trouble))
        return self._word_due if waits else math.inf

    def _due(self) -> list[Event]:
        now, events = time.monotonic(), list[machine.Event]()
        if now >= self._call_until:
            self._call_until = math.inf
            events.append(CallOver())
        if now >= self._beat_due:
            self._beat()
        if now >= self._rest_until and self._rest is not None:
            self._rest_until = math.inf
            events.append(Rested(self._rest.generation))
        if now >= self._word_due_at():
            last = self._join_until() - _LAST_WORD
            self._word_due = min(now + _BETWEEN_WORDS, last if last > now else math.inf)
            self._call_roll()
        if now >= self._join_until():
            self._raised = RendezvousTimeoutError(self._too_late())
            events.append(Left())
        return events

    def _call_roll(self) -> None:
        trouble, now = self._meeting.trouble, self._state.view.round
        if now is not None and self._is_spare and not trouble:
            self._word_due = math.inf
            self._say(f"waiting for a place: {full_gang(now)}")
        elif trouble:
            left = self._left()
            time = "" if left == math.inf else f", {left:.0f} s left"
            self._say(f"waiting for the place where the hosts meet ({trouble}){time}")
        else:
            self._meeting.call_roll()

    def _left(self) -> float:
        """Seconds for which hosts are waited for."""
        return max(min(self._call_until, self._join_until()) - time.monotonic(), 0.0)

    def _too_late(self) -> str:
        within, trouble = f"within {self._patience.join:g} s", self._meeting.trouble
        if trouble:
            return f"the place where the hosts meet was not reached {within}: {trouble}"
        missing = roll_call(self._roll, self._state.terms, math.inf)
        return f"not enough hosts came {within}: waited for {missing}"

    def _hear(self, roll: Roll) -> None:
        self._roll = roll
        if self._state.phase is Phase.JOINING:
            self._say(f"waiting for {roll_call(roll, self._state.terms, self._left())}")

    def _step(self, event: Event) -> None:
        before, knew = (self._state.phase, self._is_spare), self._state.view.members
        self._state, effects = machine.step(self._state, event)
        self._heard = tighter(self._heard, self._state.view.beat)
        if (self._state.phase, self._is_spare) != before:
            self._waiting_since = time.monotonic()
            self._word_due = self._waiting_since + _BEFORE_FIRST_WORD
        self._came_late = self._came_late or (not knew and self._state.phase is Phase.ENDED)
        for effect in effects:
            self._carry[type(effect)](self, effect)

    # ---- carrying effects out

    def _start(self, effect: Start) -> None:
        if not self._meeting.is_good:
            self._step(CutOff("this host's lease may have run out"))
            return
        self._say_why(effect.round)
        try:
            self._crew.start(effect.round, effect.rank)
            self._not_started = None
        except ProcessionError as error:
            self._not_started = error
            cause = not_started(error.exit_code, str(error))
            self._step(Ended(Fate.FAILED, Account(error.exit_code, str(error), cause=cause)))

    def _say_why(self, now: Round) -> None:
        """Say what the gang before failed of, unless that was said when a pause began."""
        said = self._rest is not None and self._rest.generation == now.generation - 1
        if now.cause is not None and not said:
            again = Again(Budget(now.restarts, now.cause), worked=now.worked)
            self._say(again_line(again, self._state.terms.max_restarts))

    def _begin_rest(self, effect: Rest) -> None:
        """The pause is not a part of the time that hosts are waited for."""
        self._rest = effect
        self._rest_until = time.monotonic() + effect.again.pause
        self._waiting_since = self._rest_until
        self._word_due = self._rest_until + _BEFORE_FIRST_WORD
        self._say(again_line(effect.again, self._state.terms.max_restarts))

    def _stop(self, _effect: Stop) -> None:
        self._crew.stop()

    def _kill(self, _effect: Kill) -> None:
        self._crew.kill()

    def _propose(self, effect: Propose) -> None:
        self._meeting.propose(effect.round, effect.revision)
        self._beat_due = time.monotonic() + _BETWEEN_BEATS

    def _beat(self) -> None:
        leads = leader(self._state.view) == self._state.me
        if leads:
            self._meeting.beat()
        self._beat_due = time.monotonic() + _BETWEEN_BEATS if leads else math.inf

    def _call_off(self, effect: CallOff) -> None:
        self._meeting.call_off(effect.generation, to_grow=effect.to_grow)

    def _tell(self, effect: Tell) -> None:
        port = 0 if effect.fate is Fate.FAILING else self._crew.free_port()
        timed = effect.account._replace(told_at=self._clock(), beat=self._heard)
        self._meeting.tell(effect.generation, effect.fate, port, timed)

    def _called(self, _effect: Call) -> None:
        self._call_until = time.monotonic() + self._patience.last_call

    def _leave(self, _effect: Leave) -> None:
        self._has_left = True
        self._meeting.leave()

    def _ended(self, effect: End) -> None:
        self._end = effect

    _carry: dict[type[Effect], Callable[[Agent, Any], None]] = {  # noqa: RUF012
        Start: _start,
        Stop: _stop,
        Kill: _kill,
        Propose: _propose,
        CallOff: _call_off,
        Tell: _tell,
        Call: _called,
        Rest: _begin_rest,
        Leave: _leave,
        End: _ended,
    }
