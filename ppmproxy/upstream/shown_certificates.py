"""The certificates that a server shows in a TLS handshake, read to explain why they are not trusted.

The way is that of the requests: through a forward proxy, with its credentials. Nothing is sent after the handshake.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ppmproxy.auth.origin import Origin
from ppmproxy.auth.redaction import Redactor
from ppmproxy.upstream.forward_proxy import split_credentials

if TYPE_CHECKING:
    from cryptography import x509

HANDSHAKE_TIMEOUT = 5.0  # seconds for connection and handshake
LARGEST_HEAD = 1 << 14  # bytes of a forward proxy's response to CONNECT
LARGEST_FLIGHT = 1 << 18  # bytes of a handshake

_DER = 2  # _ssl.ENCODING_DER, whose name Python keeps to itself


@dataclass(frozen=True, slots=True)
class ShownCertificates:
    """What a server's certificates say, as far as it matters for trust; nothing where they could not be read."""

    issuer: str = ""  # of the server's own certificate
    last_issuer: str = ""  # of the last certificate that it sends: an authority that has to be known
    is_alone: bool = False  # it sends its own certificate without the one of the issuer
    is_issuer_intermediate: bool = False  # the certificate says that its issuer has an issuer, too
    has_names: bool = True  # of hosts, in subjectAltName


@dataclass(frozen=True, slots=True)
class Tunnel:
    """A forward proxy on the way to a server."""

    proxy: str = field(repr=False)  # URL with user and password
    context: ssl.SSLContext | None  # how an https proxy is verified


async def shown_certificates(origin: Origin, tunnel: Tunnel | None, redactor: Redactor) -> ShownCertificates:
    """What a server shows; nothing where it, or the forward proxy, does not answer in time or not as it should."""
    try:
        return _summary(await asyncio.wait_for(_chain(origin, tunnel), HANDSHAKE_TIMEOUT), redactor)
    except (OSError, ValueError, IndexError, EOFError, asyncio.TimeoutError, asyncio.LimitOverrunError):
        return ShownCertificates()


async def _chain(origin: Origin, tunnel: Tunnel | None) -> list[bytes]:
    """The certificates that a server sends, its own first, as DER."""
    reader, writer = await _connected(origin, tunnel)
    try:
        return _sent_certificates(await _handshake(origin, reader, writer))
    finally:
        writer.transport.abort()


async def _connected(origin: Origin, tunnel: Tunnel | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to a server, before TLS."""
    if tunnel is None:
        return await asyncio.open_connection(origin.host, origin.port)
    address, headers = split_credentials(tunnel.proxy)
    proxy = Origin.of(address)
    reader, writer = await asyncio.open_connection(proxy.host, proxy.port, limit=LARGEST_HEAD, ssl=tunnel.context)
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    lines = [f"CONNECT {host}:{origin.port} HTTP/1.1", f"Host: {host}:{origin.port}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    try:
        writer.write("\r\n".join([*lines, "", ""]).encode())
        _check_established(await reader.readuntil(b"\r\n\r\n"))
    except BaseException:
        writer.transport.abort()
        raise
    return reader, writer


def _check_established(head: bytes) -> None:
    """`ConnectionError` for a response to CONNECT other than 2xx."""
    if not re.match(rb"HTTP/1\.[01] 2\d\d\b", head):
        raise ConnectionError


async def _handshake(origin: Origin, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> ssl.SSLObject:
    """A finished handshake; over memory, because the connection may be one of TLS to the forward proxy already."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # only to read the certificates
    received, to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(received, to_send, server_hostname=origin.host)
    size = 0
    while size < LARGEST_FLIGHT:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            writer.write(to_send.read())
            piece = await reader.read(LARGEST_HEAD)
            size += len(piece)
            if not piece:
                break
            received.write(piece)
        else:
            return tls
    raise ConnectionError


def _sent_certificates(tls: ssl.SSLObject) -> list[bytes]:
    if sys.version_info >= (3, 13):
        return list(tls.get_unverified_chain())
    chain = tls._sslobj.get_unverified_chain()  # type: ignore[attr-defined]  # noqa: SLF001 - public since 3.13
    return [certificate.public_bytes(_DER) for certificate in chain or ()]


def _summary(chain: list[bytes], redactor: Redactor) -> ShownCertificates:
    """What the certificates say; `ValueError` for one that cannot be parsed, `IndexError` when there is none."""
    # Imported here: it is needed only when something is wrong, and start-up should be quick.
    from cryptography import x509  # noqa: PLC0415

    own, last = (x509.load_der_x509_certificate(certificate) for certificate in (chain[0], chain[-1]))
    try:
        names = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        has_names = any(isinstance(name, (x509.DNSName, x509.IPAddress)) for name in names)
    except x509.ExtensionNotFound:
        has_names = False
    return ShownCertificates(
        redactor.server_text(own.issuer.rfc4514_string()),
        redactor.server_text(last.issuer.rfc4514_string()),
        is_alone=len(chain) == 1 and own.issuer != own.subject,
        is_issuer_intermediate=_is_issuer_intermediate(own),
        has_names=has_names,
    )


def _is_issuer_intermediate(own: x509.Certificate) -> bool:
    """Whether a certificate shows that its issuer has another authority above it.

    It may say who issued the issuer's (RFC 5280 section 4.2.1.1), or where to fetch that (section 4.2.2.1), which is of
    no use for a root: that has to be known beforehand.
    """
    from cryptography import x509  # noqa: PLC0415

    for extension in own.extensions:
        if isinstance(extension.value, x509.AuthorityKeyIdentifier):
            above = [name.value for name in extension.value.authority_cert_issuer or () if _is_directory_name(name)]
            if above:
                return own.issuer not in above
        elif isinstance(extension.value, x509.AuthorityInformationAccess):
            ca_issuers = x509.oid.AuthorityInformationAccessOID.CA_ISSUERS
            if any(access.access_method == ca_issuers for access in extension.value):
                return True
    return False


def _is_directory_name(name: x509.GeneralName) -> bool:
    from cryptography import x509  # noqa: PLC0415

    return isinstance(name, x509.DirectoryName)
