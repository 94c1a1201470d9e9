"""What a worker of ``--run-path`` calls; a worker imports nothing else for it."""

from __future__ import annotations

import sys


def run_script_path(training_script: str, *training_script_args: str) -> None:
    """Run a script within this interpreter, as ``--run-path`` has each worker do.

    Args:
        training_script: Its path.
        training_script_args: What it finds in ``sys.argv[1:]``.
    """
    import runpy

    sys.argv = [training_script, *training_script_args]
    runpy.run_path(training_script, run_name="__main__")
