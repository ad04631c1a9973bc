"""Choice of the forward proxy for a request, from ``proxy`` in the settings or ``HTTPS_PROXY`` in the environment.

The environment is read as `urllib.request` reads it: ``https_proxy``, ``http_proxy``, ``all_proxy``, ``no_proxy`` in
either case, and the system's own settings on macOS and Windows. An upstream on this machine is reached directly unless
the settings name a proxy.
"""

from __future__ import annotations

from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from ppmproxy.auth.origin import DEFAULT_PORTS
from ppmproxy.config.local_address import is_loopback_host
from ppmproxy.errors import UpstreamUnreachableError


def proxy_for(url: str, configured: str) -> str | None:
    """URL of the forward proxy for a request to `url`; None for a direct connection.

    Raises `UpstreamUnreachableError` when the environment names one that is no HTTP proxy.
    """
    if configured == "none":
        return None
    if configured != "environment":
        return configured
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_loopback_host(host):
        return None
    proxies = getproxies()
    chosen = proxies.get(parts.scheme) or proxies.get("all")
    if not chosen or proxy_bypass(f"{host}:{parts.port}" if parts.port else host):
        return None
    proxy = chosen if "://" in chosen else f"http://{chosen}"
    kind = proxy.partition("://")[0].lower()
    if kind not in DEFAULT_PORTS:
        what = f"the environment names a {kind} proxy for {host}, and only http and https proxies can be used"
        raise UpstreamUnreachableError(what, 'set HTTPS_PROXY to one, or set proxy = "none" in the settings')
    return proxy
