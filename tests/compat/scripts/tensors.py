"""What workers do with tensors, one function a way."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def add_one(tensor: Any) -> float:
    """In place, in memory that the launcher sees too."""
    tensor += 1
    return float(tensor.sum())


def all_kinds() -> dict[str, Any]:
    """One tensor of each kind that a result may hold."""
    base = torch.arange(12, dtype=torch.float32)
    return {
        "plain": base,
        "view": base[3:6],
        "transposed": base.reshape(3, 4).t(),
        "integers": torch.tensor([1, 2], dtype=torch.int64),
        "truths": torch.tensor([True, False]),
        "short": torch.tensor([1.5], dtype=torch.bfloat16),
        "complex": torch.tensor([1 + 2j]),
        "empty": torch.empty(0, 3),
        "scalar": torch.tensor(3.5),
        "graph": torch.ones(2, requires_grad=True),
        "parameter": nn.Parameter(torch.ones(2, 2)),
        "sparse": torch.eye(3).to_sparse(),
        "state": nn.Linear(4, 2).state_dict(),
        "size": torch.Size([1, 2]),
        "type": torch.float16,
    }


def model() -> Any:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))


def large(size: int) -> Any:
    return torch.ones(size, dtype=torch.uint8)


def loaded(method: str) -> list[int]:
    """What two loader workers bring, by a start method of their own."""
    data = torch.utils.data.TensorDataset(torch.arange(8))
    loader = torch.utils.data.DataLoader(
        data, batch_size=2, num_workers=2, multiprocessing_context=method
    )
    return sorted(int(number) for (batch,) in loader for number in batch)


def raise_out_of_memory() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
