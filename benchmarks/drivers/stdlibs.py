"""``stdlibs.py LOGS METHOD COUNT MODULE``: as ``ours.py``, by multiprocessing, which captures and watches nothing."""

import multiprocessing
import sys
import time


def main(_logs, method, count, module):
    work = __import__(module).work
    context = multiprocessing.get_context(method)
    begin = time.perf_counter()
    processes = [context.Process(target=work) for _ in range(int(count))]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    print(time.perf_counter() - begin)


if __name__ == "__main__":
    main(*sys.argv[1:])
