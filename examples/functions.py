"""The library: a function on four ranks, its return values, and its output in files.

python examples/functions.py
"""

import os
import sys

from procession.multiprocessing import DefaultLogsSpecs, Std, start_processes


def count_primes(start, stop):
    print(f"rank {os.environ['RANK']} looks at {start} to {stop}")
    return sum(all(n % d for d in range(2, int(n**0.5) + 1)) for n in range(max(start, 2), stop))


def main():
    context = start_processes(
        name="primes",
        entrypoint=count_primes,
        args={rank: (rank * 2500, rank * 2500 + 2500) for rank in range(4)},
        envs={rank: {"RANK": str(rank)} for rank in range(4)},
        logs_specs=DefaultLogsSpecs(tee=Std.ALL),
    )
    result = context.wait()
    if result.is_failed():
        first = min(result.failures.values(), key=lambda failure: failure.timestamp)
        sys.exit(f"rank {first.local_rank} failed: {first.message}")
    print(f"primes by rank: {result.return_values}")
    print(f"primes below 10000: {sum(result.return_values.values())}")


if __name__ == "__main__":
    main()
