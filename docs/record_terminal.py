"""Writes docs/terminal.md: what a terminal shows of a run, taken from tmux. ``make recording`` runs it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "examples" / "progress.py"
PROCESSION = Path(sys.executable).with_name("procession")
HEAD = """\
# A run on a terminal

Eight ranks with progress bars and colours, of which rank 5 fails ([the script](../examples/progress.py)).
Recorded by `make recording`: the terminal is tmux, and what follows is its screen as text (without colours).
Bars stand at the bottom, in the order of ranks, one row each, until their line ends; whatever else is
printed passes above them. Each prefix has its rank's colour, and a rank's own colours end with its line. On
a narrow terminal the prefix is the rank alone.
"""


def tmux(socket: str, *words: str) -> str:
    argv = ["tmux", "-L", socket, *words]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def screens(columns: int, rows: int, options: str) -> tuple[str, str]:
    """The screen while bars are drawn, and all that the run has left behind at its end."""
    socket = f"recording-{os.getpid()}-{columns}"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "progress.py").write_text(SCRIPT.read_text())
        command = (
            f"{PROCESSION} run -n 8 --rdzv-id demo {options} progress.py; touch ended; read line"
        )
        tmux(
            socket, "new-session", "-d", "-x", str(columns), "-y", str(rows), "-c", folder, command
        )
        try:
            wait_for(lambda: tmux(socket, "capture-pane", "-p").count("epoch 1 ") >= 4)
            during = tmux(socket, "capture-pane", "-p")
            wait_for((Path(folder) / "ended").exists)
            after = tmux(socket, "capture-pane", "-p", "-S", "-")
        finally:
            tmux(socket, "kill-server")
    return during.rstrip(), after.replace(folder, "~").rstrip()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        if time.monotonic() > deadline:
            sys.exit("the run has not come so far within a minute")
        time.sleep(0.02)


def section(title: str, during: str, after: str) -> str:
    return f"""
## {title}

While it runs:

```text
{during}
```

At its end:

```text
{after}
```
"""


def main() -> None:
    text = HEAD
    text += section("80 columns", *screens(80, 24, ""))
    text += section(
        "200 columns, with the time", *screens(200, 40, "--prefix '${time} [${rank}] '")
    )
    (ROOT / "docs" / "terminal.md").write_text(text)


if __name__ == "__main__":
    main()
