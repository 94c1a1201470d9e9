"""A worker with ``@record``, as a binary."""

import ctypes
import sys

from torch.distributed.elastic.multiprocessing.errors import record


@record
def main():
    print("said before the end", flush=True)
    if sys.argv[1] == "raise":
        raise ValueError("recorded")
    if sys.argv[1] == "exit":
        sys.exit(7)
    ctypes.string_at(0)


if __name__ == "__main__":
    main()
