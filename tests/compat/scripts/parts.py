"""What agents start, in a module of its own: workers have to find it."""

import os
import time

NAMES = (
    "RANK",
    "LOCAL_RANK",
    "ROLE_RANK",
    "GROUP_RANK",
    "ROLE_NAME",
    "LOCAL_WORLD_SIZE",
    "WORLD_SIZE",
    "GROUP_WORLD_SIZE",
    "ROLE_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "TORCHELASTIC_RESTART_COUNT",
    "TORCHELASTIC_MAX_RESTARTS",
    "TORCHELASTIC_RUN_ID",
    "TORCHELASTIC_USE_AGENT_STORE",
    "TORCH_NCCL_ASYNC_ERROR_HANDLING",
)


def add(number):
    return number + int(os.environ["RANK"])


def environment():
    return {name: os.environ.get(name) for name in NAMES}


def fail(path):
    """Rank 1 raises, once rank 0 is there."""
    if os.environ["RANK"] == "0":
        open(path, "w").close()
        time.sleep(60)
    while not os.path.exists(path):
        time.sleep(0.01)
    raise RuntimeError("reason")


def fail_at_first(path):
    """Rank 0 leaves at the first attempt, once rank 1 is there."""
    if os.environ["RANK"] == "1":
        open(path, "w").close()
    while not os.path.exists(path):
        time.sleep(0.01)
    if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0" and os.environ["RANK"] == "0":
        os._exit(3)
    return os.environ["TORCHELASTIC_RESTART_COUNT"]
