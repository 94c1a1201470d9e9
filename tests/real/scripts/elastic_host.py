"""One host of an ``elastic_launch`` over etcd; prints what its workers returned."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

from procession.launcher import LaunchConfig, api, elastic_launch
from procession.multiprocessing.errors import ChildFailedError
from procession.rendezvous import RendezvousClosedError

LISTEN = "0A"  # TCP_LISTEN of include/net/tcp_states.h, as proc_net_tcp(5) shows it


def meet(fails: str) -> dict[str, object]:
    """Add the ranks of all workers up at MASTER_ADDR and MASTER_PORT, as a process group would."""
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    restarts = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
    if fails == f"{restarts}-{rank}":
        sys.exit(7)
    if fails.startswith("/"):
        lose_a_peer(Path(fails))
    address = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
    total = gather(address, size) if rank == 0 else send(address, rank)
    return {"total": total, "size": size, "restarts": restarts, "listens": listeners()}


def lose_a_peer(told: Path) -> None:
    """The second host's workers find a connection broken; the first's, whose fault it is, are slower to end."""
    if os.environ["GROUP_RANK"] == "1":
        (told / str(os.getpid())).touch()
        raise ConnectionResetError("by peer")
    while not (pids := list(told.iterdir())) or any(is_alive(pid.name) for pid in pids):
        time.sleep(0.02)
    sys.exit(7)


def is_alive(pid: str) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def listeners() -> list[str]:
    """Where the launcher and the guardian above this worker listen, as the kernel tells it."""
    guardian = os.getppid()
    stat = Path(f"/proc/{guardian}/stat").read_text()
    above = (guardian, int(stat.rpartition(")")[2].split()[1]))
    sockets = {link(fd) for pid in above for fd in Path(f"/proc/{pid}/fd").glob("*")}
    tables = (Path(f"/proc/{os.getpid()}/net/{name}").read_text() for name in ("tcp", "tcp6"))
    rows = [line.split() for table in tables for line in table.splitlines()[1:]]
    return [row[1] for row in rows if row[3] == LISTEN and f"socket:[{row[9]}]" in sockets]


def link(fd: Path) -> str:
    """Where a descriptor leads, nowhere if it has been closed meanwhile."""
    try:
        return os.readlink(fd)
    except OSError:
        return ""


def gather(address: tuple[str, int], size: int) -> int:
    with socket.create_server(address) as server:
        peers = [server.accept()[0] for _ in range(size - 1)]
        total = sum(int(peer.recv(16)) for peer in peers)
        for peer in peers:
            peer.sendall(str(total).encode())
            peer.close()
    return total


def send(address: tuple[str, int], rank: int) -> int:
    """Of a peer that is lost nothing is known: it is waited for anew, as by a process group that hangs."""
    while True:
        with suppress(ConnectionError), socket.create_connection(address) as peer:
            peer.sendall(str(rank).encode())
            if total := peer.recv(16):
                return int(total)
        time.sleep(0.02)


def main() -> None:
    endpoint, nproc, restarts, fails = sys.argv[1:5]
    api._FOR_THE_CAUSE = 60  # a busy machine: who is the cause may be late
    config = LaunchConfig(
        2,
        2,
        int(nproc),
        run_id="job",
        rdzv_backend="etcd",
        rdzv_endpoint=endpoint,
        rdzv_configs={"keep_alive_interval": 20},  # a busy machine: nobody is lost here
        max_restarts=int(restarts),
        monitor_interval=0.05,
        local_addr="127.0.0.1",
        log_line_prefix_template="",
    )
    try:
        print(json.dumps(elastic_launch(config, meet)(fails)))
    except ChildFailedError as error:
        failed = error.get_first_failure()[1].exitcode
        print(json.dumps({"failed": failed, **({"notes": error.notes} if error.notes else {})}))
    except RendezvousClosedError as error:
        print(json.dumps({"closed": str(error)}))


if __name__ == "__main__":
    main()
