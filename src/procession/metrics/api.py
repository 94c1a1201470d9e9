"""Putting numbers, and who takes them."""

from __future__ import annotations

import abc
import sys
import time
import warnings
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "ConsoleMetricHandler",
    "MetricData",
    "MetricHandler",
    "MetricStream",
    "MetricsConfig",
    "NullMetricHandler",
    "configure",
    "getStream",
    "get_elapsed_time_ms",
    "prof",
    "profile",
    "publish_metric",
    "put_metric",
]


class MetricData(NamedTuple):
    """One value.

    Attributes:
        timestamp: Wall-clock seconds since the epoch.
        group_name: Whose metric it is.
        name: Which of the group's metrics.
        value: The number.
    """

    timestamp: float
    group_name: str
    name: str
    value: int


class MetricsConfig:
    """What a launcher was told about metrics.

    Args:
        params: Keys and values for whoever sets metrics up.
    """

    __slots__ = ["params"]

    def __init__(self, params: dict[str, str] | None = None) -> None:
        self.params = {} if params is None else params


class MetricHandler(abc.ABC):
    """Takes the values of the groups that it was configured for."""

    @abc.abstractmethod
    def emit(self, metric_data: MetricData) -> None:
        """Take one value; called in the thread that put it."""


class ConsoleMetricHandler(MetricHandler):
    """Writes each value to stdout, as ``[timestamp][group]: name=value``."""

    def emit(self, metric_data: MetricData) -> None:
        """Write one line."""
        when, group, name, value = metric_data
        sys.stdout.write(f"[{when}][{group}]: {name}={value}\n")


class NullMetricHandler(MetricHandler):
    """Drops all values."""

    def emit(self, metric_data: MetricData) -> None:
        """Do nothing."""


class MetricStream:
    """One group's way to its handler.

    Args:
        group_name: The group.
        handler: Who takes its values.
    """

    def __init__(self, group_name: str, handler: MetricHandler) -> None:
        self.group_name = group_name
        self.handler = handler

    def add_value(self, metric_name: str, metric_value: int) -> None:
        """Hand a value of now to the handler."""
        data = MetricData(time.time(), self.group_name, metric_name, metric_value)
        self.handler.emit(data)


class _Registry:
    """Who takes whose values; a process has one, as it has one `logging`."""

    def __init__(self) -> None:
        self.by_group: dict[str, MetricHandler] = {}
        self.of_others: MetricHandler = NullMetricHandler()


_registry = _Registry()


def configure(handler: MetricHandler, group: str | None = None) -> None:
    """Say who takes values.

    Args:
        handler: Who takes them.
        group: Whose values; None for those of all groups that nobody was named for.
    """
    if group is None:
        _registry.of_others = handler
    else:
        _registry.by_group[group] = handler


def getStream(group: str) -> MetricStream:  # noqa: N802 - torch's name
    """A group's way to its handler, as it is configured now."""
    return MetricStream(group, _registry.by_group.get(group, _registry.of_others))


def put_metric(metric_name: str, metric_value: int, metric_group: str = "torchelastic") -> None:
    """Put a value.

    Args:
        metric_name: Which metric.
        metric_value: Its value now.
        metric_group: Whose metric it is.
    """
    getStream(metric_group).add_value(metric_name, metric_value)


def publish_metric(metric_group: str, metric_name: str, metric_value: int) -> None:
    """Put a value; deprecated by torch for ``put_metric``."""
    _warn_of("publish_metric", "put_metric")
    getStream(metric_group).add_value(metric_name, metric_value)


def prof(fn: Callable[..., Any] | None = None, group: str = "torchelastic") -> Any:
    """Decorate a function to have its calls counted and timed.

    Puts ``NAME.success`` or ``NAME.failure`` with 1, and ``NAME.duration.ms``. NAME is
    ``class.function``, or ``module.function`` with the last part of the module's name.

    Args:
        fn: The function, where the decorator stands without parentheses.
        group: Whose metrics these are.

    Example:
        ::

            @prof
            def step(): ...


            @prof(group="agent")
            def join(): ...
    """

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        return _measured(function, group, _metric_name(function))

    return wrap if fn is None else wrap(fn)


def profile(group: str | None = None) -> Any:
    """Decorate a function likewise, its bare name as NAME; deprecated by torch for ``prof``.

    Args:
        group: Whose metrics these are.
    """
    _warn_of("profile", "prof")

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        return _measured(function, str(group), function.__name__)

    return wrap


def get_elapsed_time_ms(start_time_in_seconds: float) -> int:
    """Milliseconds since a wall-clock time in seconds, as ``time.time()`` gives it."""
    return int((time.time() - start_time_in_seconds) * 1000)


def _measured(function: Callable[..., Any], group: str, name: str) -> Callable[..., Any]:
    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        began, outcome = time.monotonic_ns(), "failure"
        try:
            result = function(*args, **kwargs)
            outcome = "success"
            return result
        finally:
            put_metric(f"{name}.{outcome}", 1, group)
            put_metric(f"{name}.duration.ms", (time.monotonic_ns() - began) // 1_000_000, group)

    return wrapper


def _metric_name(function: Callable[..., Any]) -> str:
    name = function.__qualname__
    if "." in name or not function.__module__:
        return name
    return f"{function.__module__.rpartition('.')[2]}.{name}"


def _warn_of(old: str, new: str) -> None:
    warnings.warn(f"{old} is deprecated, use {new} instead", FutureWarning, stacklevel=3)
