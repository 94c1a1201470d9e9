"""Where etcd is and how it is spoken to. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from procession._store.endpoint import Endpoint
from procession.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_PORT = 2379
_KNOWN = ("cacert", "cert", "key", "user", "password_file", "tls", "request_timeout")


class Secret(str):
    """A text that shows itself to nobody who prints what holds it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


class Settings(NamedTuple):
    """How a client speaks to etcd.

    Attributes:
        endpoints: Members of the cluster, in the order of preference.
        tls: Speak TLS.
        cacert: File with the certificates to trust, empty for the system's.
        cert: File with the client's own certificate, empty for none.
        key: File with its key.
        user: Name to authenticate by, empty for nobody.
        password: Its password.
        timeout: Seconds that one request to one member may take.
    """

    endpoints: tuple[Endpoint, ...]
    tls: bool = False
    cacert: str = ""
    cert: str = ""
    key: str = ""
    user: str = ""
    password: Secret = Secret()
    timeout: float = 2.0


def read_settings(
    endpoint: str, conf: Mapping[str, str], environ: Mapping[str, str], password: str = ""
) -> Settings:
    """Make settings of what was asked for; what is not said is taken from etcdctl's variables.

    Args:
        endpoint: ``HOST[:PORT]`` of each member, between semicolons, commas (as etcdctl has them) or
            spaces; ``https://`` before one means TLS.
        conf: ``--rdzv-conf``: cacert, cert, key, user, password_file, tls, request_timeout.
        environ: ETCDCTL_CACERT, ETCDCTL_CERT, ETCDCTL_KEY, ETCDCTL_USER (``NAME`` or
            ``NAME:PASSWORD``) and ETCDCTL_PASSWORD.
        password: What ``password_file`` holds.

    Raises:
        UsageError: One of them cannot be.
    """
    if "password" in conf:
        raise UsageError(
            "--rdzv-conf password=...: every user of a host can read command lines. Give "
            "password_file=PATH, or set ETCDCTL_PASSWORD."
        )
    urls = [url for url in endpoint.replace(";", " ").replace(",", " ").split() if url]
    if not urls:
        raise UsageError("--rdzv-endpoint: give HOST:PORT of etcd, such as gpu1:2379.")
    name, _, known = conf.get("user", environ.get("ETCDCTL_USER", "")).partition(":")
    files = {name: conf.get(name, environ.get(f"ETCDCTL_{name.upper()}", "")) for name in _FILES}
    if bool(files["cert"]) != bool(files["key"]):
        raise UsageError("etcd: a client certificate needs both cert=PATH and key=PATH.")
    secure = any(url.startswith("https://") for url in urls) or any(files.values())
    return Settings(
        endpoints=tuple(_endpoint(url) for url in urls),
        tls=_truth(conf.get("tls", str(secure))),
        **files,
        user=name,
        password=Secret(password or known or environ.get("ETCDCTL_PASSWORD", "")),
        timeout=_seconds(conf.get("request_timeout", "2")),
    )


def hidden(environ: Mapping[str, str]) -> dict[str, str]:
    """What to put over an environment that goes on to others, so that no password is in it."""
    found = {"ETCDCTL_PASSWORD": ""} if "ETCDCTL_PASSWORD" in environ else {}
    name, colon, _ = environ.get("ETCDCTL_USER", "").partition(":")
    return {**found, "ETCDCTL_USER": name} if colon else found


_FILES = ("cacert", "cert", "key")


def _endpoint(url: str) -> Endpoint:
    rest = url.partition("://")[2] or url
    host, colon, port = rest.rstrip("/").rpartition(":")
    if rest.endswith("]") or not colon:
        host, port = rest.rstrip("/"), str(DEFAULT_PORT)
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise UsageError(f"--rdzv-endpoint {url}: give HOST:PORT of etcd, such as gpu1:2379.")
    return Endpoint(host, int(port))


def _truth(text: str) -> bool:
    return text.strip().lower() in {"1", "true", "t", "yes", "y"}


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 3600:
        raise UsageError(f"--rdzv-conf request_timeout={text}: give seconds, such as 2.")
    return value
