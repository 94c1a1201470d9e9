"""``sleepers.py PEER``: four torch functions that sleep until our stdin ends; prints a line when all sleep."""

import sys
import tempfile
from importlib import import_module

LIBRARIES = {
    "procession": "procession.multiprocessing",
    "torch": "torch.distributed.elastic.multiprocessing",
}


def work(fifo):
    import torch  # noqa: F401

    with open(fifo, "w") as told:
        told.write(".")
    import signal

    signal.pause()


def main(peer):
    import os

    library = import_module(LIBRARIES[peer])
    wishes = {}
    if peer == "procession":
        wishes = {
            "start_method": "forkserver",
            "supervision": library.Supervision(preload=("torch",)),
        }
    with tempfile.TemporaryDirectory() as logs:
        fifo = os.path.join(logs, "fifo")
        os.mkfifo(fifo)
        reader = os.open(fifo, os.O_RDWR)
        context = library.start_processes(
            name="w",
            entrypoint=work,
            args=dict.fromkeys(range(4), (fifo,)),
            envs={rank: {} for rank in range(4)},
            logs_specs=library.DefaultLogsSpecs(log_dir=logs),
            **wishes,
        )
        for _ in range(4):
            os.read(reader, 1)
        print(flush=True)
        sys.stdin.readline()
        context.close()


if __name__ == "__main__":
    main(sys.argv[1])
