"""What forked workers do with numpy and torch; nothing of them is imported here."""

from __future__ import annotations

import ctypes
import os
import random
from typing import Any


def multiply_numpy() -> Any:
    import numpy

    left = numpy.random.rand(400, 400)
    return bool(numpy.allclose((left @ left.T).diagonal(), (left * left).sum(axis=1)))


def multiply_torch() -> Any:
    import torch

    left = torch.rand(400, 400, requires_grad=True)
    product = left @ left.T
    product.sum().backward()  # autograd has threads of its own
    return bool(torch.allclose(product.diagonal(), (left * left).sum(dim=1), rtol=1e-3))


def multiply_both() -> Any:
    return multiply_numpy() and multiply_torch() and multiply_numpy()


def thread_counts() -> Any:
    """How many threads numpy's OpenBLAS says that it uses, and torch."""
    import numpy
    import torch

    size = numpy.ones((600, 600))
    size @ size
    with open("/proc/self/maps") as file:
        (path,) = {line.split()[-1] for line in file if "/numpy.libs/libscipy_openblas" in line}
    return ctypes.CDLL(path).scipy_openblas_get_num_threads64_(), torch.get_num_threads()


def draw() -> Any:
    import numpy
    import torch

    return {
        "random": random.random(),
        "numpy": float(numpy.random.rand()),
        "torch": float(torch.rand(1)),
    }


def load() -> Any:
    import torch.utils.data

    loader = torch.utils.data.DataLoader(
        list(range(8)), num_workers=2, multiprocessing_context=os.environ["LOADER_CONTEXT"]
    )
    return [int(item) for item in loader]


def all_reduce() -> Any:
    import torch
    import torch.distributed as dist

    rank = int(os.environ["LOCAL_RANK"])
    dist.init_process_group("gloo", rank=rank, world_size=int(os.environ["WORLD_SIZE"]))
    total = torch.tensor([float(rank)])
    dist.all_reduce(total)
    dist.barrier()  # rank 0 keeps the store, so it must not be the first to leave
    dist.destroy_process_group()
    return float(total)
