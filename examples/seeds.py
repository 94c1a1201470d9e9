"""Gang after gang from one fork server: scikit-learn is imported once for all twelve workers.

python examples/seeds.py
"""

import time

from procession.multiprocessing import (
    DefaultLogsSpecs,
    ForkServer,
    Supervision,
    start_processes,
)


def accuracy(strength, seed):
    from sklearn.datasets import load_digits  # there already
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split

    split = train_test_split(*load_digits(return_X_y=True), test_size=0.2, random_state=seed)
    train, test, train_labels, test_labels = split
    model = LogisticRegression(C=strength, max_iter=300).fit(train / 16, train_labels)
    return model.score(test / 16, test_labels)


def main():
    modules = ["sklearn.datasets", "sklearn.linear_model", "sklearn.model_selection"]
    with ForkServer(preload=modules) as server:
        for strength in (0.01, 0.1, 1.0):
            begin = time.monotonic()
            context = start_processes(
                name="seeds",
                entrypoint=accuracy,
                args={rank: (strength, rank) for rank in range(4)},
                envs={rank: {"OMP_NUM_THREADS": "1"} for rank in range(4)},
                logs_specs=DefaultLogsSpecs(),
                start_method="forkserver",
                supervision=Supervision(fork_server=server),
            )
            scores = context.wait().return_values.values()
            seconds = time.monotonic() - begin
            print(f"C={strength}: accuracy {sum(scores) / len(scores):.3f}, {seconds:.2f} s")


if __name__ == "__main__":
    main()
