"""A notebook's client: ``notebook_client.py NOTEBOOK DEED FIFO`` executes it with nbclient.

DEED is what befalls the kernel when somebody writes a line into the FIFO: ``nothing``, ``interrupt``
or ``kill``. Prints the outputs of all cells, as JSON.
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError


async def main(path: str, deed: str, fifo: str) -> None:
    notebook = nbformat.read(path, 4)
    client = NotebookClient(notebook, timeout=50, kernel_name="python3", allow_errors=True)
    async with client.async_setup_kernel():
        told = None if deed == "nothing" else asyncio.create_task(befall(client, deed, fifo))
        for index, cell in enumerate(notebook.cells):
            try:
                await client.async_execute_cell(cell, index)
            except (CellExecutionError, DeadKernelError) as error:
                print(type(error).__name__, file=sys.stderr)
        if told is not None:
            await told
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    print(json.dumps(outputs))


async def befall(client: NotebookClient, deed: str, fifo: str) -> None:
    await asyncio.to_thread(Path(fifo).read_text)
    if deed == "interrupt":
        await client.km.interrupt_kernel()
    else:
        os.kill(client.km.provisioner.pid, signal.SIGKILL)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
