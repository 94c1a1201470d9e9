"""A job that may be preempted: asked to end, it saves what it has, and goes on from there next time.

    procession run --nproc-per-node 4 examples/preemption.py state.json [STEPS]

then, from another terminal, ``kill -USR1`` the launcher, or ``touch procession-runs/latest/stop``. The
run ends with status 75; started again it goes on at the step it had reached.

All ranks have to leave at the same step: one that is missing from a collective leaves the others
hanging in it. So rank 0 alone looks for the file, and its answer travels with what the ranks exchange
at every step anyway. And nobody leaves before the state is saved: the first that does ends the others.
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np

import digits

STOP_FILE = Path(os.environ.get("PROCESSION_STOP_FILE", "/nonexistent"))
COME_AGAIN = 75  # EX_TEMPFAIL of sysexits.h: what a batch script may take for "requeue me"
STEPS = int(sys.argv[2]) if sys.argv[2:] else 200


def load(state):
    """Return the step to begin with and the weights, as the run before has left them."""
    if not state.exists():
        return 0, np.zeros((65, 10))
    saved = json.loads(state.read_text())
    return saved["step"], np.array(saved["weights"])


def save(state, step, weights):
    """Write the state, whole or not at all: the time may be over in the middle of it."""
    draft = state.with_suffix(".tmp")
    draft.write_text(json.dumps({"step": step, "weights": weights.tolist()}))
    draft.replace(state)


def train(state):
    (images, labels), _ = digits.load()
    peers = digits.connect(time.monotonic() + digits.PATIENCE)
    begin, weights = load(state)
    if digits.RANK == 0:
        print(f"begins with step {begin}", flush=True)
    for step in range(begin, STEPS):
        weights, _ = digits.descend(weights, images, labels)
        asked = float(digits.RANK == 0 and STOP_FILE.exists())
        together = digits.mean_over_ranks(np.append(weights, asked), peers)
        weights, asked = together[:-1].reshape(65, 10), together[-1]
        if asked:
            if digits.RANK == 0:
                save(state, step + 1, weights)
                print(f"saved after step {step}", flush=True)
            digits.mean_over_ranks(weights, peers)
            sys.exit(COME_AGAIN)
    if digits.RANK == 0:
        print(f"all {STEPS} steps are done", flush=True)


if __name__ == "__main__":
    train(Path(sys.argv[1]))
