"""An etcd that lives as long as the run: started by the first host, where that was asked for."""

from __future__ import annotations

import math
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from procession._agent.words import host_names
from procession._etcd.client import Client
from procession._etcd.meeting import EtcdMeeting
from procession._etcd.watch import Watch
from procession._membership import codec
from procession._membership.model import Round, Verdict
from procession._os.kernel import die_with
from procession._os.ports import free_port
from procession._os.reach import addresses, is_loopback, is_this_host
from procession._store.endpoint import Endpoint
from procession._store.news import News
from procession.cli.run.gathering import at_door
from procession.cli.run.places import Place, place_at_etcd
from procession.cli.say import say
from procession.errors import (
    ProcessionError,
    RendezvousConnectionError,
    RendezvousTimeoutError,
    StartError,
    UsageError,
)

if TYPE_CHECKING:
    from procession._etcd.settings import Settings
    from procession._loop.gate import SignalGate
    from procession.cli.run.crew import HostCrew
    from procession.cli.run.places import Arrival

_READY = 20.0  # seconds in which it has to answer
_PAUSE = 0.05  # seconds between two looks whether it does
_PAUSE_FOR_OTHERS = 0.5  # where another host is to start it
_END = 5.0  # seconds between SIGTERM and SIGKILL
_BEFORE_A_WORD = 1.0


class OwnEtcd(Place):
    """An etcd that this process has started: the others meet there, and it ends with this host's part.

    Args:
        arrival: Who comes, and to which run.
        settings: Where the etcd is.
        server: The etcd.
    """

    def __init__(self, arrival: Arrival, settings: Settings, server: Server) -> None:
        nodes, run_id, member, clock, _ = arrival
        member, door = at_door(member)
        super().__init__(EtcdMeeting(settings, run_id, member, nodes.lease, clock), member, door)
        self._settings = settings
        self._keys = codec.Keys(run_id)
        self._clock = clock
        self._server = server
        self._farewell: Verdict | None = None

    def ended_by(self, signum: int) -> None:
        """Have all hosts end as this one does."""
        name = signal.Signals(signum).name
        reason = f"{self.member.host}, at which the hosts meet, was ended by {name}"
        self._farewell = Verdict(128 + signum, reason)

    def see_off(self, crew: HostCrew) -> None:
        """Stay until the others have ended.

        Raises:
            SignalException: Somebody does not want to wait.
        """
        if self._farewell is not None:
            self._end_run(self._farewell)
        news = News()
        watch = Watch(self._settings, (self._keys.members,), news.see, self._clock)
        watch.start()
        try:
            self._wait(crew, watch, news)
        finally:
            watch.close()
            news.close()

    def _wait(self, crew: HostCrew, watch: Watch, news: News) -> None:
        due = time.monotonic() + _BEFORE_A_WORD
        while self._server.is_alive:
            known, entries = watch.keys()
            others = [codec.read_member(entry).host for entry in entries]
            if known and not others:
                return
            crew.wait(news.fileno(), max(due - time.monotonic(), 0.0))
            news.take()
            if others and time.monotonic() >= due:
                names = host_names(others, len(others))
                say(f"the hosts meet here: this one ends once {names} have ended")
                due = math.inf

    def _end_run(self, verdict: Verdict) -> None:
        client = Client(self._settings)
        with suppress(ProcessionError):
            found = [
                key for key in client.read(self._keys.now).keys if key.name == self._keys.round
            ]
            now = codec.Reader(self._keys).view(found, whole=False).round
            if now is None or now.verdict is None:
                ended = Round(now.generation if now else 0, (), verdict=verdict)
                client.put(self._keys.round, codec.round_json(ended))
        client.close()

    def close(self) -> None:
        """End the etcd."""
        super().close()
        self._server.close()


