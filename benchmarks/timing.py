"""Samples taken in turn, and what is said of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

OURS = "procession"


@dataclass(frozen=True)
class Benchmark:
    """What is measured, of whom, and what is to be reached; less is better in all of them.

    Attributes:
        name: Of the file in ``results/``.
        title: For the table.
        unit: Of a sample.
        peers: A call for each peer that measures it once; ``OURS`` is one of them.
        times_better: The other peer's median is to be at least so many times ours.
        at_most: Our median is to be no more than this; None for no such limit.
    """

    name: str
    title: str
    unit: str
    peers: dict[str, Callable[[], float]]
    times_better: float
    at_most: float | None = None


@dataclass(frozen=True)
class Outcome:
    """The samples of a benchmark, by peer."""

    benchmark: Benchmark
    samples: dict[str, list[float]]

    def median(self, peer: str) -> float:
        return median(self.samples[peer])

    def ratio(self) -> float:
        """How many times ours the other peer's median is; of several, the best of them."""
        others = [self.median(peer) for peer in self.samples if peer != OURS]
        return min(others) / self.median(OURS)

    def reached(self) -> bool:
        limit = self.benchmark.at_most
        within = limit is None or self.median(OURS) <= limit
        return within and self.ratio() >= self.benchmark.times_better

    def target(self) -> str:
        limit, unit = self.benchmark.at_most, self.benchmark.unit
        text = f">= {self.benchmark.times_better:g}x"
        return text if limit is None else f"{text}, <= {limit:g} {unit}"


def measure(benchmark: Benchmark, rounds: int) -> Outcome:
    """Take one sample of each peer in turn, ``rounds`` times, after a round that is not counted.

    In turn, so that what else the machine does falls on all of them alike.
    """
    samples: dict[str, list[float]] = {peer: [] for peer in benchmark.peers}
    for counted in [False, *[True] * rounds]:
        for peer, sample in benchmark.peers.items():
            value = sample()
            if counted:
                samples[peer].append(value)
    return Outcome(benchmark, samples)
