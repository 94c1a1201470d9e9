"""Samples taken in turn, and what is said of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

OURS = "procession"


@dataclass(frozen=True)
class Benchmark:
    """What is measured, of whom, and what is to be reached.

    Attributes:
        name: Of the file in ``results/``.
        title: For the table.
        unit: Of a sample.
        peers: A call for each peer that measures it once; ``OURS`` is one of them.
        times_better: Our median is to be at least so many times better than each peer's.
        at_most: Our median is to be no more than this; None for no such limit.
        wanted: For some peers a number of their own in place of ``times_better``; 0 for a peer that is
            shown for orientation.
        missing: Peers that are not installed here, with what installs them.
        greater: The greater sample is the better one; else the smaller is.
        rounds: The most samples of each peer, where one takes long.
        warm_up: Whether a first round is not counted.
    """

    name: str
    title: str
    unit: str
    peers: dict[str, Callable[[], float]]
    times_better: float = 0.0
    at_most: float | None = None
    wanted: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    greater: bool = False
    rounds: int = 99
    warm_up: bool = True

    def wants(self, peer: str) -> float:
        """How many times better than a peer we are to be."""
        return self.wanted.get(peer, self.times_better)


@dataclass(frozen=True)
class Outcome:
    """The samples of a benchmark, by peer."""

    benchmark: Benchmark
    samples: dict[str, list[float]]

    def median(self, peer: str) -> float:
        return median(self.samples[peer])

    def others(self) -> list[str]:
        """The peers that we are to be so and so many times better than."""
        return [peer for peer in self.samples if peer != OURS and self.benchmark.wants(peer)]

    def ratio(self, peer: str) -> float:
        """How many times better than a peer's our median is."""
        ours, theirs = self.median(OURS), self.median(peer)
        return ours / theirs if self.benchmark.greater else theirs / ours

    def reached(self) -> bool:
        limit = self.benchmark.at_most
        within = limit is None or self.median(OURS) <= limit
        return within and all(
            self.ratio(peer) >= self.benchmark.wants(peer) for peer in self.others()
        )


def measure(benchmark: Benchmark, rounds: int) -> Outcome:
    """Take one sample of each peer in turn, ``rounds`` times, mostly after one that is not counted.

    In turn, so that what else the machine does falls on all of them alike.
    """
    samples: dict[str, list[float]] = {peer: [] for peer in benchmark.peers}
    for counted in [*[False] * benchmark.warm_up, *[True] * min(rounds, benchmark.rounds)]:
        for peer, sample in benchmark.peers.items():
            value = sample()
            if counted:
                samples[peer].append(value)
    return Outcome(benchmark, samples)
