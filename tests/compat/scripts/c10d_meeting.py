"""Three hosts in one process meet at torch's TCPStore, twice, by the c10d kind; prints what they see."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor

from torch.distributed import TCPStore

from procession._os.ports import free_port
from procession.rendezvous import RendezvousHandler, RendezvousParameters
from procession.rendezvous.registry import get_rendezvous_handler

ENDPOINT = f"127.0.0.1:{free_port()}"


def handler(_: int) -> RendezvousHandler:
    params = RendezvousParameters("c10d", ENDPOINT, "run", 3, 3, local_addr="127.0.0.1")
    return get_rendezvous_handler(params)


with ThreadPoolExecutor(3) as pool:
    handlers = list(pool.map(handler, range(3)))
    for _ in range(2):
        found = list(pool.map(lambda each: each.next_rendezvous(), handlers))
        found[0].store.set("key", b"value")
        print(sorted((info.rank, info.world_size) for info in found), found[2].store.get("key"))
        (where,) = {tuple(vars(info.bootstrap_store_info).values()) for info in found}
        store = TCPStore(*where, is_master=False)  # as workers do, whom it is there for
        print(store.add("seen", 1))
    print({each.use_agent_store for each in handlers})
    print([each.shutdown() for each in handlers])
sys.stdout.flush()
os._exit(0)  # see leave.py
