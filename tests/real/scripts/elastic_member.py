"""One host of an ``elastic_launch`` whose workers do not end when they are asked to; says how it ended."""

from __future__ import annotations

import sys

from procession.launcher import LaunchConfig, elastic_launch

WORKER = 'trap "" TERM; echo of $WORLD_SIZE: $$ >> $0/$1; until test -e $0/go; do sleep 0.05; done'


def main(endpoint: str, name: str, directory: str) -> None:
    config = LaunchConfig(
        1,
        3,
        1,
        run_id="job",
        rdzv_backend="etcd",
        rdzv_endpoint=endpoint,
        rdzv_configs={"keep_alive_interval": 2},  # a host is taken for dead after 6 s
        monitor_interval=0.05,
        local_addr="127.0.0.1",
        shutdown_timeout=0 if name == "stays" else 300,
    )
    try:
        elastic_launch(config, "sh")("-c", WORKER, directory, name)
    except Exception as error:
        print(type(error).__name__, error)
    else:
        print("done")


if __name__ == "__main__":
    main(*sys.argv[1:])
