"""Certificates as an operator makes them, with openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path


class Authority:
    """Signs certificates, good ones and others.

    Args:
        directory: Where its files are.
        name: Its name, and that of its certificate's file.
    """

    def __init__(self, directory: Path, name: str = "ca") -> None:
        self.directory, self.name = directory, name
        self.cacert = str(directory / f"{name}.pem")
        self._key(name)
        self._openssl(
            "req",
            "-x509",
            "-new",
            "-key",
            f"{name}.key",
            "-subj",
            f"/CN={name}",
            "-out",
            f"{name}.pem",
        )

    def sign(self, name: str, *, days: int = 2, address: str = "127.0.0.1") -> tuple[str, str]:
        """Make a certificate for servers and clients; return its file and its key's."""
        self._key(name)
        uses = f"subjectAltName=IP:{address}\nextendedKeyUsage=serverAuth,clientAuth\n"
        (self.directory / f"{name}.ext").write_text(uses)
        self._openssl(
            "req", "-new", "-key", f"{name}.key", "-subj", f"/O={name}", "-out", f"{name}.csr"
        )
        self._openssl(
            *(
                "x509",
                "-req",
                "-in",
                f"{name}.csr",
                "-CA",
                f"{self.name}.pem",
                "-CAkey",
                f"{self.name}.key",
            ),
            *(
                "-CAcreateserial",
                "-days",
                str(days),
                "-extfile",
                f"{name}.ext",
                "-out",
                f"{name}.pem",
            ),
        )
        return str(self.directory / f"{name}.pem"), str(self.directory / f"{name}.key")

    def _key(self, name: str) -> None:
        self._openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{name}.key")

    def _openssl(self, *words: str) -> None:
        subprocess.run(["openssl", *words], cwd=self.directory, check=True, capture_output=True)
