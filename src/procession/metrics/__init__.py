"""Numbers about a run, handed to whoever has asked for their group.

    from procession import metrics

    metrics.configure(metrics.ConsoleMetricHandler(), group="my_app")
    metrics.put_metric("steps", 4000, "my_app")


    @metrics.prof(group="my_app")
    def load_batch(): ...  # my_module.load_batch.success, .failure and .duration.ms

Nothing is kept unless a handler was configured. The group ``torchelastic`` holds what procession
itself measures, under torch's names. The names are those of ``torch.distributed.elastic.metrics``.
"""

from __future__ import annotations

from procession.metrics.api import (
    ConsoleMetricHandler,
    MetricData,
    MetricHandler,
    MetricsConfig,
    MetricStream,
    NullMetricHandler,
    configure,
    get_elapsed_time_ms,
    getStream,
    prof,
    profile,
    publish_metric,
    put_metric,
)
from procession.metrics.jsonl import JsonLinesMetricHandler

__all__ = [
    "ConsoleMetricHandler",
    "JsonLinesMetricHandler",
    "MetricData",
    "MetricHandler",
    "MetricStream",
    "MetricsConfig",
    "NullMetricHandler",
    "configure",
    "getStream",
    "get_elapsed_time_ms",
    "initialize_metrics",
    "prof",
    "profile",
    "publish_metric",
    "put_metric",
]


def initialize_metrics(cfg: MetricsConfig | None = None) -> None:
    """Called by a launcher before it starts; as in torch there is nothing to be done.

    Args:
        cfg: ``LaunchConfig.metrics_cfg``; its keys have no meaning of their own.
    """
    _ = cfg
