"""An agent looks after the workers of its host: it has them meet others, watches and restarts them.

    spec = WorkerSpec(role="trainer", local_world_size=4, entrypoint=train, rdzv_handler=handler)
    agent = LocalElasticAgent(spec, logs_specs=DefaultLogsSpecs())
    result = agent.run()
    if result.is_failed():
        print(result.failures)  # by global rank
    else:
        print(result.return_values[0])

The names are those of ``torch.distributed.elastic.agent.server``.
"""

from __future__ import annotations

from procession.agent.server.api import (
    ElasticAgent,
    RunResult,
    SimpleElasticAgent,
    Worker,
    WorkerGroup,
    WorkerSpec,
    WorkerState,
)
from procession.agent.server.local_elastic_agent import (
    TORCHELASTIC_ENABLE_FILE_TIMER,
    TORCHELASTIC_TIMER_FILE,
    LocalElasticAgent,
)
from procession.agent.server.restarts import RestartPolicy

__all__ = [
    "TORCHELASTIC_ENABLE_FILE_TIMER",
    "TORCHELASTIC_TIMER_FILE",
    "ElasticAgent",
    "LocalElasticAgent",
    "RestartPolicy",
    "RunResult",
    "SimpleElasticAgent",
    "Worker",
    "WorkerGroup",
    "WorkerSpec",
    "WorkerState",
]
