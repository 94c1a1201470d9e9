"""The events themselves: plain data that goes to JSON and back. Pure."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TypeAlias

__all__ = ["Event", "EventMetadataValue", "EventSource", "NodeState", "RdzvEvent"]

EventMetadataValue: TypeAlias = "str | int | float | bool | None"


class EventSource(str, Enum):
    """Who tells of an event."""

    AGENT = "AGENT"
    WORKER = "WORKER"


class NodeState(str, Enum):
    """Where a node stands in a rendezvous."""

    INIT = "INIT"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


@dataclass
class Event:
    """Something that happened in a run.

    Args:
        name: What happened, such as ``torchelastic.worker.status.FAILED``.
        source: Who tells of it.
        timestamp: Wall-clock milliseconds since the epoch; 0 where nobody took the time.
        metadata: What else is known.
    """

    name: str
    source: EventSource
    timestamp: int = 0
    metadata: dict[str, EventMetadataValue] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.serialize()

    @staticmethod
    def deserialize(data: str | Event) -> Event:
        """Make an event of its JSON text; an event is handed back as it is.

        Raises:
            ValueError: It is not JSON.
            KeyError: Its source is missing or unknown.
            TypeError: It has other keys than an event.
        """
        if isinstance(data, Event):
            return data
        fields = json.loads(data)
        return Event(**{**fields, "source": EventSource[fields["source"]]})

    def serialize(self) -> str:
        """The event as one line of JSON."""
        return json.dumps(asdict(self))


@dataclass
class RdzvEvent:
    """Something that happened in a rendezvous.

    Args:
        name: What was being done.
        run_id: The run id of the rendezvous.
        message: What happened, for a person.
        hostname: The node's host name.
        pid: The process that takes part for the node.
        node_state: Where the node stands.
        master_endpoint: ``HOST:PORT`` of the store, if it is known.
        rank: The node's rank, if it is known.
        local_id: Which of the process's nodes it is, if there are several.
        error_trace: The traceback, if this tells of an error.
    """

    name: str
    run_id: str
    message: str
    hostname: str
    pid: int
    node_state: NodeState
    master_endpoint: str = ""
    rank: int | None = None
    local_id: int | None = None
    error_trace: str = ""

    def __str__(self) -> str:
        return self.serialize()

    @staticmethod
    def deserialize(data: str | RdzvEvent) -> RdzvEvent:
        """Make an event of its JSON text; an event is handed back as it is.

        Raises:
            ValueError: It is not JSON.
            KeyError: Its node state is missing or unknown.
            TypeError: It has other keys than such an event.
        """
        if isinstance(data, RdzvEvent):
            return data
        fields = json.loads(data)
        return RdzvEvent(**{**fields, "node_state": NodeState[fields["node_state"]]})

    def serialize(self) -> str:
        """The event as one line of JSON."""
        return json.dumps(asdict(self))
