"""Settings for etcd, with the password that a file holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from procession._etcd.settings import read_settings
from procession.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from procession._etcd.settings import Settings


def settings_for(
    endpoint: str, conf: Mapping[str, str], environ: Mapping[str, str], password: str = ""
) -> Settings:
    """Make settings of what was asked for, as ``read_settings``, which says what that is.

    Args:
        endpoint: Where etcd is.
        conf: How it is spoken to; ``password_file`` is read.
        environ: etcdctl's variables.
        password: The password where no file holds it.

    Raises:
        UsageError: One of them cannot be, or the file cannot be read.
    """
    path = conf.get("password_file")
    if path:
        try:
            with open(path, encoding="utf-8") as file:
                password = file.read().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--rdzv-conf password_file={path}: {error}.") from error
    return read_settings(endpoint, conf, environ, password)
