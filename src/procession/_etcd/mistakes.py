"""What a person has to change where etcd does not let us in. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from procession._etcd.settings import Settings
    from procession._store.endpoint import Endpoint

# Of X509_verify_cert_error_string(3).
_EXPIRED, _NOT_YET = 10, 9
_OTHER_NAME = {62, 64}
_INVALID, _DENIED = 3, 7  # gRPC's codes


class Problem(NamedTuple):
    """Why a member did not do.

    Attributes:
        text: In words, with what to type where that is known.
        is_mistake: It will not go away by itself.
        is_full: It has answered, but has no room.
    """

    text: str
    is_mistake: bool = False
    is_full: bool = False


def problem(
    error: Exception, endpoint: Endpoint, settings: Settings, *, connected: bool
) -> Problem:
    """Word what went wrong with a member.

    Args:
        error: What was raised.
        endpoint: The member.
        settings: How it was spoken to.
        connected: It went wrong after the connection, and TLS where asked for, had been set up.
    """
    code = getattr(error, "verify_code", None)  # of ssl.SSLCertVerificationError alone
    if code is not None:
        return Problem(f"{endpoint}: {_certificate(code, str(error), endpoint, settings)}", True)
    text = f"{endpoint}: {error or type(error).__name__}"
    # An SSLError has a reason. Who does not like what it hears may also hang up before it has read it all: then
    # TCP forgets what was said of it, and a reset is all that we get (RFC 9293, 3.10.7.4).
    hung_up = isinstance(error, (ConnectionResetError, BrokenPipeError))
    if settings.tls and (hung_up or hasattr(error, "reason")):
        return Problem(f"{text}. {_refusal(settings) if connected else _no_tls(endpoint)}")
    if not settings.tls and hung_up and connected:  # http.client.RemoteDisconnected is one, too
        return Problem(f"{text}. If it speaks TLS, write https://{endpoint}.")
    return Problem(text)


def _certificate(code: int, said: str, endpoint: Endpoint, settings: Settings) -> str:
    if code in {_EXPIRED, _NOT_YET}:
        when = "has expired" if code == _EXPIRED else "is not valid yet"
        return f"its certificate {when}. Renew it, or set the clock of this host right."
    if code in _OTHER_NAME:
        return (
            f"its certificate is for other names than {endpoint.host} ({_detail(said)}). In "
            "--rdzv-endpoint, give a name or address that the certificate is for."
        )
    known = f"nobody in {settings.cacert}" if settings.cacert else "nobody whom this host trusts"
    return (
        f"its certificate is signed by {known} ({_detail(said)}). Give the certificate of etcd's "
        "authority: --rdzv-conf cacert=PATH, or set ETCDCTL_CACERT."
    )


def _detail(said: str) -> str:
    """The reason in OpenSSL's ``[SSL: X] certificate verify failed: reason (_ssl.c:1)``."""
    return said.rpartition("verify failed: ")[2].partition(" (_ssl")[0].rstrip(".")


def _no_tls(endpoint: Endpoint) -> str:
    return f"Does it speak TLS? If not, write http://{endpoint}, and give no certificates."


def _refusal(settings: Settings) -> str:
    if settings.cert:
        return (
            f"Does it accept {settings.cert}? That has to be signed by an authority that etcd "
            "trusts (--trusted-ca-file), and not expired."
        )
    return (
        "It may want a certificate of ours: --rdzv-conf cert=PATH,key=PATH, or set ETCDCTL_CERT and "
        "ETCDCTL_KEY."
    )


def refused(code: int, said: str, settings: Settings) -> str:
    """Word why etcd would not do a request; empty where that is no mistake of a person.

    Args:
        code: gRPC's.
        said: What etcd has said.
        settings: How it was spoken to.
    """
    nobody = code == _DENIED and not settings.user
    if nobody or (code == _INVALID and "user name is empty" in said):
        return (
            f"etcd wants to know who we are: {said}. Set ETCDCTL_USER and ETCDCTL_PASSWORD, or give "
            "--rdzv-conf user=NAME,password_file=PATH."
        )
    if "CommonName of client" in said:
        return (
            f"etcd's JSON gateway takes no certificate with a common name beside passwords. Give one "
            f"without, such as of openssl req -subj /O=us, in place of {settings.cert}."
        )
    if code == _DENIED:
        return (
            f"etcd does not let {settings.user} do that: {said}. A role of the user's needs the keys of runs: "
            "etcdctl role grant-permission ROLE --prefix=true readwrite /procession/"
        )
    return ""
