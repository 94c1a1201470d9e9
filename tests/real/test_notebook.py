"""A notebook as the launcher: ranks from a cell, their values and tracebacks, and nothing left of them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from procession.testing import RollCall, wait_gone

HERE = Path(__file__).parent
CLIENT = HERE / "scripts" / "notebook_client.py"
EXAMPLE = HERE.parents[1] / "examples" / "notebook.ipynb"
METHODS = ["spawn", "fork", "forkserver"]
PATIENCE = 50  # seconds: a kernel imports for some of them beside other work

pytestmark = pytest.mark.timeout(2 * PATIENCE)


def client(notebook: Path, tmp: Path, deed: str = "nothing", fifo: str = "") -> Any:
    """Start the client of a notebook, in a directory of its own."""
    env = {**os.environ, "IPYTHONDIR": str(tmp / "ipython"), "JUPYTER_RUNTIME_DIR": str(tmp)}
    return subprocess.Popen(
        [sys.executable, str(CLIENT), str(notebook), deed, fifo],
        cwd=tmp, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def outputs_of(process: Any) -> list[dict[str, Any]]:
    said, complaints = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, complaints
    outputs: list[dict[str, Any]] = json.loads(said)
    return outputs


def printed(outputs: list[dict[str, Any]]) -> str:
    return "".join(output.get("text", "") for output in outputs)


def written(tmp: Path, *cells: str) -> Path:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbformat.write(notebook, tmp / "notebook.ipynb")
    return tmp / "notebook.ipynb"


@pytest.mark.parametrize("method", METHODS)
def test_the_example(tmp_path: Path, method: str) -> None:
    notebook = nbformat.read(EXAMPLE, 4)
    for cell in notebook.cells:
        cell.source = cell.source.replace(
            "name=", f"start_method={method!r},\n        name="
        )  # what the example leaves to the default
    nbformat.write(notebook, tmp_path / "example.ipynb")
    outputs = outputs_of(client(tmp_path / "example.ipynb", tmp_path))
    text = printed(outputs)
    assert {f"[rank{rank}]:rank {rank}: " for rank in range(4)} <= set(
        re.findall(r"\[rank\d\]:rank \d: ", text)
    )
    assert "pi is about 3.14" in text
    (error,) = [output for output in outputs if output["output_type"] == "error"]
    assert error["ename"] == "ChildFailedError"
    traceback = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(error["traceback"]))
    cause, chained, report = traceback.partition("direct cause of the following exception")
    assert chained
    assert "ZeroDivisionError" in cause
    assert "----> 2     return 1 / (rank - 2)" in cause  # its source, as the notebook shows its own
    assert "    return 1 / (rank - 2)" in report  # and in what the worker itself has written
    assert "rank      : 2 (local_rank: 2)" in report


LAUNCH = """
from procession.multiprocessing import DefaultLogsSpecs, start_processes
from procession.testing.children import daemonizes, {child}
def work(rank, fifo):
    daemonizes(fifo) if rank % 2 else {child}(fifo)
def launch(method, fifo):
    return start_processes("w", work, {{r: (r, fifo) for r in range(4)}}, {{r: {{}} for r in range(4)}},
                           DefaultLogsSpecs({logs!r}), start_method=method)
"""
# Who asks for an end waits for it: 30 s for those that do not heed it.
CHILD = {"interrupt": "obeys", "kill": "ignores_term"}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("deed", ["interrupt", "kill"])
def test_nothing_is_left_of_a_cell_that_is_ended(tmp_path: Path, method: str, deed: str) -> None:
    word = tmp_path / "word"
    os.mkfifo(word)
    with RollCall() as roll:
        cells = [
            LAUNCH.format(logs=str(tmp_path / "logs"), child=CHILD[deed]),
            f"gang = launch({method!r}, {roll.path!r})\n"
            "guardian = gang._gang._guardian.pid\n"
            "with gang:\n"
            f"    print('started', guardian, file=open({roll.path!r}, 'w'), flush=True)\n"
            "    gang.wait()\n",
            "print('the kernel lives, and', gang.wait().is_failed())",
        ]
        process = client(written(tmp_path, *cells), tmp_path, deed, str(word))
        try:
            lines = roll.lines(5, PATIENCE)
        finally:
            word.write_text("now\n")
            said, complaints = process.communicate(timeout=PATIENCE)
    pids = [int(number) for line in lines for number in re.findall(r" (\d+)", line)]
    assert len(pids) == 1 + 2 * 1 + 2 * 2  # the guardian, the workers, their daemons
    assert wait_gone(pids, PATIENCE) == []
    if deed == "kill":
        assert "DeadKernelError" in complaints
        return
    outputs = json.loads(said)
    assert [output["ename"] for output in outputs if "ename" in output] == ["SignalException"]
    assert "the kernel lives, and True" in printed(outputs)
