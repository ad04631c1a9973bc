"""Who on this machine may use the proxy: Host header, origin.

To change who is let in, open this file.

A proxy that injects a credential is a way to use that credential, and every web page can send requests to localhost.
No installer sends ``Origin`` or ``Sec-Fetch-Site``; every browser does (Fetch Metadata). A page that has rebound its
own name to 127.0.0.1 sends that name as ``Host``. Both are looked at before anything else is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ppmproxy.errors import ForbiddenClientError
from ppmproxy.routing import OWN_PREFIX
from ppmproxy.settings import Settings, TcpAddress

ALWAYS_ALLOWED = ("localhost", "127.0.0.1", "[::1]")

_HOST = re.compile(r"(?P<name>\[[0-9a-fA-F:.]+\]|[^:\[\]@/\\\s]+)(?::(?P<port>\d{0,5}))?")


def allowed_hosts(settings: Settings) -> frozenset[str]:
    """Values that ``Host`` may have: a name for any port, or a name with its port."""
    listening = (address.host for address in settings.listen if isinstance(address, TcpAddress))
    names = [f"[{host}]" if ":" in host else host for host in listening if host not in {"0.0.0.0", "::"}]
    return frozenset(name.lower() for name in (*ALWAYS_ALLOWED, *names, *settings.allowed_hosts))


def check_client(headers: Sequence[tuple[str, str]], raw_target: str, allowed: frozenset[str]) -> None:
    """Let a request in, or raise `ForbiddenClientError`."""
    _check_host([value for name, value in headers if name.lower() == "host"], allowed)
    _check_no_browser({name.lower(): value for name, value in headers}, raw_target)


def _check_host(values: Sequence[str], allowed: frozenset[str]) -> None:
    if len(values) != 1:
        raise ForbiddenClientError("the request needs exactly one Host header", "use a client that speaks HTTP/1.1")
    host = values[0].strip().lower()
    match = _HOST.fullmatch(host)
    if match is None or not ({host, match["name"]} & allowed):
        shown = host[:80] if host.isprintable() and host.isascii() else "with strange characters"
        raise ForbiddenClientError(
            f"the Host {shown} is not one this proxy answers to",
            "use http://127.0.0.1 or http://localhost, or add the name to allowed_hosts in the settings",
        )


def _check_no_browser(headers: dict[str, str], raw_target: str) -> None:
    site = headers.get("sec-fetch-site")
    if site == "none" and "origin" not in headers and raw_target.startswith(OWN_PREFIX):
        return  # somebody typed the address of one of the proxy's own pages
    if site is not None or "origin" in headers:
        raise ForbiddenClientError(
            "this request comes from a web page, and web pages may not use the proxy",
            "use pip, uv or another package installer",
        )
