"""A worker that writes all that it was given to a file named by its rank and attempt."""

import json
import os
import signal
import sys

facts = {
    "env": dict(os.environ),
    "argv": sys.argv[2:],
    "name": __name__,
    "file": os.path.basename(__file__),
    "spec": __spec__ and __spec__.name,
    "cwd": os.getcwd(),
    "path0": sys.path[0],
    "leads_a_session": os.getsid(0) == os.getpid(),
    "nice": os.nice(0),
    "umask": os.umask(0o77),
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    "ignored": [n for n in range(1, 32) if signal.getsignal(n) == signal.SIG_IGN],
    "stdin": os.readlink("/proc/self/fd/0"),
}
os.umask(facts["umask"])
name = f"{os.environ['RANK']}-{os.environ['TORCHELASTIC_RESTART_COUNT']}.json"
with open(os.path.join(sys.argv[1], name), "w") as file:
    json.dump(facts, file)
for fd, stream in ((1, "stdout"), (2, "stderr")):
    os.write(
        fd, f"said by {os.environ['RANK']} to {stream}\n".encode()
    )  # print would cut it in two
if os.environ.get("FAIL_UNTIL", "0") > os.environ["TORCHELASTIC_RESTART_COUNT"]:
    sys.exit(5)
