"""A fork of the process that tails: the child has no tail, and may begin one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAD = """
import io, os, sys, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: fork with threads
from procession._logs import tail
from procession._logs.tail import fork_guard
from procession.multiprocessing.tail_log import TailLog
tail._THREAD_PATIENCE = 30  # a thread that is held up for a second is not given up
path = sys.argv[1]
def append(data):
    with open(path, "ab") as file:
        file.write(data)
def descriptors():
    return sorted(os.listdir("/proc/self/fd"))
def in_child(work):
    with fork_guard():
        pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:
            os.write(2, repr(error).encode() + b"\\n")
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
class Screen(io.StringIO):
    def __init__(self):
        super().__init__()
        self.changed = threading.Condition()
    def write(self, text):
        with self.changed:
            super().write(text)
            self.changed.notify_all()
    def wait_for(self, text):
        with self.changed:
            assert self.changed.wait_for(lambda: self.getvalue() == text, 30), self.getvalue()
"""


def run(code: str, folder: Path) -> None:
    command = [sys.executable, "-c", HEAD + code, str(folder / "log")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=40)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_child_is_empty_and_the_parent_goes_on(tmp_path: Path) -> None:
    code = """
before = descriptors()
view = path + ".view"
screen = Screen()
logs = [TailLog("t", {0: path}, dst, {0: ""}).start() for dst in (screen, view)]
append(b"one\\n")
screen.wait_for("one\\n")

def child():
    assert descriptors() == before, descriptors()
    for log in logs:
        log.stop()
        assert log.stopped()
    assert screen.getvalue() == "one\\n"
    mine = Screen()
    log = TailLog("t", {0: path}, mine, {0: ""}).start()
    append(b"two\\n")
    mine.wait_for("one\\ntwo\\n")
    log.stop()
    assert descriptors() == before

in_child(child)
append(b"three\\n")
screen.wait_for("one\\ntwo\\nthree\\n")
for log in logs:
    log.stop()
assert open(view).read() == screen.getvalue()
assert descriptors() == before
"""
    run(code, tmp_path)


@pytest.mark.parametrize("what", ["stream", "filter"])
def test_the_child_inherits_no_lock_that_the_tail_holds(tmp_path: Path, what: str) -> None:
    code = f"""
lock, entered = threading.Lock(), threading.Event()
def slowly(text):
    with lock:
        entered.set()
        threading.Event().wait(0.002)
    return True
class Stream:
    write = staticmethod(slowly)
args = (Stream(),) if {what == "stream"} else (io.StringIO(), None, 0.1, slowly)
log = TailLog("t", {{0: path}}, *args).start()

def child():
    assert lock.acquire(timeout=0)

for n in range(40):
    entered.clear()
    append(b"line\\n")
    assert entered.wait(30)
    in_child(child)
log.stop()
"""
    run(code, tmp_path)


def test_the_guard_alone_is_harmless(tmp_path: Path) -> None:
    code = """
with fork_guard():
    pass
in_child(lambda: None)
screen = Screen()
log = TailLog("t", {0: path}, screen, {0: ""}).start()
append(b"one\\n")
screen.wait_for("one\\n")
log.stop()
"""
    run(code, tmp_path)


def test_a_fork_without_the_guard_leaves_the_child_empty_too(tmp_path: Path) -> None:
    code = """
before = descriptors()
screen = Screen()
log = TailLog("t", {0: path}, screen, {0: ""}).start()
append(b"one\\n")
screen.wait_for("one\\n")
pid = os.fork()
if pid == 0:
    log.stop()
    os._exit(descriptors() != before)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
log.stop()
"""
    run(code, tmp_path)
