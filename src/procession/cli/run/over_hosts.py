"""A run over several hosts: this host's agent around its workers."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from procession._agent.agent import Agent, Patience
from procession._membership.model import Member, Terms
from procession._os.steady import SteadyClock
from procession._report.hosts import read_whole, report_of
from procession._report.render import render_report
from procession._restarts.policy import RestartPolicy
from procession.cli.run.crew import HostCrew
from procession.cli.run.execute import Run, signal_exception
from procession.cli.run.gathering import GatheringCrew
from procession.cli.run.places import Arrival, Place, place_at_etcd, place_at_hub
from procession.cli.say import columns, say, write
from procession.errors import (
    RendezvousConnectionError,
    RunFailedError,
)
from procession.multiprocessing.supervision import SignalException

if TYPE_CHECKING:
    from procession._membership.machine import End
    from procession._membership.meeting import Meeting
    from procession._membership.model import Verdict
    from procession.cli.options.nodes import Nodes
    from procession.multiprocessing import PContext, Supervision


class RunOverHosts(Run):
    """One host's part of a run."""

    _meeting: Meeting

    def make_attempts(self) -> None:
        """Meet the others, and go through gangs with them until the run is over.

        Raises:
            RunFailedError: It has failed, on whichever host.
            SignalException: A signal ended this host's part.
            ProcessionError: This host's part could not be started or carried on.
        """
        nodes = self.plan.nodes
        if nodes is None:
            raise ValueError("a plan for this host alone")
        clock = SteadyClock()
        if nodes.found and nodes.node_rank == 0:
            say(nodes.found)
        with self.gate.held():
            member = self._member(nodes)
            place = self._place(Arrival(nodes, self.run_id, member, clock, self.gate))
            try:
                if self.gate.pending:
                    raise signal_exception(self.gate.take_pending()[0])
                self._take_part(nodes, place, clock)
            finally:
                place.close()

    def _take_part(self, nodes: Nodes, place: Place, clock: SteadyClock) -> None:
        self._meeting = place.meeting

        def ending(signum: int) -> SignalException:
            place.ended_by(signum)
            return signal_exception(signum)

        crew = HostCrew(self, self.plan, self.gate, ending, clock)
        agent = Agent(
            place.member.id,
            self._terms(nodes),
            place.meeting,
            GatheringCrew(crew, place.door, lambda: place.meeting.is_good, nodes.lease),
            Patience(nodes.join, nodes.last_call),
            say,
            clock,
            SignalException,
        )
        try:
            end = agent.run()
        finally:
            if agent.has_left:
                place.see_off(crew)
        conclude(end, self.plan.title)

    def _place(self, arrival: Arrival) -> Place:
        nodes = arrival.nodes
        if nodes.hub is not None:
            return place_at_hub(arrival, nodes.hub)
        from procession._etcd.access import settings_for

        settings = settings_for(nodes.endpoint, nodes.conf, os.environ)
        if nodes.serves:
            from procession.cli.run.own_etcd import place_with_etcd

            return place_with_etcd(arrival, settings)
        return place_at_etcd(arrival, settings)

    def _terms(self, nodes: Nodes) -> Terms:
        policy = self.plan.restarts or RestartPolicy()
        return Terms(nodes.least, nodes.most, self.plan.max_restarts, policy)

    def _supervision(self) -> Supervision:
        """The guardian ends the workers of a host that could not say in time that it lives."""
        return replace(super()._supervision(), until=lambda: self._meeting.kill_at_ns)

    def start(self, envs: dict[int, dict[str, str]], prefixes: dict[int, str] | None) -> PContext:
        """Start this host's part of a gang; how we are let in at etcd is not its business."""
        nodes = self.plan.nodes
        if nodes is not None and nodes.hub is None:
            from procession._etcd.settings import hidden

            envs = {rank: {**env, **hidden(os.environ)} for rank, env in envs.items()}
        return super().start(envs, prefixes)

    def _member(self, nodes: Nodes) -> Member:
        host = os.uname().nodename
        return Member(
            id=f"{host}-{os.getpid()}-{os.urandom(4).hex()}",
            host=host,
            since=0,
            workers=len(self.plan.environments),
            node_rank=nodes.node_rank,
            address=nodes.address,
        )


def conclude(end: End, name: str) -> None:
    """Make of an end what the command ends with.

    Args:
        end: How this host's part has ended.
        name: What was run.

    Raises:
        RunFailedError: The run has failed.
        RendezvousConnectionError: It goes on without this host.
    """
    verdict = end.verdict
    if verdict is None:
        raise RendezvousConnectionError(
            f"{end.reason}. The workers of this host have been killed: the others may go on "
            "without it."
        )
    if verdict.status:
        _show(verdict, name)
        raise RunFailedError(
            f"the run has failed: {verdict.reason}", verdict.status, verdict.report
        )


def _show(verdict: Verdict, name: str) -> None:
    """Print the report, the same on every host; or what is said where no worker has failed."""
    whole = read_whole(verdict.report)
    report = report_of(whole, name, verdict.reason)
    if report.failures:
        write(f"\n{render_report(report, width=columns())}\n")
    elif whole.root is not None and whole.root.text:
        write(f"{whole.root.text}\n")
