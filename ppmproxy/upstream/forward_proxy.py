"""Choice of the forward proxy for a request, from ``proxy`` in the settings or ``HTTPS_PROXY`` in the environment.

The environment is read as `urllib.request` reads it: ``https_proxy``, ``http_proxy``, ``all_proxy``, ``no_proxy`` in
either case, and the system's own settings on macOS and Windows; and as curl, pip and uv do, ``no_proxy`` may have
addresses in brackets and blocks of them (``10.0.0.0/8``). An upstream on this machine is reached directly unless the
settings name a proxy.
"""

from __future__ import annotations

import base64
import ipaddress
import os
import re
from collections.abc import Mapping
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from ppmproxy.auth.origin import DEFAULT_PORTS, Origin
from ppmproxy.config.local_address import is_loopback_host
from ppmproxy.errors import ConnectionRejectedError

IN_SETTINGS = "proxy in the settings"
_HALF_SCHEME = re.compile(r"https?:(?!//)(?!\d+/?\Z)", re.IGNORECASE)  # not the port of a host named http
_ESCAPES = {"#": "%23", "\\": "%5C", "?": "%3F", " ": "%20"}


def proxy_for(url: str, configured: str) -> str | None:
    """URL of the forward proxy for a request to `url`; None for a direct connection.

    Raises `ConnectionRejectedError` when the environment names one that cannot be used.
    """
    if configured == "none":
        return None
    if configured != "environment":
        return configured
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_loopback_host(host):
        return None
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415 - `exec` starts without it

    proxies = getproxies()
    chosen = proxies.get(parts.scheme) or proxies.get("all")
    if not chosen or proxy_bypass(f"{host}:{parts.port}" if parts.port else host):
        return None
    if _is_in_blocks(host, proxies.get("no", "")):
        return None
    proxy = chosen if "://" in chosen else f"http://{chosen}"
    mistake = _mistake_in_scheme(chosen) or _mistake_in(proxy)
    if mistake:
        variable = _variable_for(parts.scheme)
        what = f"{variable} cannot be used for {host}: {mistake}"
        raise ConnectionRejectedError(what, f'correct {variable}, or set proxy = "none" in the settings')
    return proxy


def named_by(url: str, configured: str) -> str:
    """What names the forward proxy for a request to `url`; "" for a direct connection. Raises as `proxy_for`."""
    if proxy_for(url, configured) is None:
        return ""
    return _variable_for(urlsplit(url).scheme) if configured == "environment" else IN_SETTINGS


def split_credentials(proxy: str) -> tuple[str, Mapping[str, str]]:
    """A proxy's URL without user and password, and the headers that it gets; in UTF-8, as curl sends them."""
    scheme, _, rest = proxy.partition("://")
    userinfo, at, address = rest.rpartition("@")
    if not at:
        return proxy, {}
    user, _, password = userinfo.partition(":")
    credentials = base64.b64encode(unquote_to_bytes(user) + b":" + unquote_to_bytes(password))
    return f"{scheme}://{address}", {"Proxy-Authorization": f"Basic {credentials.decode()}"}


def _is_in_blocks(host: str, no_proxy: str) -> bool:
    """Whether ``no_proxy`` exempts an address that `proxy_bypass` does not understand."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return any(_block_has(entry, address) for entry in re.split(r"[\s,]+", no_proxy) if entry)


def _block_has(entry: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    try:
        return address in ipaddress.ip_network(entry.replace("[", "").replace("]", ""), strict=False)
    except ValueError:
        return False


def _mistake_in_scheme(named: str) -> str:
    """Why what the environment names is no URL, where it begins almost like one."""
    scheme = _HALF_SCHEME.match(named)
    return f'it begins with "{scheme[0]}" without the two slashes after it' if scheme else ""


def _mistake_in(proxy: str) -> str:
    """Why a proxy's URL cannot be used, without its value, which may have a password in it; "" when it can."""
    kind, _, rest = proxy.partition("://")
    if kind.lower() not in DEFAULT_PORTS:
        return f"it names a {kind} proxy, and ppmproxy can use http and https proxies only"
    for character, escape in _ESCAPES.items():
        if character in rest:
            return f'it contains "{character}", which has to be written {escape}'
    userinfo, _, address = rest.partition("/")[0].rpartition("@")
    if "@" in userinfo:
        return 'its user or password contains "@", which has to be written %40'
    if ":" in unquote(userinfo.partition(":")[0]):
        return "its user name contains a colon, where the password begins"
    try:
        is_usable = Origin.of(f"{kind.lower()}://{address}").port > 0
    except ValueError:
        is_usable = False
    return "" if is_usable else "its host or port is not valid; a / in a password has to be written %2F"


def _variable_for(scheme: str) -> str:
    """The variable that names the proxy for a scheme; the lower-case one counts where both are set."""
    for name in (f"{scheme}_proxy", "all_proxy"):
        for spelling in (name, name.upper()):
            if os.environ.get(spelling):
                return spelling
    return "the system's proxy setting"
