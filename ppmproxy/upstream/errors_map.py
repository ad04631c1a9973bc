"""Network and TLS exceptions as `UpstreamError`s with a reason and a hint for people.

No exception of aiohttp, asyncio, ssl or the system leaves this room.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from http import HTTPStatus

import aiohttp

from ppmproxy.auth.origin import Origin
from ppmproxy.errors import (
    NoConnectionError,
    ProxyRefusalError,
    UnknownProxyError,
    UpstreamError,
    UpstreamTimeoutError,
    UpstreamUnexpectedError,
    UpstreamUnreachableError,
)
from ppmproxy.upstream.forward_proxy import named_by

_NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})
_CHECK_NETWORK = "check the network, the VPN and the upstream's url"
_CHECK_REDIRECT = "the Package Manager redirects there: check the network and the VPN"
_CHECK_PROXY = 'check HTTPS_PROXY and NO_PROXY, or set proxy = "none" in the settings'


def map_exception(error: BaseException, url: str, proxy: str = "none", *, is_redirected: bool = False) -> UpstreamError:
    """The `UpstreamError` for an exception that is not about TLS; `proxy` is that of the settings.

    `is_redirected`: the URL is another server's, to which the upstream has redirected.
    """
    place = _place(url)
    check = _CHECK_REDIRECT if is_redirected else _CHECK_NETWORK
    match error:
        case aiohttp.ConnectionTimeoutError() | aiohttp.ClientConnectorError() | socket.gaierror():
            named = named_by(url, proxy)
            return (_no_proxy(error, url, named) if named else None) or _no_connection(error, place, check)
        case asyncio.TimeoutError() | TimeoutError():
            return UpstreamTimeoutError(f"{place} did not answer in time", "try again, or raise read_timeout")
        case aiohttp.ClientHttpProxyError():
            return _proxy_refusal(error, place)
        case aiohttp.ClientPayloadError():
            return UpstreamUnreachableError(f"{place} ended its response too early", "try again")
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError() | ConnectionError():
            # By TLS 1.3 a server that misses the client's certificate says so only after the handshake, or not at all.
            hint = "try again, and check whether the server wants a client certificate (client_cert)"
            if place.startswith("http:"):
                hint = "try again, and check whether the upstream's url begins with https://"
            return UpstreamUnreachableError(f"{place} closed the connection without a response", hint)
        case OSError():
            return _no_connection(error, place, check)
        case _:
            return UpstreamUnexpectedError(
                f"the response of {place} is not valid HTTP ({type(error).__name__})",
                "correct the upstream's url, or tell the administrator of the Package Manager",
            )


def _proxy_refusal(error: aiohttp.ClientHttpProxyError, place: str) -> UpstreamUnreachableError:
    """A forward proxy's own answer to CONNECT: a 5xx is about the network behind it, another one about this client."""
    status = f"{error.status} {error.message}".strip()
    what = f"the forward proxy refuses a connection to {place}: {status}"
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return NoConnectionError(what, _CHECK_PROXY)
    if error.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return ProxyRefusalError(what, "correct the user and password in HTTPS_PROXY, or in proxy in the settings")
    return ProxyRefusalError(what, f"ask its administrator to allow {place}, or add the host to NO_PROXY")


def _no_proxy(error: BaseException, url: str, named: str) -> UpstreamUnreachableError | None:
    """The error for a forward proxy to which there is no connection; None where another one fits."""
    match error:
        case aiohttp.ConnectionTimeoutError():
            what = f"cannot connect to {_place(url)} through the forward proxy of {named}: timed out"
            return NoConnectionError(what, _CHECK_PROXY)
        case aiohttp.ClientProxyConnectionError():
            where = f"the forward proxy {error.host}:{error.port} of {named}"
            return NoConnectionError(
                f"cannot connect to {where} for {_place(url)}: {_system_reason(error)}", _CHECK_PROXY
            )
        case aiohttp.ClientConnectorDNSError() if not _shortage_behind(error):
            what = f"{named} names the forward proxy {error.host}:{error.port}, and that host name is unknown"
            return UnknownProxyError(what, f'correct {named}, or set proxy = "none" in the settings')
        case _:
            return None


def _no_connection(error: BaseException, place: str, check: str) -> NoConnectionError:
    if isinstance(error, (aiohttp.ClientConnectorDNSError, socket.gaierror)):
        error = _shortage_behind(error) or error
    match error:
        case aiohttp.ConnectionTimeoutError():
            return NoConnectionError(f"cannot connect to {place}: timed out", check)
        case aiohttp.ClientConnectorDNSError() | socket.gaierror():
            return NoConnectionError(f"cannot connect to {place}: the host name is unknown", check)
        case _:
            return NoConnectionError(f"cannot connect to {place}: {_system_reason(error)}", _hint_for(error, check))


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


def _hint_for(error: BaseException, check: str) -> str:
    """The hint for a connection that could not be made."""
    match getattr(getattr(error, "os_error", error), "errno", None):
        case errno.EMFILE:
            return "raise the limit of open files where ppmproxy runs: ulimit -n, or LimitNOFILE= in its unit"
        case errno.ENFILE:
            return "close other programs: this machine has too many files open"
        case _:
            return check


def _system_reason(error: BaseException) -> str:
    os_error = getattr(error, "os_error", error)
    number = getattr(os_error, "errno", None) or 0
    # asyncio puts "Connect call failed" and the address where the system's words would be.
    text = os.strerror(number) if number > 0 else getattr(os_error, "strerror", None) or type(os_error).__name__
    return str(text).lower()


def _place(url: str) -> str:
    return str(Origin.of(url))
