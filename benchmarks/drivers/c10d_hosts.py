"""``c10d_hosts.py HOSTS PORT``: torch's dynamic rendezvous in threads, at one TCPStore; prints a time."""

from __future__ import annotations

import os
import sys
import threading
import time

from torch.distributed.elastic.rendezvous import RendezvousParameters
from torch.distributed.elastic.rendezvous.registry import get_rendezvous_handler


def main(hosts: int, port: str) -> float:
    def meet(number: int) -> None:
        params = RendezvousParameters(
            "c10d",
            f"127.0.0.1:{port}",
            "run",
            hosts,
            hosts,
            local_addr="127.0.0.1",
            is_host=number == 0,
        )
        get_rendezvous_handler(params).next_rendezvous()

    threads = [threading.Thread(target=meet, args=(number,)) for number in range(hosts)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.monotonic() - began


if __name__ == "__main__":
    sys.stdout.write(f"{main(int(sys.argv[1]), sys.argv[2])}\n")
    sys.stdout.flush()
    os._exit(0)
