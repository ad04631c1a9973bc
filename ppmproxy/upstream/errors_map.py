"""Network and TLS exceptions as `UpstreamError`s with a reason and a hint for people.

No exception of aiohttp, asyncio, ssl or the system leaves this room.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from http import HTTPStatus

import aiohttp

from ppmproxy.auth.origin import Origin
from ppmproxy.auth.redaction import Redactor
from ppmproxy.config.model import Upstream
from ppmproxy.errors import (
    ConnectionRejectedError,
    NoConnectionError,
    ProxyRefusalError,
    UpstreamError,
    UpstreamTimeoutError,
    UpstreamUnexpectedError,
    UpstreamUnreachableError,
    UpstreamUntrustedError,
)
from ppmproxy.upstream.forward_proxy import proxy_for
from ppmproxy.upstream.tls import store_in_use

HANDSHAKE_TIMEOUT = 5.0  # seconds to read the certificate of a server that is not trusted

_OUT_OF_DATE = frozenset({9, 10})  # X509_V_ERR_CERT_NOT_YET_VALID and …_CERT_HAS_EXPIRED of OpenSSL's x509_vfy.h
_NAME_MISMATCH = frozenset({62, 64})  # X509_V_ERR_HOSTNAME_MISMATCH and …_IP_ADDRESS_MISMATCH
_NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})
_CHECK_NETWORK = "check the network, the VPN and the upstream's url"
_CHECK_PROXY = 'check HTTPS_PROXY and NO_PROXY, or set proxy = "none"'


def map_exception(error: BaseException, url: str) -> UpstreamError:
    """The `UpstreamError` for an exception that is not about TLS."""
    place = _place(url)
    match error:
        case aiohttp.ConnectionTimeoutError() | aiohttp.ClientConnectorError() | socket.gaierror():
            return _no_connection(error, place)
        case asyncio.TimeoutError() | TimeoutError():
            return UpstreamTimeoutError(f"{place} sent nothing for too long", "try again, or raise read_timeout")
        case aiohttp.ClientHttpProxyError():
            return _proxy_refusal(error, place)
        case aiohttp.ClientPayloadError():
            return UpstreamUnreachableError(f"{place} cut its answer short", "try again")
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError() | ConnectionError():
            # By TLS 1.3 a server that misses the client's certificate says so only after the handshake, or not at all.
            hint = "try again, and check whether the server wants a client certificate (client_cert)"
            if place.startswith("http:"):
                hint = "try again, and check whether the upstream's url begins with https://"
            return UpstreamUnreachableError(f"{place} closed the connection without an answer", hint)
        case OSError():
            return _no_connection(error, place)
        case _:
            return UpstreamUnexpectedError(
                f"{place} does not speak HTTP as expected ({type(error).__name__})",
                "check that the upstream's url is the Package Manager's",
            )


def _proxy_refusal(error: aiohttp.ClientHttpProxyError, place: str) -> UpstreamUnreachableError:
    """A forward proxy's own answer to CONNECT: a 5xx is about the network behind it, another one about this client."""
    status = f"{error.status} {error.message}".strip()
    what = f"the forward proxy does not let a connection to {place} through: it answers {status}"
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return NoConnectionError(what, _CHECK_PROXY)
    if error.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return ProxyRefusalError(what, "check user and password in HTTPS_PROXY, or in proxy in the settings")
    return ProxyRefusalError(what, f"ask its administrator to allow {place}, or exempt it with NO_PROXY")


def _no_connection(error: BaseException, place: str) -> NoConnectionError:
    if isinstance(error, (aiohttp.ClientConnectorDNSError, socket.gaierror)):
        error = _shortage_behind(error) or error
    match error:
        case aiohttp.ConnectionTimeoutError():
            return NoConnectionError(f"no connection to {place} in time", _CHECK_NETWORK)
        case aiohttp.ClientProxyConnectionError():
            what = f"no connection to the forward proxy on the way to {place}: {_system_reason(error)}"
            return NoConnectionError(what, _CHECK_PROXY)
        case aiohttp.ClientConnectorDNSError() | socket.gaierror():
            return NoConnectionError(f"the host name of {place} is not known to this machine", _CHECK_NETWORK)
        case _:
            return NoConnectionError(f"no connection to {place}: {_system_reason(error)}", _hint_for(error))


