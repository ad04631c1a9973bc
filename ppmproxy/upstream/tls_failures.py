"""Why a TLS connection to the Package Manager fails: which authority is missing, and who has to change what."""

from __future__ import annotations

import asyncio
import ssl
import sys
from dataclasses import dataclass

import aiohttp

from ppmproxy.auth.origin import Origin
from ppmproxy.auth.redaction import Redactor
from ppmproxy.config.model import Upstream
from ppmproxy.errors import ConnectionRejectedError, UpstreamError, UpstreamUntrustedError
from ppmproxy.upstream.forward_proxy import proxy_for
from ppmproxy.upstream.tls import store_in_use, store_mistake

HANDSHAKE_TIMEOUT = 5.0  # seconds to read the certificates of a server that is not trusted

# From OpenSSL's x509_vfy.h.
_OUT_OF_DATE = frozenset({9, 10})  # X509_V_ERR_CERT_NOT_YET_VALID and …_CERT_HAS_EXPIRED
_NAME_MISMATCH = frozenset({62, 64})  # …_HOSTNAME_MISMATCH and …_IP_ADDRESS_MISMATCH
_UNKNOWN_ISSUER = frozenset({2, 18, 19, 20, 21})  # …_UNABLE_TO_GET_ISSUER_CERT, …_SELF_SIGNED_…, …_LOCALLY, …_LEAF_…

_DER = 2  # _ssl.ENCODING_DER, whose name Python keeps to itself


@dataclass(frozen=True, slots=True)
class ShownCertificates:
    """What a server's certificates say, as far as it matters for trust; nothing where they could not be read."""

    issuer: str = ""  # of the server's own certificate
    last_issuer: str = ""  # of the last certificate that it sends: an authority that has to be known
    is_alone: bool = False  # it sends its own certificate without the one of the issuer
    has_names: bool = True  # in subjectAltName


async def explain_tls_failure(error: BaseException, url: str, upstream: Upstream, redactor: Redactor) -> UpstreamError:
    """The `UpstreamError` for a failed TLS handshake; reads the server's certificates to name what is missing."""
    cause = _tls_cause(error)
    place = str(Origin.of(url))
    if not isinstance(cause, ssl.SSLCertVerificationError):
        reason = (cause.reason if isinstance(cause, ssl.SSLError) else None) or "the handshake failed"
        return ConnectionRejectedError(
            f"no TLS connection to {place}: {reason.replace('_', ' ').lower()}",
            "check the url's port, and whether the server wants a client certificate (client_cert)",
        )
    shown = await _shown_certificates(url, upstream, redactor)
    reason, hint = reason_and_hint(cause.verify_code, cause.verify_message.rstrip("."), place, shown)
    by = f', issued by "{shown.issuer}"' if shown.issuer else ""
    return UpstreamUntrustedError(f"the certificate of {place}{by}, is not trusted: {reason}", hint)


def reason_and_hint(verify_code: int, message: str, place: str, shown: ShownCertificates) -> tuple[str, str]:
    """Why OpenSSL refuses a certificate, in its words or better ones, and who has to change what."""
    if verify_code in _OUT_OF_DATE:
        hint = f"check this machine's date and time; if they are right, the administrator of {place} has to renew it"
        return message, hint
    if verify_code in _NAME_MISMATCH and not shown.has_names:
        reason = f"it names no host in subjectAltName, and a common name does not count ({message})"
        return reason, f"the administrator of {place} has to renew it with the host's name in subjectAltName"
    if verify_code in _NAME_MISMATCH:
        hint = f"write the upstream's url with a name that the certificate is for, or tell the administrator of {place}"
        return message, hint
    if verify_code not in _UNKNOWN_ISSUER:
        return message, f"the administrator of {place} has to replace it"
    return _about_issuer(message, place, shown)


def _about_issuer(message: str, place: str, shown: ShownCertificates) -> tuple[str, str]:
    mistake = store_mistake()
    if mistake:
        return f"{message}, and {mistake}", f"correct {mistake.partition(' ')[0]}, or unset it"
    where = f"to {store_in_use()}, or name it with ca_file or SSL_CERT_FILE"
    if shown.is_alone:
        reason = "the server does not send the certificate of that authority, and it is not known here"
        hint = f"the administrator of {place} has to send the intermediate certificate too; add a private authority's"
        return reason, f"{hint} {where}"
    authority = f' "{shown.last_issuer}"' if shown.last_issuer else ""
    return message, f"add the certificate of the authority{authority} {where}"


def _tls_cause(error: BaseException) -> BaseException:
    seen: BaseException | None = error
    while seen is not None:
        # aiohttp's own error for a certificate is an `ssl.SSLError` too, an empty one around the real one.
        if isinstance(seen, ssl.SSLError) and not isinstance(seen, aiohttp.ClientError):
            return seen
        inner = getattr(seen, "os_error", None) or getattr(seen, "certificate_error", None)
        seen = inner if isinstance(inner, BaseException) else seen.__cause__
    return error


async def _shown_certificates(url: str, upstream: Upstream, redactor: Redactor) -> ShownCertificates:
    """What the server shows in a handshake, after which nothing is sent; not asked through a forward proxy."""
    if proxy_for(url, upstream.proxy) is not None:
        return ShownCertificates()
    origin = Origin.of(url)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # only to read the certificates
    try:
        _, writer = await asyncio.wait_for(
            asyncio.open_connection(origin.host, origin.port, ssl=context, server_hostname=origin.host),
            HANDSHAKE_TIMEOUT,
        )
    except (OSError, asyncio.TimeoutError):
        return ShownCertificates()
    try:
        return _summary(_chain_of(writer.get_extra_info("ssl_object")), redactor)
    except (ValueError, IndexError):
        return ShownCertificates()
    finally:
        writer.transport.abort()


def _chain_of(tls: ssl.SSLObject) -> list[bytes]:
    """The certificates that the server sent, its own first."""
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
        names = list(own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        names = []
    return ShownCertificates(
        redactor.server_text(own.issuer.rfc4514_string()),
        redactor.server_text(last.issuer.rfc4514_string()),
        is_alone=len(chain) == 1 and own.issuer != own.subject,
        has_names=bool(names),
    )