class Server:
    """An etcd of one member, its data among temporary files, which ends with this process at the latest.

    Args:
        place: Where it listens.

    Raises:
        UsageError: There is no etcd.
        StartError: It cannot be started.
    """

    def __init__(self, place: Endpoint) -> None:
        program = shutil.which("etcd")
        if program is None:
            raise UsageError(
                "--rdzv-conf serve=1: there is no program etcd on this host, which is to start it. "
                "Install it (Debian: apt install etcd-server), or have the hosts meet without it: "
                f"--rdzv-backend c10d --rdzv-endpoint {place.host}:29400."
            )
        self.place = place
        self._name = f"procession-{os.urandom(8).hex()}"
        self._data = tempfile.mkdtemp(prefix="procession-etcd-")
        try:
            self._process = subprocess.Popen(
                [program, *_options(_bound(place), self._name, self._data)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for this process, which ends it last
                preexec_fn=partial(die_with, os.getpid()),  # noqa: PLW1509
            )
        except OSError as error:
            shutil.rmtree(self._data, ignore_errors=True)
            raise StartError(f"etcd could not be started: {error}") from error

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def answers(self, client: Client) -> bool:
        """Whether it is what a client speaks to; that of another agent may have taken the port.

        Raises:
            RendezvousConnectionError: Nobody has answered.
        """
        members = client.call("/v3/cluster/member/list", {}).get("members", ())
        return [member.get("name") for member in members] == [self._name]

    def last_words(self) -> str:
        """The end of its log."""
        try:
            with open(f"{self._data}/log", encoding="utf-8", errors="replace") as file:
                return file.read()[-500:].strip().rpartition("\n")[2]
        except OSError:
            return "it has left no log"

    def close(self) -> None:
        """End it, and remove its data."""
        self._process.terminate()
        try:
            self._process.wait(_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._data, ignore_errors=True)


def place_with_etcd(arrival: Arrival, settings: Settings) -> Place:
    """Join an etcd that the first host starts, or start it where that is this one.

    Args:
        arrival: Who comes, and to which run.
        settings: Where it is to be.

    Raises:
        UsageError: It cannot be as it was asked for.
        StartError: It could not be started.
        RendezvousTimeoutError: It did not answer in time.
    """
    if len(settings.endpoints) > 1 or settings.tls or settings.user:
        raise UsageError(
            "--rdzv-conf serve=1: an etcd that is started for a run is one member, without TLS and users. "
            "Leave serve out, or give one HOST:PORT alone."
        )
    place = settings.endpoints[0]
    server = None
    if is_this_host(place.host) and not _answers(place):
        server = Server(place)
    try:
        server = _await(settings, server, arrival.nodes.join, arrival.gate)
    except BaseException:
        if server is not None:
            server.close()
        raise
    if server is None:
        return place_at_etcd(arrival, settings)
    member = arrival.member
    known = member if member.address else member._replace(address=place.host)
    return OwnEtcd(arrival._replace(member=known), settings, server)


def _answers(place: Endpoint) -> bool:
    try:
        with socket.create_connection(place, 1.0):
            return True
    except OSError:
        return False


def _await(
    settings: Settings, server: Server | None, patience: float, gate: SignalGate
) -> Server | None:
    """Wait until etcd answers; a signal ends that, and is left for whoever looks.

    Returns:
        This host's etcd; None where that of another agent on this host was faster.
    """
    began, said = time.monotonic(), False
    until = began + (_READY if server is not None else patience)
    client = Client(settings)
    try:
        while not gate.pending:
            try:
                client.read("/procession/", limit=1)
                if server is not None and not server.answers(client):
                    server.close()
                    server = None
            except RendezvousConnectionError as error:
                server = _checked(server, error, time.monotonic() >= until)
                if not said and time.monotonic() >= began + _BEFORE_A_WORD:
                    say(f"waiting for {settings.endpoints[0]}, where the first host starts etcd")
                    said = True
            else:
                break
            gate.sleep(_PAUSE if server is not None else _PAUSE_FOR_OTHERS)
    finally:
        client.close()
    if server is not None and not server.is_alive:
        server.close()
        return None
    return server


def _checked(server: Server | None, error: Exception, too_late: bool) -> Server | None:
    if too_late:
        raise RendezvousTimeoutError(str(error))
    if server is None or server.is_alive:
        return server
    if not _answers(server.place):
        raise StartError(f"etcd has ended at its start: {server.last_words()}")
    server.close()  # the port was another's by then
    return None


def _bound(place: Endpoint) -> Endpoint:
    """Where it listens: etcd takes an address, not a name; all of them where a name is loopback here."""
    found = str(addresses(*place)[0][1][0])
    if is_loopback(found) and not is_loopback(place.host):
        return place._replace(host="0.0.0.0")  # noqa: S104
    return place._replace(host=found)


def _options(bound: Endpoint, name: str, data: str) -> list[str]:
    here, peer = f"http://{bound}", f"http://127.0.0.1:{free_port({bound.port})}"
    words = {
        "name": name,
        "data-dir": f"{data}/data",
        "listen-client-urls": here,
        "advertise-client-urls": here,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"{name}={peer}",
        "heartbeat-interval": 50,  # ms, as the next; alone it waits for nobody but itself
        "election-timeout": 500,
        "logger": "zap",
        "log-outputs": f"{data}/log",
    }
    return [f"--{name}={value}" for name, value in words.items()]