async def explain_tls_failure(error: BaseException, url: str, upstream: Upstream, redactor: Redactor) -> UpstreamError:
    """The `UpstreamError` for a failed TLS handshake; reads the server's certificate to name the missing authority."""
    cause = _tls_cause(error)
    place = _place(url)
    if not isinstance(cause, ssl.SSLCertVerificationError):
        reason = (cause.reason if isinstance(cause, ssl.SSLError) else None) or "the handshake failed"
        return ConnectionRejectedError(
            f"no TLS connection to {place}: {reason.replace('_', ' ').lower()}",
            "check the url's port, and whether the server wants a client certificate (client_cert)",
        )
    issuer = redactor.server_text(await _issuer_shown(url, upstream))
    by = f', issued by "{issuer}"' if issuer else ""
    return UpstreamUntrustedError(
        f"the certificate of {place}{by}, is not trusted: {cause.verify_message.rstrip('.')}",
        _certificate_hint(cause.verify_code, place),
    )


def _certificate_hint(verify_code: int, place: str) -> str:
    """The hint for a certificate that OpenSSL refuses for this reason; another authority helps only with some."""
    if verify_code in _OUT_OF_DATE:
        return f"check this machine's date and time; if they are right, the administrator of {place} has to renew it"
    if verify_code in _NAME_MISMATCH:
        return f"write the upstream's url with a name that the certificate is for, or tell the administrator of {place}"
    return f"add the authority's certificate to {store_in_use()}, or name it with ca_file or SSL_CERT_FILE"


def _tls_cause(error: BaseException) -> BaseException:
    seen: BaseException | None = error
    while seen is not None:
        # aiohttp's own error for a certificate is an `ssl.SSLError` too, an empty one around the real one.
        if isinstance(seen, ssl.SSLError) and not isinstance(seen, aiohttp.ClientError):
            return seen
        inner = getattr(seen, "os_error", None) or getattr(seen, "certificate_error", None)
        seen = inner if isinstance(inner, BaseException) else seen.__cause__
    return error


def _shortage_behind(error: BaseException) -> OSError | None:
    """The lack of file descriptors that made a look-up fail, which the system often reports as an unknown name."""
    reported = getattr(error, "os_error", error)
    if isinstance(reported, OSError) and reported.errno in _NO_DESCRIPTORS:
        return reported
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as now:
        return now
    return None


def _hint_for(error: BaseException) -> str:
    """The hint for a connection that could not be made."""
    match getattr(getattr(error, "os_error", error), "errno", None):
        case errno.EMFILE:
            return "raise the limit of open files where ppmproxy runs: ulimit -n, or LimitNOFILE= in its unit"
        case errno.ENFILE:
            return "see what else runs on this machine: it is all of it together that has too many files open"
        case _:
            return _CHECK_NETWORK


def _system_reason(error: BaseException) -> str:
    os_error = getattr(error, "os_error", error)
    number = getattr(os_error, "errno", None) or 0
    # asyncio puts "Connect call failed" and the address where the system's words would be.
    text = os.strerror(number) if number > 0 else getattr(os_error, "strerror", None) or type(os_error).__name__
    return str(text).lower()


def _place(url: str) -> str:
    return str(Origin.of(url))


async def _issuer_shown(url: str, upstream: Upstream) -> str:
    """The issuer of the certificate that the server shows; "" when it cannot be read. Sends nothing but a handshake."""
    if proxy_for(url, upstream.proxy) is not None:
        return ""
    origin = Origin.of(url)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # only to read the certificate; no request is sent
    try:
        _, writer = await asyncio.wait_for(
            asyncio.open_connection(origin.host, origin.port, ssl=context, server_hostname=origin.host),
            HANDSHAKE_TIMEOUT,
        )
    except (OSError, asyncio.TimeoutError):
        return ""
    try:
        certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return _issuer_of(certificate)
    finally:
        writer.transport.abort()


def _issuer_of(certificate: bytes) -> str:
    # Imported here: it is needed only when something is wrong, and start-up should be quick.
    from cryptography import x509  # noqa: PLC0415

    try:
        return x509.load_der_x509_certificate(certificate).issuer.rfc4514_string()
    except ValueError:
        return ""
