"""What the hub knows and answers. Pure: times are handed in, and frames are objects already."""

from __future__ import annotations

import math
from itertools import islice
from typing import TYPE_CHECKING, Any

from procession._hub.frames import PROTOCOL, FrameError
from procession._hub.records import Records, as_json
from procession._membership import codec, rules
from procession._membership.codec import Entry
from procession._membership.model import Round, Verdict
from procession.errors import RendezvousStateError

if TYPE_CHECKING:
    from collections.abc import Callable


class Host:
    """A host whose lease lives.

    Attributes:
        name: What people call it.
        ttl: Seconds that its lease lasts.
        expires: When it runs out.
        done: The number of the last request that was carried out: none is done twice.
    """

    __slots__ = ("done", "expires", "name", "ttl")

    def __init__(self, name: str, ttl: float) -> None:
        self.name = name
        self.ttl = ttl
        self.expires = 0.0
        self.done = 0


class HubState:
    """One run's hub.

    Args:
        life: Tells this hub from one that was here before.
        run_id: The run's.
        nnodes: How many hosts it has, as text: the same for all.
        owner: The id of the host whose agent this is. It leads, and hears everything.
    """

    def __init__(self, life: str, run_id: str, nnodes: str, owner: str) -> None:
        self.life = life
        self.records = Records()
        self.hosts: dict[str, Host] = {}
        self.next_expiry = math.inf  # when a lease may run out; not later than one does
        self.farewell = Verdict(1, "the host at which all meet has left")
        self._run_id = run_id
        self._nnodes = nnodes
        self.owner = owner
        self._keys = codec.Keys(run_id)
        self.shared = self._keys.now  # what every host is told of
        self._reader = codec.Reader(self._keys)
        self.records.put(self._keys.leader, owner.encode())

    # ---- what hosts say

    def hello(self, said: dict[str, Any], now: float) -> dict[str, Any]:
        """Answer a host's first word, which may be its first after its connection broke.

        Raises:
            FrameError: It is no hello.
        """
        refusal = self._refusal(said)
        if refusal:
            return {"refused": refusal}
        host, back = _text(said, "id"), _text(said, "back")
        if back and (back != self.life or host not in self.hosts):
            return {"lost": _OTHER_HUB if back != self.life else RUN_OUT}
        if host not in self.hosts:
            self._check(self._keys.member(host), _text(said, "member"))
            self.hosts[host] = Host(_text(said, "name"), _seconds(said))
            self.records.put(self._keys.member(host), said["member"].encode())
        self._extend(self.hosts[host], now)
        seen = ("",) if host == self.owner else (self.shared, self._keys.member(host))
        known = [entry for entry in self.records.all() if entry.name.startswith(seen)]
        return {"welcome": self.life, "keys": as_json(known)}

    def hear(self, host: str, said: dict[str, Any], now: float) -> dict[str, Any]:
        """Answer what a host says after its hello.

        Raises:
            FrameError: It makes no sense.
        """
        known = self.hosts.get(host)
        if known is None:
            return {"lost": RUN_OUT}
        self._extend(known, now)
        if "alive" in said:
            return {"alive": said["alive"]}
        if "roll" in said:
            return self._roll(said["roll"])
        number = said.get("n")
        if not isinstance(number, int):
            raise FrameError("a request without a number")
        if number > known.done:
            known.done = number
            self._carry_out(host, said)
        return {"done": number}

    def _carry_out(self, host: str, said: dict[str, Any]) -> None:
        try:
            deed = next(key for key in self._deeds if key in said)
            self._deeds[deed](self, host, said)
        except (StopIteration, ValueError, LookupError, TypeError, AttributeError) as error:
            raise FrameError("a request that makes no sense") from error

    def _put(self, host: str, said: dict[str, Any]) -> None:
        name, value = said["put"]
        self._check(name, value)
        self.records.put(name, value.encode())
        if "create" in said:
            self._create(host, said)

    def _create(self, _host: str, said: dict[str, Any]) -> None:
        name, value = said["create"], said.get("value", "")
        self._check(name, value)
        if self.records.get(name) is None:
            self.records.put(name, value.encode())

    def _replace(self, host: str, said: dict[str, Any]) -> None:
        name, value, modified = said["replace"]
        self._check(name, value)
        if self.records.replace(name, value.encode(), int(modified)):
            for prefix in said["forget"]:
                self.records.delete(prefix)
            self._put(host, said)

    def _leave(self, host: str, _said: dict[str, Any]) -> None:
        if host == self.owner:
            self.end()
        self._remove(host)

    _deeds: dict[str, Callable[[HubState, str, dict[str, Any]], None]] = {  # noqa: RUF012
        "replace": _replace,
        "put": _put,
        "create": _create,
        "leave": _leave,
    }

    def _roll(self, most: object) -> dict[str, Any]:
        if not isinstance(most, int):
            raise FrameError("a roll call without a number")
        found = (self.records.get(self._keys.member(host)) for host in islice(self.hosts, most))
        named = [entry for entry in found if entry is not None]
        return {"roll": as_json(named), "total": len(self.hosts)}

    # ---- what time brings

    def expire(self, now: float) -> list[str]:
        """Remove the hosts whose lease has run out, and return their ids."""
        if now < self.next_expiry:
            return []
        lost = [host for host, known in self.hosts.items() if known.expires <= now]
        for host in lost:
            self._remove(host)
        self.next_expiry = min((h.expires for h in self.hosts.values()), default=math.inf)
        return lost

    def _extend(self, host: Host, now: float) -> None:
        host.expires = now + host.ttl
        self.next_expiry = min(self.next_expiry, host.expires)

    def end(self) -> None:
        """End the run for all hosts, if it is not over: nobody can meet here any more."""
        now = self._round()
        if now is None or now.verdict is None:
            ended = Round(now.generation if now else 0, (), verdict=self.farewell)
            self.records.put(self._keys.round, codec.round_json(ended))

    def is_between_gangs(self) -> bool:
        """Whether no worker can be alive, nor is about to start."""
        return rules.is_between(self._reader.view(self.records.all()))

    def _round(self) -> Round | None:
        return self._reader.view(self.records.all()).round

    def _check(self, name: str, value: str) -> None:
        """Have nobody write what nobody could read."""
        try:
            codec.Reader(self._keys).view([Entry(name, value.encode(), 0, 0)])
        except RendezvousStateError as error:
            raise FrameError(str(error)) from error

    def _remove(self, host: str) -> None:
        del self.hosts[host]
        self.records.delete(self._keys.member(host))

    def _refusal(self, said: dict[str, Any]) -> str:
        version, run_id = said.get("hello"), _text(said, "run")
        if version != PROTOCOL:
            return f"protocol {PROTOCOL} is spoken here, not {version}: have one version of procession on all hosts"
        if run_id != self._run_id:
            return f"the hosts of the run {self._run_id!r} meet here, not those of {run_id!r}: give all the same --rdzv-id"
        if _text(said, "nnodes") != self._nnodes:
            return f"the run here was started with --nnodes {self._nnodes}, not {said['nnodes']}: give all hosts the same"
        return ""


RUN_OUT = "this host's lease has run out"
_OTHER_HUB = "the host at which all met has been started anew, and knows nothing of this run's past"


def _text(said: dict[str, Any], key: str) -> str:
    value = said.get(key, "")
    if not isinstance(value, str):
        raise FrameError(f"a hello whose {key} makes no sense")
    return value


def _seconds(said: dict[str, Any]) -> float:
    value = said.get("lease")
    if not isinstance(value, (int, float)) or not 0 < value < 10**9:
        raise FrameError("a hello whose lease makes no sense")
    return float(value)
