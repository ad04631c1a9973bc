"""The private certificate authority of the fake Package Manager."""

from __future__ import annotations

import ssl
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import trustme


class CertificateAuthority:
    """A certificate authority that no client trusts; made when it is first used."""

    @cached_property
    def _ca(self) -> trustme.CA:
        import trustme  # noqa: PLC0415  slow, and needed with TLS only

        return trustme.CA()

    @property
    def pem(self) -> bytes:
        """The certificate to trust."""
        return self._ca.cert_pem.bytes()

    def server_context(self, names: tuple[str, ...], *, demands_client: bool = False) -> ssl.SSLContext:
        """TLS for a server of these names, which may ask clients for a certificate of this authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._ca.issue_cert(*names).configure_cert(context)
        if demands_client:
            context.verify_mode = ssl.CERT_REQUIRED
            self._ca.configure_trust(context)
        return context

    def client_context(self) -> ssl.SSLContext:
        """TLS for a client that trusts this authority and no other."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._ca.configure_trust(context)
        return context

    def write_pem(self, path: Path) -> Path:
        """Write the certificate to trust."""
        path.write_bytes(self.pem)
        return path

    def write_client_identity(self, folder: Path) -> tuple[Path, Path]:
        """Write a client certificate and its key; returns both files."""
        identity = self._ca.issue_cert("client@example.com")
        certificate, key = folder / "client.pem", folder / "client.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in identity.cert_chain_pems))
        key.write_bytes(identity.private_key_pem.bytes())
        key.chmod(0o600)
        return certificate, key
