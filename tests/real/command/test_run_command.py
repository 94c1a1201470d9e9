"""The command ``procession`` around ``run``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import procession
from procession.cli.main import _COMMANDS, main

LINES = "\n".join(f"  {name:<8} {text}" for name, (text, _) in _COMMANDS.items())
HELP = f"""\
usage: procession COMMAND [OPTIONS]

commands:
{LINES}

options:
  --version
  --help   of a command: procession COMMAND --help
"""


@pytest.mark.parametrize(
    ("words", "code", "out", "err"),
    [
        (["--version"], 0, f"procession {procession.__version__}\n", ""),
        (["-V"], 0, f"procession {procession.__version__}\n", ""),
        (["--help"], 0, HELP, ""),
        (["help"], 0, HELP, ""),
        ([], 2, "", HELP),
        (["runn"], 2, "", "procession: no command runn. Did you mean run?\n"),
        (["zzz"], 2, "", f"procession: no command zzz. There is: {', '.join(_COMMANDS)}.\n"),
        (
            ["train.py"],
            2,
            "",
            "procession: no command train.py. To start it: procession run train.py\n",
        ),
    ],
)
def test_the_command(
    words: list[str], code: int, out: str, err: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == code
    assert capsys.readouterr() == (out, err)


@pytest.mark.parametrize("module", ["procession", "procession.run", "procession.cli.main"])
def test_as_a_module(module: str, tmp_path: Path) -> None:
    (tmp_path / "s.py").write_text("import sys; print(sys.argv); sys.exit(9)")
    command = ["s.py", "x"] if module == "procession.run" else ["run", "s.py", "x"]
    source = str(Path(procession.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-m", module, *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (9, "[default0]:['s.py', 'x']\n")


@pytest.mark.parametrize("name", _COMMANDS)
def test_every_command_has_its_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: procession {name} ")
