"""One host of an ``elastic_launch`` over c10d: its worker adds ranks up over gloo; in the first gang rank 1 fails."""

import json
import os
import sys

from procession.launcher import LaunchConfig, elastic_launch


def add_up(failed: str) -> dict[str, object]:
    import torch
    import torch.distributed as dist

    dist.init_process_group("gloo")
    total = torch.tensor([dist.get_rank() + 1])
    dist.all_reduce(total)
    if dist.get_rank() == 1 and not os.path.exists(failed):
        open(failed, "w").close()
        sys.exit(7)
    dist.barrier()
    dist.destroy_process_group()
    return {"sum": total.item(), "shared": os.environ["TORCHELASTIC_USE_AGENT_STORE"]}


def main(endpoint: str, failed: str) -> None:
    config = LaunchConfig(
        2,
        2,
        1,
        run_id="job",
        rdzv_backend="c10d",
        rdzv_endpoint=endpoint,
        max_restarts=2,
        local_addr="127.0.0.1",
    )
    print(json.dumps(elastic_launch(config, add_up)(failed)))


if __name__ == "__main__":
    main(*sys.argv[1:])
