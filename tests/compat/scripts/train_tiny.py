"""Three steps of data-parallel training; prints the loss of each."""

import os
import sys

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

dist.init_process_group("gloo")
torch.manual_seed(0)
model = DistributedDataParallel(torch.nn.Linear(8, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
generator = torch.Generator().manual_seed(int(os.environ["RANK"]))
for step in range(3):
    batch = torch.rand(16, 8, generator=generator)
    loss = (model(batch) - batch.sum(dim=1, keepdim=True)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(f"step {step}: {loss.item():.6f}")
total = loss.detach()
del model, optimizer, loss
dist.all_reduce(total)
dist.barrier()  # rank 0 keeps the store, so it must not be the first to leave
dist.destroy_process_group()

# torch's threads now and then abort a process that takes itself apart ("terminate called without an
# active exception", without a Python frame), under any launcher: what is compared has been printed.
sys.stdout.flush()
os._exit(0)
