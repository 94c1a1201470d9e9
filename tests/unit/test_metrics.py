"""Metrics: who takes which group's, and what the decorators measure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from procession import metrics
from procession.metrics import MetricData, MetricHandler, api


class Kept(MetricHandler):
    def __init__(self) -> None:
        self.data: list[MetricData] = []

    def emit(self, metric_data: MetricData) -> None:
        self.data.append(metric_data)

    @property
    def values(self) -> dict[str, int]:
        return {f"{data.group_name}/{data.name}": data.value for data in self.data}


@pytest.fixture(autouse=True)
def _fresh_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "_registry", api._Registry())


def test_groups_go_to_their_handlers() -> None:
    mine, others = Kept(), Kept()
    metrics.configure(mine, "mine")
    metrics.configure(others)
    metrics.put_metric("a", 1, "mine")
    metrics.put_metric("b", 2)
    assert mine.values == {"mine/a": 1}
    assert others.values == {"torchelastic/b": 2}


def test_a_stream_is_bound_to_the_handler_it_was_made_with() -> None:
    first, second = Kept(), Kept()
    metrics.configure(first, "g")
    stream = metrics.getStream("g")
    metrics.configure(second, "g")
    stream.add_value("a", 1)
    assert (first.values, second.values) == ({"g/a": 1}, {})


def test_prof_tells_success_and_failure() -> None:
    kept = Kept()
    metrics.configure(kept, "g")

    class Job:
        @metrics.prof(group="g")
        def run(self, n: int) -> float:
            return 1 / n

    assert Job().run(2) == 0.5
    with pytest.raises(ZeroDivisionError):
        Job().run(0)
    name = "g/test_prof_tells_success_and_failure.<locals>.Job.run"
    assert kept.values[f"{name}.success"] == kept.values[f"{name}.failure"] == 1
    assert [data.name.endswith("duration.ms") for data in kept.data] == [False, True, False, True]


@metrics.prof
def bare() -> None:
    """Named by the last part of its module."""


def test_prof_names_a_function_by_its_module() -> None:
    kept = Kept()
    metrics.configure(kept)
    bare()
    assert "torchelastic/test_metrics.bare.success" in kept.values


def test_what_torch_deprecates_warns() -> None:
    kept = Kept()
    metrics.configure(kept, "g")
    with pytest.warns(FutureWarning, match="put_metric"):
        metrics.publish_metric("g", "a", 1)
    with pytest.warns(FutureWarning, match="prof"):
        decorate = metrics.profile("g")
    decorate(bare)()
    assert {"g/a", "g/bare.success", "g/bare.duration.ms"} == set(kept.values)


def test_handlers_write_what_they_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = MetricData(1.5, "g", "n", 3)
    metrics.ConsoleMetricHandler().emit(data)
    metrics.NullMetricHandler().emit(data)
    assert capsys.readouterr().out == "[1.5][g]: n=3\n"
    path = tmp_path / "m.jsonl"
    for _ in range(2):
        metrics.JsonLinesMetricHandler(str(path)).emit(data)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [{"timestamp": 1.5, "group_name": "g", "name": "n", "value": 3}] * 2


def test_a_launcher_may_initialize() -> None:
    metrics.initialize_metrics()
    metrics.initialize_metrics(metrics.MetricsConfig({"a": "b"}))
    assert metrics.MetricsConfig().params == {}
