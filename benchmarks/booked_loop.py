"""What the index costs: ``booked_loop.py booked|bare worker|launcher SIZE COUNT``.

Prints the seconds that a worker of a captured, not teed gang spends in its writes, or the CPU seconds
that the launcher spends meanwhile.
"""

import os
import sys
import tempfile
import time

from procession.multiprocessing import DefaultLogsSpecs, Std, Supervision, start_processes
from procession.multiprocessing.supervision import LogBooks
from write_texts import LOOP

mode, whose, size, count = sys.argv[1:]
books = LogBooks(None, sys.stderr.write) if mode == "booked" else None
with tempfile.TemporaryDirectory() as folder:
    began = time.process_time()
    context = start_processes(
        name="w",
        entrypoint=sys.executable,
        args={0: ("-I", "-S", "-c", LOOP, size, count)},
        envs={0: {}},
        logs_specs=DefaultLogsSpecs(log_dir=folder, redirects=Std.ALL),
        supervision=Supervision(books=books),
    )
    context.wait()
    spent = time.process_time() - began
    with open(context.stderrs[0]) as file:
        took = float(file.read())
    has_index = os.path.exists(f"{os.path.dirname(context.stdouts[0])}/.stdout.log.index")
    assert has_index == (mode == "booked")
print(took if whose == "worker" else spent)
