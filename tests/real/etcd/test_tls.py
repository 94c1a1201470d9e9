"""Real etcd with TLS, certificates of clients, users and passwords: who is let in, and what others are told."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.real.etcd.authority import Authority

from procession._etcd.client import Client
from procession._etcd.settings import read_settings
from procession.errors import ProcessionError, UsageError

pytestmark = [
    pytest.mark.program("etcd", "etcd-server"),
    pytest.mark.program("openssl", "openssl"),
    pytest.mark.timeout(120),
]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def serve(
    make_cluster: Any, by: Authority, cert: tuple[str, str], size: int = 1, **conf: str
) -> Any:
    """Members with this certificate, that want one of their clients."""
    client, key = by.sign("client")
    words = [f"--cert-file={cert[0]}", f"--key-file={cert[1]}"]
    words += ["--client-cert-auth", f"--trusted-ca-file={by.cacert}"]
    return make_cluster(
        size, *words, conf={"cacert": by.cacert, "cert": client, "key": key, **conf}
    )


def refusal(cluster: Any, conf: dict[str, str]) -> ProcessionError:
    """What a client with this conf is told."""
    client = Client(read_settings(cluster.endpoints, {"request_timeout": "10", **conf}, {}))
    try:
        with pytest.raises(ProcessionError) as caught:
            client.put("/a", b"")
    finally:
        client.close()
    return caught.value


def test_who_has_no_good_certificate_is_told_what_to_give(
    make_cluster: Callable[..., Any], authority: Authority, tmp_path: Path
) -> None:
    cluster = serve(make_cluster, authority, authority.sign("server"))
    other = Authority(tmp_path, "other")
    good, where = cluster.conf, cluster.endpoints

    wrong = refusal(cluster, {**good, "cacert": other.cacert})
    assert isinstance(wrong, UsageError)
    assert f"{where}: its certificate is signed by nobody in {other.cacert}" in str(wrong)
    assert "--rdzv-conf cacert=PATH" in str(wrong)

    unknown = refusal(cluster, {"tls": "1"})
    assert "signed by nobody whom this host trusts" in str(unknown)

    without = refusal(cluster, {"cacert": authority.cacert})
    assert "It may want a certificate of ours: --rdzv-conf cert=PATH,key=PATH" in str(without)

    client, key = other.sign("stranger")
    stranger = refusal(cluster, {**good, "cert": client, "key": key})
    assert f"Does it accept {client}?" in str(stranger)

    client, key = authority.sign("late", days=-1)
    late = refusal(cluster, {**good, "cert": client, "key": key})
    assert f"Does it accept {client}?" in str(late)
    assert "not expired" in str(late)

    plain = refusal(cluster, {})
    assert f"If it speaks TLS, write https://{where}." in str(plain)


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (
            {"days": -1},
            "its certificate has expired. Renew it, or set the clock of this host right.",
        ),
        ({"address": "127.0.0.9"}, "its certificate is for other names than 127.0.0.1"),
    ],
)
def test_a_server_that_is_not_what_it_has_to_be(
    make_cluster: Callable[..., Any], authority: Authority, made: dict[str, Any], told: str
) -> None:
    words = dict(zip(("--cert-file", "--key-file"), authority.sign("server", **made), strict=True))
    from tests.real.conftest import Cluster

    class Unheard(Cluster):
        def wait_writable(self) -> None:
            """Nobody can speak to it."""

    cluster = Unheard(authority.directory, 1, [f"{key}={value}" for key, value in words.items()])
    try:
        until_it_listens(cluster.members[0].port)
        found = refusal(cluster, {"cacert": authority.cacert})
        assert isinstance(found, UsageError)
        assert told in str(found)
    finally:
        cluster.end()


def until_it_listens(port: int) -> None:
    import socket
    import time

    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError("etcd does not listen")


def test_a_server_without_tls_is_named(make_cluster: Callable[..., Any]) -> None:
    cluster = make_cluster()
    told = str(refusal(cluster, {"tls": "1"}))
    assert f"Does it speak TLS? If not, write http://{cluster.endpoints}" in told


def test_files_that_will_not_do(authority: Authority) -> None:
    cert, key = authority.sign("client")
    encrypted = str(authority.directory / "encrypted.key")
    command = ["openssl", "ec", "-in", key, "-aes256", "-passout", "pass:x", "-out", encrypted]
    subprocess.run(command, check=True, capture_output=True)
    for conf, told in (
        ({"cacert": "/no/such.pem"}, "/no/such.pem: No such file or directory. Give PEM files"),
        ({"cacert": key}, f"{key}: "),
        ({"cert": cert, "key": f"{authority.directory}/ca.key"}, "ca.key: "),
        ({"cert": cert, "key": encrypted}, "the client's key is encrypted"),
    ):
        with pytest.raises(UsageError) as caught:
            Client(read_settings("h", conf, {}))
        assert told in str(caught.value)


def test_a_user_who_may_not_write_is_told(make_cluster: Callable[..., Any]) -> None:
    cluster = make_cluster()
    cluster.ask_for_passwords(root="secret", weak="weak")
    nobody = refusal(cluster, {})
    assert isinstance(nobody, UsageError)
    assert "Set ETCDCTL_USER and ETCDCTL_PASSWORD" in str(nobody)
    patient = {"request_timeout": "10"}
    weak = Client(read_settings(cluster.endpoints, patient, {"ETCDCTL_USER": "weak:weak"}))
    with pytest.raises(UsageError, match=r"etcd does not let weak do that: .*permission denied"):
        weak.put("/other/key", b"")
    weak.close()
