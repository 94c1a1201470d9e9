"""A gang that adds its ranks up over gloo, and tells what its environment says of all hosts."""

import os

import torch
import torch.distributed as dist

dist.init_process_group("gloo")
total = torch.tensor([dist.get_rank() + 1])
dist.all_reduce(total)
names = ("GROUP_RANK", "GROUP_WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "RANK", "ROLE_RANK")
more = ("ROLE_WORLD_SIZE", "WORLD_SIZE", "TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT")
words = [f"{name}={os.environ[name]}" for name in (*names, *more)]
with open(os.environ["TOLD"], "a") as file:  # one write
    file.write(f"{' '.join(words)} sum={total.item()}\n")
dist.barrier()
dist.destroy_process_group()
os._exit(0)  # see leave.py: all has been told
