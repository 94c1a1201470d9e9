"""Metrics in a file, one JSON object a line."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from procession._os.append import append_line
from procession.metrics.api import MetricHandler

if TYPE_CHECKING:
    from procession.metrics.api import MetricData

__all__ = ["JsonLinesMetricHandler"]


class JsonLinesMetricHandler(MetricHandler):
    """Appends each value to a file, as one line; several processes may write to the same one.

    Args:
        path: The file, made where it is missing.
    """

    def __init__(self, path: str) -> None:
        self._path = os.path.abspath(path)

    def emit(self, metric_data: MetricData) -> None:
        """Append the value.

        Raises:
            OSError: The file cannot be written.
        """
        append_line(self._path, json.dumps(metric_data._asdict()))
