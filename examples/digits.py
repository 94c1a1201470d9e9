"""Data-parallel training without a framework: every rank learns from its share of the digits.

    procession run --nproc-per-node 4 examples/digits.py

After each round over its own data a rank's weights become the mean of all ranks' weights. They
meet at MASTER_ADDR:MASTER_PORT, where rank 0 listens.
"""

import os
import socket
import time
from contextlib import suppress

import numpy as np
from sklearn.datasets import load_digits

RANK = int(os.environ["RANK"])
WORLD_SIZE = int(os.environ["WORLD_SIZE"])
MASTER = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
PATIENCE = 60  # seconds for all ranks to come


def connect(deadline):
    """Return what rank 0 needs to talk to every other rank, and the others to rank 0."""
    if RANK == 0:
        with socket.create_server(MASTER) as server:
            server.settimeout(deadline - time.monotonic())
            return [server.accept()[0].makefile("rwb") for _ in range(WORLD_SIZE - 1)]
    while time.monotonic() < deadline:
        with suppress(ConnectionRefusedError):  # rank 0 does not listen yet
            return [socket.create_connection(MASTER).makefile("rwb")]
        time.sleep(0.05)
    raise TimeoutError(f"rank {RANK}: nobody listens at {MASTER}")


def mean_over_ranks(weights, peers):
    if RANK == 0:
        weights = np.mean([weights, *(receive(peer, weights) for peer in peers)], axis=0)
    for peer in peers:
        peer.write(weights.tobytes())
        peer.flush()
    return weights if RANK == 0 else receive(peers[0], weights)


def receive(peer, like):
    data = peer.read(like.nbytes)
    if len(data) < like.nbytes:
        raise ConnectionError(f"rank {RANK}: a peer has left")
    return np.frombuffer(data).reshape(like.shape)


def load():
    """Return this rank's share of the training data, and the images held out for the end."""
    images, labels = load_digits(return_X_y=True)
    images = np.hstack([images / 16, np.ones((len(images), 1))])  # the last column is the bias
    order = np.random.default_rng(seed=0).permutation(len(images))
    train, held_out = order[360:], order[:360]
    share = train[RANK::WORLD_SIZE]
    return (images[share], labels[share]), (images[held_out], labels[held_out])


def descend(weights, images, labels, rate=0.5, batch=32):
    """One round of softmax regression over ``images``; the new weights and the mean loss."""
    losses = []
    for start in range(0, len(images), batch):
        x, y = images[start : start + batch], labels[start : start + batch]
        scores = np.exp(x @ weights)
        shares = scores / scores.sum(axis=1, keepdims=True)
        losses.append(-np.log(shares[np.arange(len(y)), y]).mean())
        weights = weights - rate * x.T @ (shares - np.eye(10)[y]) / len(y)
    return weights, np.mean(losses)


def train(images, labels, rounds=20):
    peers = connect(time.monotonic() + PATIENCE)
    weights = np.zeros((images.shape[1], 10))
    for n in range(1, rounds + 1):
        weights, loss = descend(weights, images, labels)
        if not np.isfinite(loss):
            raise FloatingPointError(f"rank {RANK}: the loss of round {n} is {loss}")
        weights = mean_over_ranks(weights, peers)
        if RANK == 0 and n % 5 == 0:
            print(f"round {n}: loss {loss:.3f}", flush=True)
    return weights


def main():
    (images, labels), (test_images, test_labels) = load()
    print(f"rank {RANK} of {WORLD_SIZE} learns from {len(images)} digits", flush=True)
    weights = train(images, labels)
    if RANK == 0:
        accuracy = np.mean((test_images @ weights).argmax(axis=1) == test_labels)
        print(f"accuracy on {len(test_labels)} held-out digits: {accuracy:.3f}")


if __name__ == "__main__":
    main()
