"""Run the benchmarks, print the table, keep the results."""

from __future__ import annotations

import argparse

from benchmarks import blame, books, functions, gangs, hosts, imports, launch, tails, tee
from benchmarks.report import keep, machine, table
from benchmarks.timing import measure

TOPICS = (imports, launch, gangs, blame, tee, tails, books, functions, hosts)
BENCHMARKS = {benchmark.name: benchmark for topic in TOPICS for benchmark in topic.BENCHMARKS}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--rounds", type=int, default=7, help="samples of each peer (5 or more)")
    options = parser.parse_args()
    chosen = [name for name in BENCHMARKS if any(word in name for word in options.names or [""])]
    if not chosen:
        parser.error(f"no benchmark is named so; there are {', '.join(BENCHMARKS)}")
    if options.rounds < 5:
        parser.error(f"--rounds {options.rounds}: a median of fewer than 5 samples says little")
    facts = machine()
    print(*(f"{key}: {value}" for key, value in facts.items()), sep="\n")
    for name in chosen:
        outcome = measure(BENCHMARKS[name], options.rounds)
        keep(outcome, facts)
        print(f"\n{table([outcome])}", flush=True)


if __name__ == "__main__":
    main()
