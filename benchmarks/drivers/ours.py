"""``ours.py LOGS METHOD COUNT MODULE [PRELOAD]``: seconds from the start of COUNT functions to their end.

The main module imports the peer and what is called, and nothing else: each worker imports it again.

With PRELOAD the functions are forked from a server that has imported it: the first figure is that of
the first gang, the server's own start and import included, the second that of the next gang.
"""

import sys
import time

from procession.multiprocessing import DefaultLogsSpecs, start_processes


def seconds(logs, method, count, work, supervision=None):
    begin = time.perf_counter()
    context = start_processes(
        name="w",
        entrypoint=work,
        args=dict.fromkeys(range(count), ()),
        envs={rank: {} for rank in range(count)},
        logs_specs=DefaultLogsSpecs(log_dir=logs),
        start_method=method,
        supervision=supervision,
    )
    failed = context.wait().is_failed()
    taken = time.perf_counter() - begin
    if failed:
        sys.exit("a worker failed")
    return taken


def main(logs, method, count, module, preload=None):
    work = __import__(module).work
    if preload is None:
        print(seconds(logs, method, int(count), work))
        return
    from procession.multiprocessing import ForkServer, Supervision

    begin = time.perf_counter()
    with ForkServer([preload]) as server:
        wishes = Supervision(fork_server=server)
        seconds(logs, method, int(count), work, wishes)
        first = time.perf_counter() - begin
        print(first, seconds(logs, method, int(count), work, wishes))


if __name__ == "__main__":
    main(*sys.argv[1:])
