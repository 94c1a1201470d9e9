"""Where etcd is, how it is spoken to, what it answers, and that nobody shows its password."""

from __future__ import annotations

from typing import Any

import pytest

from procession._etcd.messages import decoded, key_range
from procession._etcd.settings import Settings, read_settings
from procession._etcd.wire import EtcdError, answer
from procession._store.endpoint import Endpoint
from procession.errors import UsageError


def read(endpoint: str = "h", conf: dict[str, str] | None = None, **environ: str) -> Settings:
    return read_settings(endpoint, conf or {}, environ)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gpu1", [("gpu1", 2379)]),
        ("gpu1:1;gpu2:2", [("gpu1", 1), ("gpu2", 2)]),
        ("https://gpu1:1,gpu2, gpu3:3", [("gpu1", 1), ("gpu2", 2379), ("gpu3", 3)]),
        ("http://a:1 b", [("a", 1), ("b", 2379)]),
        ("[fe80::1]:5;[::1]", [("fe80::1", 5), ("::1", 2379)]),
        ("https://a:1/", [("a", 1)]),
    ],
)
def test_endpoints_are_read(text: str, expected: list[tuple[str, int]]) -> None:
    assert list(read(text).endpoints) == expected


@pytest.mark.parametrize("text", ["", " ; ", "h:x", "h:0", "h:65536", ":1"])
def test_wrong_endpoints_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="HOST:PORT of etcd"):
        read(text)


def test_an_endpoint_is_shown_as_it_is_written() -> None:
    assert [str(Endpoint("::1", 2)), str(Endpoint("a", 2))] == ["[::1]:2", "a:2"]


def test_tls_is_seen_from_what_is_given() -> None:
    assert not read().tls
    assert read("https://a").tls
    assert read(conf={"cacert": "ca.pem"}).tls
    assert read(ETCDCTL_CACERT="ca.pem").cacert == "ca.pem"
    assert read(conf={"tls": "1"}).tls
    assert not read("https://a", {"tls": "no"}).tls
    with pytest.raises(UsageError, match="both cert=PATH and key=PATH"):
        read(conf={"cert": "c.pem"})


def test_a_password_is_taken_from_where_others_cannot_read_it() -> None:
    assert read(ETCDCTL_USER="u:p")[5:7] == ("u", "p")
    assert read(conf={"user": "u"}, ETCDCTL_PASSWORD="p").password == "p"
    assert read_settings("h", {"user": "u"}, {}, "of-a-file").password == "of-a-file"
    with pytest.raises(UsageError, match=r"Give password_file=PATH, or set ETCDCTL_PASSWORD\."):
        read(conf={"password": "p"})


def test_settings_do_not_show_the_password() -> None:
    settings = read(ETCDCTL_USER="u:very-secret")
    assert "very-secret" not in f"{settings} {settings!r} {settings._asdict()}"


@pytest.mark.parametrize("text", ["x", "0", "-1", "nan"])
def test_a_time_is_seconds(text: str) -> None:
    with pytest.raises(UsageError, match="request_timeout"):
        read(conf={"request_timeout": text})


@pytest.mark.parametrize(
    ("status", "data", "code", "message"),
    [
        (503, b'{"error":"x","code":14,"message":"etcdserver: no leader"}', 14, "no leader"),
        (200, b'{"error":{"grpc_code":4,"message":"slow"}}', 4, "slow"),
        (404, b"<html>", 14, "does not answer as etcd does"),
        (200, b"[]", 14, "does not answer as etcd does"),
        (500, b"{}", 2, "HTTP status 500"),
    ],
)
def test_an_error_is_read(status: int, data: bytes, code: int, message: str) -> None:
    with pytest.raises(EtcdError, match=message) as caught:
        answer(status, data, "gpu1:2379")
    assert caught.value.code == code
    assert "gpu1:2379" in str(caught.value)


def test_an_answer_is_read() -> None:
    found: dict[str, Any] = answer(200, b'{"header":{"revision":"3"}}', "h")
    assert found["header"]["revision"] == "3"


def test_a_prefix_is_a_range() -> None:
    found = key_range("/a/")
    assert (decoded(found["key"]), decoded(found["range_end"])) == (b"/a/", b"/a0")
