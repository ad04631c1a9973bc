"""Why a TLS connection to the Package Manager fails: which authority is missing, and who has to change what."""

from __future__ import annotations

import ssl

import aiohttp

from ppmproxy.auth.origin import Origin
from ppmproxy.auth.redaction import Redactor
from ppmproxy.config.model import Upstream
from ppmproxy.errors import ConnectionRejectedError, UpstreamError, UpstreamUntrustedError
from ppmproxy.upstream.forward_proxy import named_by, proxy_for, split_credentials
from ppmproxy.upstream.shown_certificates import ShownCertificates, Tunnel, shown_certificates
from ppmproxy.upstream.tls import Trust, names_own_authorities, store_mistake, way_into_store

# From OpenSSL's x509_vfy.h.
_OUT_OF_DATE = frozenset({9, 10})  # X509_V_ERR_CERT_NOT_YET_VALID and …_CERT_HAS_EXPIRED
_NAME_MISMATCH = frozenset({62, 64})  # …_HOSTNAME_MISMATCH and …_IP_ADDRESS_MISMATCH
_UNKNOWN_ISSUER = frozenset({2, 18, 19, 20, 21})  # …_UNABLE_TO_GET_ISSUER_CERT, …_SELF_SIGNED_…, …_LOCALLY, …_LEAF_…


async def explain_tls_failure(error: BaseException, url: str, upstream: Upstream, redactor: Redactor) -> UpstreamError:
    """The `UpstreamError` for a failed TLS handshake; reads the server's certificates to name what is missing."""
    cause = _tls_cause(error)
    origin = Origin.of(url)
    place, proxy = str(origin), proxy_for(url, upstream.proxy)
    hint = "check the url's port, and set client_cert if the server requires a client certificate"
    if (
        proxy is not None
        and (of_proxy := Origin.of(split_credentials(proxy)[0])).host == _host_of(error) != origin.host
    ):
        origin, proxy = of_proxy, None
        place = f"the forward proxy {origin}, of {named_by(url, upstream.proxy)},"
        hint = "check its port, and begin its url with http:// if it does not speak TLS"
    if not isinstance(cause, ssl.SSLCertVerificationError):
        reason = (cause.reason if isinstance(cause, ssl.SSLError) else None) or "the handshake failed"
        return ConnectionRejectedError(f"cannot connect to {place} over TLS: {reason.replace('_', ' ').lower()}", hint)
    shown = await shown_certificates(origin, _tunnel(proxy, upstream), redactor)
    is_added = upstream.ca_file is not None or names_own_authorities()
    reason, hint = reason_and_hint(cause.verify_code, cause.verify_message.rstrip("."), place, shown, is_added=is_added)
    by = f' (certificate issued by "{shown.issuer}")' if shown.issuer else ""
    return UpstreamUntrustedError(f"{place} is not trusted: {reason}{by}", hint)


def _tunnel(proxy: str | None, upstream: Upstream) -> Tunnel | None:
    if proxy is None:
        return None
    is_tls = proxy.lower().startswith("https:")
    return Tunnel(proxy, Trust(upstream, with_client_certificate=False).context() if is_tls else None)


def _host_of(error: BaseException) -> str:
    """The host of the connection that failed: the forward proxy's, where that is where it failed."""
    return (
        error.host if isinstance(error, (aiohttp.ClientConnectorError, aiohttp.ClientConnectorCertificateError)) else ""
    )


def reason_and_hint(
    verify_code: int, message: str, place: str, shown: ShownCertificates, *, is_added: bool = False
) -> tuple[str, str]:
    """Why OpenSSL refuses a certificate, in its words or better ones, and who has to change what.

    `is_added`: somebody has added an authority to the system's, so that the root is probably known.
    """
    if verify_code in _OUT_OF_DATE:
        hint = f"check this machine's date and time, or tell the administrator of {place} to renew it"
        return message, hint
    if verify_code in _NAME_MISMATCH and not shown.has_names:
        reason = f"it names no host in subjectAltName ({message})"
        return reason, f"tell the administrator of {place} to renew it with the host's name in subjectAltName"
    if verify_code in _NAME_MISMATCH:
        hint = f"write the upstream's url with a name that the certificate has, or tell the administrator of {place}"
        return message, hint
    if verify_code not in _UNKNOWN_ISSUER:
        return message, f"tell the administrator of {place} to replace it"
    return _about_issuer(message, place, shown, is_added=is_added)


def _about_issuer(message: str, place: str, shown: ShownCertificates, *, is_added: bool) -> tuple[str, str]:
    mistake = store_mistake()
    if mistake:
        return f"{message}, and {mistake}", f"correct {mistake.partition(' ')[0]}, or unset it"
    if shown.is_alone:
        message = "the server does not send its issuer's certificate, which is unknown here"
    if shown.is_alone and (shown.is_issuer_intermediate or is_added):
        hint = f"tell the administrator of {place} to send the intermediate certificate"
        return message, f'{hint}, or add "{shown.issuer}" to ca_file'
    authority = f' "{shown.last_issuer}"' if shown.last_issuer else ""
    return message, f"add the authority{authority} to ca_file, or to {way_into_store()}"


def _tls_cause(error: BaseException) -> BaseException:
    seen: BaseException | None = error
    while seen is not None:
        # aiohttp's own error for a certificate is an `ssl.SSLError` too, an empty one around the real one.
        if isinstance(seen, ssl.SSLError) and not isinstance(seen, aiohttp.ClientError):
            return seen
        inner = getattr(seen, "os_error", None) or getattr(seen, "certificate_error", None)
        seen = inner if isinstance(inner, BaseException) else seen.__cause__
    return error
