"""Membership's records as keys and JSON of a store, and back. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from procession._membership.model import (
    Account,
    Beat,
    Evidence,
    Fate,
    Member,
    Outcome,
    Round,
    Verdict,
    View,
)
from procession._restarts.cause import Cause
from procession.errors import RendezvousStateError

if TYPE_CHECKING:
    from collections.abc import Iterable


TO_GROW = b"to grow"  # the value of ``Keys.off`` where a round was called off for nothing else


class Keys:
    """Where a run keeps what; the generation is part of every key that belongs to a round."""

    def __init__(self, run_id: str) -> None:
        self.run = f"/procession/{quote(run_id, safe='')}/"
        self.members = f"{self.run}members/"
        self.now = f"{self.run}now/"  # what every host looks at
        self.round = f"{self.now}round"
        self.leader = f"{self.now}leader"
        self.offs = f"{self.now}off/"
        self.clock = f"{self.now}clock"  # of whoever leads
        self.outcomes = f"{self.run}outcomes/"

    def member(self, host: str) -> str:
        """The key of a host."""
        return f"{self.members}{host}"

    def outcomes_of(self, generation: int) -> str:
        """The prefix of what became of hosts in a round."""
        return f"{self.outcomes}{generation}/"

    def off(self, generation: int) -> str:
        """The key that is there once a round has been called off."""
        return f"{self.offs}{generation}"

    def outcome(self, generation: int, host: str) -> str:
        """The key of what became of a host in a round."""
        return f"{self.outcomes_of(generation)}{host}"


class Entry(NamedTuple):
    """A key that a store has.

    Attributes:
        name: The key.
        value: Its value.
        created: The revision at which it came to be.
        modified: The revision of its value.
        heard: The reader's clock when it was read, ns; 0 where it took no time.
    """

    name: str
    value: bytes
    created: int
    modified: int
    heard: int = 0


def member_json(member: Member) -> bytes:
    """A host's record."""
    return _json(member._asdict())


def round_json(now: Round) -> bytes:
    """A round's record."""
    return _json(round_dict(now))


def round_dict(now: Round) -> dict[str, Any]:
    """A round as JSON has it; seats are arrays: every host reads all of them."""
    seats = [list(seat) for seat in now.seats]
    verdict = now.verdict._asdict() if now.verdict else None
    return {**now._asdict(), "seats": seats, "verdict": verdict}


def read_member(entry: Entry) -> Member:
    """A host of its key.

    Raises:
        ValueError: That is not JSON.
        TypeError: Something is missing, or too much.
    """
    return Member(**{**json.loads(entry.value), "since": entry.created})


def outcome_json(fate: Fate, port: int, account: Account) -> bytes:
    """The record of what became of a host."""
    return _json({"fate": fate.value, "port": port, "account": account._asdict()})


def beat_json(host: str, at: int) -> bytes:
    """The record of the leader's clock."""
    return _json({"id": host, "at": at})


class Reader:
    """Makes views of a run's keys; what has not changed is not read again."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._read: dict[tuple[str, int], Any] = {}

    def view(self, entries: Iterable[Entry], *, whole: bool = True) -> View:
        """What the keys say.

        Args:
            entries: The keys.
            whole: Whether they are all of the run's.

        Raises:
            RendezvousStateError: One of them says nothing that makes sense.
        """
        known, self._read = self._read, {}
        found: dict[type, dict[str, Any]] = {}
        revision = 0
        for entry in entries:
            record = self._record(entry, known)
            found.setdefault(type(record), {})[entry.name] = record
            revision = entry.modified if entry.name == self._keys.round else revision
        now = found.get(Round, {}).get(self._keys.round)
        words = found.get(str, {})
        off = words.get(self._keys.off(now.generation)) if now is not None else None
        return View(
            tuple(sorted(found.get(Member, {}).values(), key=lambda member: member.since)),
            now,
            revision,
            self._told(found.get(Outcome, {}), now),
            off is not None,
            words.get(self._keys.leader, ""),
            whole,
            found.get(Beat, {}).get(self._keys.clock),
            off == TO_GROW.decode(),
        )

    def _told(self, outcomes: dict[str, Outcome], now: Round | None) -> tuple[Outcome, ...]:
        prefix = self._keys.outcomes_of(now.generation) if now else self._keys.outcomes
        return tuple(outcomes[name] for name in sorted(outcomes) if name.startswith(prefix))

    def _record(self, entry: Entry, known: dict[tuple[str, int], Any]) -> Any:
        key = entry.name, entry.modified
        if key not in known:
            known[key] = self._parsed(entry)
        self._read[key] = known[key]
        return known[key]

    def _parsed(self, entry: Entry) -> Member | Round | Outcome | Beat | str | None:
        if entry.name == self._keys.leader or entry.name.startswith(self._keys.offs):
            return entry.value.decode(errors="replace")
        try:
            if entry.name.startswith(self._keys.members):
                return read_member(entry)
            data = json.loads(entry.value)
            if entry.name == self._keys.round:
                return read_round(data)
            if entry.name.startswith(self._keys.outcomes):
                return _outcome(entry, data)
            if entry.name == self._keys.clock:
                return Beat(str(data["id"]), int(data["at"]), entry.heard)
        except (ValueError, TypeError, KeyError) as error:
            raise RendezvousStateError(
                f"the store's {entry.name} makes no sense: {error}. Was it written by another "
                "version of procession? Give another --rdzv-id, or remove the key."
            ) from error
        return None


def read_round(data: dict[str, Any]) -> Round:
    """A round of what JSON has.

    Raises:
        KeyError: Something is missing.
        TypeError: Something is of another kind, or too much.
    """
    seats = tuple(Member(*seat) for seat in data["seats"])
    verdict = Verdict(**data["verdict"]) if data["verdict"] else None
    cause = Cause(*data["cause"]) if data["cause"] else None
    return Round(**{**data, "seats": seats, "verdict": verdict, "cause": cause})


def _outcome(entry: Entry, data: dict[str, Any]) -> Outcome:
    host = entry.name.rpartition("/")[2]
    account, fate = _account(data["account"]), Fate(data["fate"])
    return Outcome(host, fate, entry.created, data["port"], account, entry.heard)


def _account(data: dict[str, Any]) -> Account:
    beat = Beat(*data["beat"]) if data["beat"] else None
    cause = Cause(*data["cause"]) if data["cause"] else None
    evidence = Evidence(data["evidence"])
    return Account(**{**data, "evidence": evidence, "beat": beat, "cause": cause})


def _json(data: dict[str, Any]) -> bytes:
    return json.dumps(data, separators=(",", ":")).encode()
