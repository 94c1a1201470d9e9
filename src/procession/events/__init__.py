"""What happens in a run, as records for programs.

    from procession import events

    event = events.Event(name="checkpoint", source=events.EventSource.WORKER, metadata={"step": 4000})
    events.record(event, "jsonl:/var/log/train/events.jsonl")

A destination is a name: ``null`` drops events, ``console`` writes them to stderr, and
``jsonl:PATH`` appends one JSON object a line to a file. The names are those of
``torch.distributed.elastic.events``.
"""

from __future__ import annotations

from procession.events.api import Event, EventMetadataValue, EventSource, NodeState, RdzvEvent
from procession.events.handlers import get_logging_handler
from procession.events.recording import construct_and_record_rdzv_event, record, record_rdzv_event

__all__ = [
    "Event",
    "EventMetadataValue",
    "EventSource",
    "NodeState",
    "RdzvEvent",
    "construct_and_record_rdzv_event",
    "get_logging_handler",
    "record",
    "record_rdzv_event",
]
