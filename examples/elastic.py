"""A training loop that survives its workers and hosts: steps, checkpoints, and where to go on from.

    procession run -n 4 --max-restarts 3 examples/elastic.py checkpoints

and on several hosts that share the directory (docs/elastic.md):

    procession run -n 4 --nnodes 2:4 --max-restarts 3 --rdzv-backend c10d --rdzv-endpoint gpu1:29400 \
        examples/elastic.py /shared/checkpoints

or, to outlive the loss of any of them, --rdzv-backend etcd --rdzv-endpoint etcd1:2379 --rdzv-id line.

It fits a line by gradient descent, without torch. Rank 0 keeps a checkpoint, written aside and renamed,
so that it is whole whenever the gang is killed; whoever starts reads it and goes on after it.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time

STEPS = int(os.environ.get("STEPS", "200"))
PAUSE = float(os.environ.get("PAUSE", "0.01"))  # seconds that a step takes
KEEP_EVERY = 10


def load(path: str) -> tuple[int, list[float]]:
    """The steps that were made, and the weights after them."""
    try:
        with open(path, encoding="utf-8") as file:
            kept = json.load(file)
        return kept["steps"], kept["weights"]
    except FileNotFoundError:
        return 0, [0.0, 0.0]


def save(path: str, steps: int, weights: list[float]) -> None:
    """Keep a checkpoint: the old one is there until the new one is whole."""
    aside = f"{path}.{os.getpid()}"
    with open(aside, "w", encoding="utf-8") as file:
        json.dump({"steps": steps, "weights": weights}, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)


def gradient(step: int, weights: list[float]) -> list[float]:
    """Of the squared error on some points of the line y = 3 x - 1, the same for a step on every rank."""
    points = random.Random(step)
    xs = [points.uniform(-1, 1) for _ in range(32)]
    errors = [weights[0] * x + weights[1] - (3 * x - 1) for x in xs]
    return [
        2 * sum(error * x for error, x in zip(errors, xs, strict=True)) / len(xs),
        2 * sum(errors) / len(xs),
    ]


def main(directory: str) -> None:
    rank, generation = os.environ["RANK"], os.environ["TORCHELASTIC_RESTART_COUNT"]
    os.makedirs(directory, exist_ok=True)
    path = os.path.join(directory, "checkpoint.json")
    done, weights = load(path)
    print(
        f"gang {generation} of {os.environ['WORLD_SIZE']}: rank {rank} goes on after {done}",
        flush=True,
    )
    for step in range(done, STEPS):
        weights = [w - 0.1 * g for w, g in zip(weights, gradient(step, weights), strict=True)]
        time.sleep(PAUSE)
        if rank == "0" and (step + 1) % KEEP_EVERY == 0:
            save(path, step + 1, weights)
    if rank == "0":
        save(path, STEPS, weights)
        print(f"y = {weights[0]:.2f} x + {weights[1]:.2f} after {STEPS} steps", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
