"""``torchs.py LOGS METHOD COUNT MODULE``: as ``ours.py``, by torch."""

import sys
import time

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, start_processes


def main(logs, method, count, module):
    work = __import__(module).work
    ranks = range(int(count))
    begin = time.perf_counter()
    context = start_processes(
        name="w",
        entrypoint=work,
        args=dict.fromkeys(ranks, ()),
        envs={rank: {} for rank in ranks},
        logs_specs=DefaultLogsSpecs(log_dir=logs),
        start_method=method,
    )
    failed = context.wait(period=0.01).is_failed()
    taken = time.perf_counter() - begin
    if failed:
        sys.exit("a worker failed")
    print(taken)


if __name__ == "__main__":
    main(*sys.argv[1:])
