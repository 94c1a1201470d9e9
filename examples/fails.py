"""As digits.py, but a pixel of rank 2's share is not a number: see whom the report names.

    procession run --nproc-per-node 4 examples/fails.py

Rank 2 raises. Its connection closes, so rank 0 raises too, a moment later.
"""

import numpy as np

import digits


def main():
    (images, labels), _ = digits.load()
    if digits.RANK == 2:
        images[17, 5] = np.nan
    digits.train(images, labels)


if __name__ == "__main__":
    main()
