"""torch's DistributedDataParallel on the handwritten digits; one script, two launchers.

procession run --nproc-per-node 4 examples/ddp_digits.py
torchrun --nproc-per-node 4 examples/ddp_digits.py
"""

import os

import numpy as np
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

try:
    from sklearn.datasets import load_digits
except ImportError:
    load_digits = None


def load():
    if load_digits is not None:
        images, labels = load_digits(return_X_y=True)
    else:  # ten blurred prototypes, as many samples
        random = np.random.default_rng(seed=0)
        labels = random.integers(0, 10, 1797)
        images = random.uniform(0, 16, (10, 64))[labels] + random.normal(0, 4, (1797, 64))
    return torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)


def train(rank, world_size):
    """Return the mean over the ranks of the last loss; the model and its threads end with it."""
    torch.manual_seed(0)
    model = DistributedDataParallel(
        torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
    images, labels = (part[rank::world_size] for part in load())
    for _ in range(60):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
    total = loss.detach()
    dist.all_reduce(total)
    return total.item() / world_size


def main():
    dist.init_process_group("gloo")
    rank, world_size = dist.get_rank(), dist.get_world_size()
    loss = train(rank, world_size)
    if rank == 0:
        print(f"attempt {os.environ['TORCHELASTIC_RESTART_COUNT']}, {world_size} ranks")
        print(f"final loss: {loss!r}", flush=True)
    dist.barrier()  # rank 0 keeps the store, so it must not be the first to leave
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
