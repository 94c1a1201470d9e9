"""``procession run`` at an etcd that lets in only whom it knows; and who sees the password."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.real.etcd.authority import Authority

from procession.testing import wait_for_text

pytestmark = [
    pytest.mark.program("etcd", "etcd-server"),
    pytest.mark.program("openssl", "openssl"),
    pytest.mark.timeout(150),
]

SECRET = "ex-tremely-secret"
TELL = """
import json, os, sys, time
environ = open("/proc/self/environ").read()
line = json.dumps({"rank": os.environ["RANK"], "environ": environ, "known": dict(os.environ)})
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
os.write(fd, (line + chr(10)).encode())
while not os.path.exists(sys.argv[1] + ".go"):
    time.sleep(0.02)
"""


@pytest.fixture
def cluster(make_cluster: Callable[..., Any], tmp_path: Path) -> Any:
    """Three members with TLS, who want a certificate and a user with a password."""
    by = Authority(tmp_path)
    cert, key = by.sign("server")
    client, client_key = by.sign("client")
    words = [f"--cert-file={cert}", f"--key-file={key}", f"--trusted-ca-file={by.cacert}"]
    conf = {"cacert": by.cacert, "cert": client, "key": client_key}
    made = make_cluster(3, *words, "--client-cert-auth", conf=conf)
    made.ask_for_passwords(root="of-the-root", launcher=SECRET)
    return made


def start(here: Any, cluster: Any, rank: int, *conf: str, environ: dict[str, str]) -> Any:
    files = [f"{name}={path}" for name, path in cluster.conf.items()]
    return here.start(
        *("--nnodes", "2", "--rdzv-backend", "etcd", "--rdzv-endpoint", cluster.endpoints),
        *(
            "--rdzv-id",
            "job",
            "--rdzv-conf",
            ",".join(["lease=30,request_timeout=10", *files, *conf]),
            "--node-rank",
            str(rank),
        ),
        *("s.py", str(here.directory / "told")),
        environ=environ,
    )


def cmdlines() -> str:
    """Of all processes."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            found.append(Path(f"/proc/{pid}/cmdline").read_text(errors="replace"))
        except OSError:
            continue
    return "\n".join(found)


def test_hosts_meet_over_tls_and_nobody_sees_the_password(here: Any, cluster: Any) -> None:
    here.file("s.py", TELL)
    told = here.file("told", "")
    password = here.file("password", f"{SECRET}\n", mode=0o600)
    cluster.members[0].kill()  # the loss of one is no failure
    by_variable = {
        "ETCDCTL_USER": f"launcher:{SECRET}",
        "ETCDCTL_PASSWORD": SECRET,
        "LOGLEVEL": "DEBUG",
    }
    hosts = [
        start(here, cluster, 0, environ=by_variable),
        start(here, cluster, 1, "user=launcher", f"password_file={password}", environ={}),
    ]
    for rank in (0, 1):
        wait_for_text(told, f'"rank": "{rank}"', 60)
    assert SECRET not in cmdlines()
    (here.directory / "told.go").touch()
    ends = [host.communicate(timeout=60) for host in hosts]
    assert [host.returncode for host in hosts] == [0, 0], ends
    workers = [json.loads(line) for line in told.read_text().splitlines()]
    assert {worker["known"].get("ETCDCTL_USER") for worker in workers} == {"launcher", None}
    password.unlink()
    written = [
        path.read_text(errors="replace") for path in here.directory.rglob("*") if path.is_file()
    ]
    assert written
    for text in (*written, *(text for end in ends for text in end)):
        assert SECRET not in text


def test_who_is_not_let_in_is_told_and_no_password_shown(here: Any, cluster: Any) -> None:
    here.file("s.py", TELL)
    wrong = start(
        here, cluster, 0, environ={"ETCDCTL_USER": "launcher", "ETCDCTL_PASSWORD": "guess-ed"}
    )
    out, err = wrong.communicate(timeout=60)
    assert wrong.returncode == 2, err
    assert "etcd does not let launcher in" in err
    assert (
        "Check ETCDCTL_USER and ETCDCTL_PASSWORD, or user= and password_file= of --rdzv-conf."
        in err
    )
    assert "guess-ed" not in out + err
    nobody = start(here, cluster, 0, environ={})
    _, err = nobody.communicate(timeout=60)
    assert nobody.returncode == 2
    assert "Set ETCDCTL_USER and ETCDCTL_PASSWORD" in err
