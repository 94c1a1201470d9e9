"""Two hosts in one process meet by the static kind, at torch's TCPStore; prints what they see."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor

from procession._os.ports import free_port
from procession.rendezvous import RendezvousInfo, RendezvousParameters
from procession.rendezvous.registry import get_rendezvous_handler

ENDPOINT = f"127.0.0.1:{free_port()}"


def meet(rank: int) -> RendezvousInfo:
    params = RendezvousParameters("static", ENDPOINT, "run", 2, 2, rank=rank, timeout=30)
    return get_rendezvous_handler(params).next_rendezvous()


with ThreadPoolExecutor(2) as pool:
    first, second = pool.map(meet, range(2))
first.store.set("key", b"value")
print([(info.rank, info.world_size) for info in (first, second)], second.store.get("key"))
print(first.bootstrap_store_info == second.bootstrap_store_info)
sys.stdout.flush()
os._exit(0)  # see leave.py
