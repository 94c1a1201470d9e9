"""``elastic_witness.py ENDPOINT DIRECTORY``: one host of an ``elastic_launch`` whose worker is a ``witness.py``.

Each agent counts its own restarts, so it is the port of a gang that stands for its number.
"""

from __future__ import annotations

import sys
from pathlib import Path

from procession.launcher import LaunchConfig, elastic_launch

WORKER = 'TORCHELASTIC_RESTART_COUNT=$MASTER_PORT exec "$0" "$@"'


def main(endpoint: str, directory: str) -> None:
    config = LaunchConfig(
        1,
        4,
        1,
        run_id="job",
        rdzv_backend="etcd",
        rdzv_endpoint=endpoint,
        rdzv_configs={"keep_alive_interval": 1, "last_call_timeout": 1, "close_timeout": 2},
        max_restarts=99,
        shutdown_timeout=4,
        log_line_prefix_template="",
    )
    witness = str(Path(__file__).with_name("witness.py"))
    elastic_launch(config, "sh")("-c", WORKER, sys.executable, witness, directory)


if __name__ == "__main__":
    main(*sys.argv[1:])
