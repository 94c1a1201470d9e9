"""Runs the cases of a script and writes what each returned, printed and left in files, as JSON.

Paths, pids and times are put into a form that is the same in two right runs.
"""

import json
import os
import re
import sys
import time
from pathlib import Path

CASES = {}
HERE = os.path.dirname(os.path.abspath(__file__))
SAID = (
    "said "  # what a worker prints begins with this, after whatever prefix the tee puts before it
)


def case(function):
    """Mark a function of a directory as a case."""
    CASES[function.__name__] = function
    return function


def main():
    """Run all cases; the JSON goes to the file that the command line names."""
    root = os.path.abspath("cases")
    results = {name: run(function, os.path.join(root, name)) for name, function in CASES.items()}
    Path(sys.argv[1]).write_text(json.dumps(results, indent=1))


def run(function, directory):
    """What a case gave, what came to the console, and what lies in its directory."""
    os.makedirs(os.path.join(directory, "logs"))
    with Console(directory) as console:
        try:
            given = function(directory)
        except Exception as error:
            given = raised(error)
    return {
        "given": plain(given, directory),
        "console": console.lines,
        "files": files(os.path.join(directory, "logs")),
    }


class Console:
    """Puts two files in the place of fd 1 and 2, and keeps the lines that workers said there."""

    def __init__(self, directory):
        self.paths = {
            1: os.path.join(directory, "console1"),
            2: os.path.join(directory, "console2"),
        }
        self.saved, self.lines = {}, {}

    def __enter__(self):
        flush()
        for fd, path in self.paths.items():
            self.saved[fd] = os.dup(fd)
            with open(path, "wb") as file:
                os.dup2(file.fileno(), fd)
        return self

    def __exit__(self, *_):
        flush()
        for fd, saved in self.saved.items():
            os.dup2(saved, fd)
            os.close(saved)
        for fd, path in self.paths.items():
            text = Path(path).read_text(errors="replace")
            sys.stderr.write(text)  # for a person who looks into a failed run
            self.lines[{1: "stdout", 2: "stderr"}[fd]] = said(text)


def flush():
    sys.stdout.flush()
    sys.stderr.flush()


def said(text):
    """The workers' lines in a text; those of different ranks come in any order."""
    return sorted(line for line in text.splitlines() if SAID in line)


def raised(error):
    """The nearest built-in type of an exception; what its message says is each library's own."""
    builtin = next(kind for kind in type(error).__mro__ if kind.__module__ == "builtins")
    return {"raised": builtin.__name__}


def under(directory, part):
    """A directory for one of the runs of a case."""
    return os.path.join(directory, "logs", str(part))


def outcome(result):
    """A ``RunProcsResult`` as plain data."""
    if result is None:
        return None
    return {
        "failed": result.is_failed(),
        "return_values": result.return_values,
        "failures": {rank: failure(one) for rank, one in result.failures.items()},
        "stdouts": result.stdouts,
        "stderrs": result.stderrs,
    }


def failure(one):
    """A ``ProcessFailure`` as plain data."""
    message = one.message.replace(str(one.pid), "PID") if isinstance(one.message, str) else None
    return {
        "local_rank": one.local_rank,
        "has_pid": one.pid > 0,
        "exitcode": one.exitcode,
        "signal": one.signal_name(),
        "error_file": one.error_file,
        "message": message or error_record(one.error_file_data)["message"],
        "is_recent": abs(one.timestamp - time.time()) < 60,
    }


def error_record(data):
    """What torch's error.json says, less what lies in the library's own frames."""
    message = data["message"]
    if not isinstance(message, dict):
        return {"message": message}
    extra = message["extraInfo"]
    lines = extra["py_callstack"].splitlines()
    return {
        "message": message["message"],
        "errorCode": message.get("errorCode"),
        "callstack": [lines[0], *own_frames(extra["py_callstack"]), lines[-1]],
        "has_timestamp": extra["timestamp"].isdigit(),
    }


def own_frames(traceback):
    """The frames of a traceback that lie in these scripts."""
    frames = re.findall(r'File "(.*?)", (line \d+, in .*)', traceback)
    return [where for path, where in frames if os.path.dirname(os.path.abspath(path)) == HERE]


def files(directory):
    """Every file and directory below, with a file's content."""
    found = {}
    for path in sorted(Path(directory).rglob("*")):
        content = None if path.is_dir() else path.read_text(errors="replace")
        if path.name == "error.json":
            content = error_record(json.loads(content))
        elif path.name.startswith("filtered_"):
            content = sorted(content.splitlines())
        elif content and "Fatal Python error" in content:
            content = content.splitlines()[0]
        elif content and "Traceback (most" in content:
            content = [*own_frames(content), content.splitlines()[-1]]
        found[str(path)] = content
    return plain(found, directory)


def plain(value, directory):
    """Keys as text, paths below a directory relative to it, what chance chose in names gone."""
    if isinstance(value, dict):
        return {plain(str(key), directory): plain(one, directory) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one, directory) for one in value]
    if isinstance(value, (set, frozenset)):
        return sorted(plain(one, directory) for one in value)
    if isinstance(value, str):
        value = value.replace(directory, "DIR").replace(HERE, "HERE")
        value = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID", value)
        return re.sub(r"_[a-z0-9_]{8}(?=/|$)", "_RANDOM", value)
    return value
