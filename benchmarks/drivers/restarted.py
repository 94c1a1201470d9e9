"""A worker that tells when it runs, the first time waits for the others, and then fails.

``restarted.py FILE``: each rank adds a line "attempt seconds" when torch is imported; rank 0 of the
first attempt adds "died seconds" when all have. Seconds are CLOCK_MONOTONIC.
"""

import os
import sys
import time

import torch  # noqa: F401


def tell(what):
    with open(sys.argv[1], "a") as file:
        file.write(f"{what} {time.monotonic()}\n")


def lines():
    with open(sys.argv[1]) as file:
        return len(file.readlines())


attempt = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
tell(attempt)
if attempt == 0:
    while lines() < int(os.environ["WORLD_SIZE"]):
        time.sleep(0.01)
    if os.environ["RANK"] == "0":
        tell("died")
        os._exit(1)
    time.sleep(1000)
