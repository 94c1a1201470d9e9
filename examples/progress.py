"""Progress bars and colours of many ranks, one of which fails: ``procession run -n 8 examples/progress.py``."""

import os
import sys
import time

RANK = int(os.environ["RANK"])
GREEN, PLAIN = "\x1b[32m", "\x1b[0m"
STEPS = 60


def epoch(number: int) -> None:
    for step in range(STEPS + 1):
        loss = 2 / (1 + step / 20 + number)
        done = "━" * (step * 24 // STEPS)
        text = f"epoch {number} {done:<24} {step}/{STEPS} loss {loss:.3f}"
        print(f"\r{text}", end="", file=sys.stderr, flush=True)
        time.sleep(0.02 + RANK * 0.002)
        if RANK == 5 and number == 1 and step == 40:
            raise ValueError("the loss of shard 5 is not a number")
    print(file=sys.stderr)
    print(f"{GREEN}saved{PLAIN} epoch_{number}.{RANK}.bin", flush=True)


print(f"shard {RANK} of 8: 12500 images", flush=True)
for n in range(2):
    epoch(n)
