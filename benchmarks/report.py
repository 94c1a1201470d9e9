"""The table that is printed and the file that is kept."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.timing import Outcome

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """What a reader needs to know of the machine before believing a figure."""
    return {
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
        "versions": {name: version(name) for name in ("procession", "torch")},
    }


def cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def as_json(outcome: Outcome, facts: dict[str, Any]) -> dict[str, Any]:
    return {
        "benchmark": outcome.benchmark.name,
        "what": outcome.benchmark.title,
        "unit": outcome.benchmark.unit,
        "machine": facts,
        "peers": {
            peer: {
                "median": outcome.median(peer),
                "min": min(samples),
                "max": max(samples),
                "samples": samples,
            }
            for peer, samples in outcome.samples.items()
        },
        "missing": outcome.benchmark.missing,
        "times_better": {peer: outcome.ratio(peer) for peer in outcome.others()},
        "wanted": {peer: outcome.benchmark.wants(peer) for peer in outcome.others()},
        "at_most": outcome.benchmark.at_most,
        "reached": outcome.reached(),
    }


def keep(outcome: Outcome, facts: dict[str, Any]) -> None:
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(as_json(outcome, facts), indent=2)
    (RESULTS / f"{outcome.benchmark.name}.json").write_text(text + "\n")


def table(outcomes: Iterable[Outcome]) -> str:
    """A line for each peer of each benchmark: median, least and greatest; then the verdict."""
    return "\n".join(line for outcome in outcomes for line in lines(outcome))


def lines(outcome: Outcome) -> Iterable[str]:
    unit = outcome.benchmark.unit
    yield outcome.benchmark.title
    for peer, samples in outcome.samples.items():
        spread = f"({min(samples):.4g} to {max(samples):.4g}, n={len(samples)})"
        yield f"  {peer:<12}{outcome.median(peer):>10.4g} {unit:<4}{spread}"
    for peer, how in outcome.benchmark.missing.items():
        yield f"  {peer:<12}not installed here: {how}"
    yield "  " + "; ".join(verdict(outcome))


def verdict(outcome: Outcome) -> Iterable[str]:
    for peer in outcome.others():
        wanted = outcome.benchmark.wants(peer)
        yield f"{outcome.ratio(peer):.3g} times better than {peer} (wanted: {wanted:g})"
    if (limit := outcome.benchmark.at_most) is not None:
        yield f"wanted: at most {limit:g} {outcome.benchmark.unit}"
    yield "reached" if outcome.reached() else "NOT reached"
