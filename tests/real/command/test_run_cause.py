"""A rank is killed, and the others miss it at once: who was killed is the root cause, whoever is seen first."""

from __future__ import annotations

from typing import Any

# Rank 0 is killed; its peers raise as soon as the kernel has closed its sockets, which is before it tells
# of its death, and the more so the busier the machine is.
MISSED = """
import os, signal, socket, time
address = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
size = int(os.environ["WORLD_SIZE"])
if os.environ["RANK"] == "0":
    with socket.create_server(address) as server:
        peers = [server.accept()[0] for _ in range(size - 1)]
        for peer in peers:
            peer.recv(1)
        os.kill(os.getpid(), signal.SIGKILL)
while True:
    try:
        peer = socket.create_connection(address)
        break
    except ConnectionRefusedError:
        time.sleep(0.02)
peer.sendall(b"!")
if not peer.recv(1):
    raise ConnectionResetError("rank 0 is gone")
"""


def test_who_was_killed_is_the_cause_not_who_missed_it(here: Any) -> None:
    for _ in range(3):
        ended = here.script(MISSED, "-n", "4", "--log-dir", "logs")
        assert ended.code == 137
        assert "rank      : 0 (local_rank: 0)" in ended.err
        root = ended.err.partition("Root cause (first failure):")[2]
        assert "exitcode  : -9" in root
