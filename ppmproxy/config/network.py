"""The types of network settings: addresses, hosts, URLs, mounts and headers, parsed, normalised and formatted."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace

from ppmproxy.auth.origin import DEFAULT_PORTS, Origin
from ppmproxy.auth.secret import MASK
from ppmproxy.config.local_address import AutoListen, ListenAddress, TcpAddress, UnixAddress, is_loopback_host
from ppmproxy.config.location import Layer, Location, shown
from ppmproxy.config.model import DEFAULT_PORT
from ppmproxy.config.values import (
    ValueType,
    filled_string,
    from_inline_toml,
    items_of,
    list_of,
    string,
    toml_string,
    wrong_type,
)
from ppmproxy.environment import expand_home
from ppmproxy.errors import ConfigError

ENVIRONMENT, NO_PROXY = "environment", "none"
AUTO = "auto"  # listen: the usual addresses, or a port of this user's own where another user has the usual one

_HIGHEST_PORT = 65535
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_HOST_AND_PORT = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*)(?::(?P<port>[0-9]{1,5}))?")
_MOUNT = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110 section 5.6.2
_INDEX = re.compile(r".*/[^/]+/[^/]+/simple")  # an index URL, which people paste
_HARMFUL_ESCAPE = re.compile(r"%(?:2e|2f|5c|[01][0-9a-f]|7f|(?![0-9a-f]{2}))", re.IGNORECASE)

# Headers of one connection, which nothing passes on (RFC 9110 section 7.6.1; "trailers" is RFC 2616's name).
HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "trailers", "transfer-encoding", "upgrade"}
)
# The proxy sets these for each request, or they belong to one connection (RFC 9110 sections 7.6.1 and 11.7).
_NOT_FIXED = HOP_BY_HOP | {
    "authorization", "proxy-authorization", "proxy-authenticate", "cookie", "host", "content-length", "range",
    "accept-encoding", "expect",
}  # fmt: skip


def host_of(text: str) -> str | None:
    """A host name, or an address as `ipaddress` formats it; IPv6 in brackets in the text. None for anything else."""
    bare = text.lower()
    try:
        if bare.startswith("["):
            return str(ipaddress.IPv6Address(bare[1:-1]))
        return bare if _NAME.fullmatch(bare) else None
    except ValueError:
        return None


def _host_and_port(text: str) -> tuple[str, int | None] | None:
    """Both parts of ``host`` or ``host:port``; None for anything else."""
    parts = _HOST_AND_PORT.fullmatch(text)
    host = host_of(parts["host"]) if parts else None
    port = int(parts["port"]) if parts and parts["port"] else None
    return None if host is None or (port or 0) > _HIGHEST_PORT else (host, port)


# --- listen addresses -------------------------------------------------------------------------------------------------


def _listen_address(value: object, location: Location) -> ListenAddress:
    text = filled_string(value, location)
    if text.startswith("unix:"):
        return _unix_address(text.removeprefix("unix:"), location)
    parts = _host_and_port(text)
    if parts is None or parts[1] is None:
        raise location.refused(text, "not an address to listen on", "write 127.0.0.1:7760, [::1]:7760 or unix:/path")
    return TcpAddress(parts[0], parts[1])


def _unix_address(text: str, location: Location) -> UnixAddress:
    path = expand_home(text, location.home)
    if not path.is_absolute() or text.endswith("/"):
        raise location.refused(
            text, "not the absolute path of a socket", "write unix:/run/NAME.sock or unix:~/NAME.sock"
        )
    return UnixAddress(path)


def _listen(value: object, location: Location) -> tuple[ListenAddress, ...]:
    if value in (AUTO, [AUTO]):
        return AutoListen.on(DEFAULT_PORT)
    addresses = items_of(value, location, _listen_address)
    if not addresses:
        raise location.error("is empty, so nobody could reach the proxy", 'leave it out, or write ["127.0.0.1:7760"]')
    for index, address in enumerate(addresses):
        if address in addresses[:index]:
            raise location.error(f"names {address} twice", "name it once")
    return addresses


def _format_listen(addresses: tuple[ListenAddress, ...]) -> str:
    return toml_string(AUTO) if isinstance(addresses, AutoListen) else _ADDRESSES.format(addresses)


_ADDRESSES = list_of(_listen_address, "ADDRESS,...")
LISTEN = replace(_ADDRESSES, parse=_listen, format=_format_listen, metavar="auto|ADDRESS,...")


# --- hosts ------------------------------------------------------------------------------------------------------------


def _allowed_host(value: object, location: Location) -> str:
    text = filled_string(value, location)
    parts = _host_and_port(text)
    if parts is None:
        raise location.refused(text, "not a host", "write host or host:port without a pattern, IPv6 in brackets")
    host, port = parts
    bracketed = f"[{host}]" if ":" in host else host
    return bracketed if port is None else f"{bracketed}:{port}"


def _file_host(value: object, location: Location) -> Origin:
    text = filled_string(value, location)
    url = _http_url(text if "://" in text else f"https://{text}", location)
    if url.path or url.userinfo:
        raise location.refused(text, "which is more than a host", "write host, host:port or https://host:port")
    return url.origin


ALLOWED_HOSTS = list_of(_allowed_host, "HOST,...")
FILE_HOSTS = list_of(_file_host, "HOST,...")


# --- URLs -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _HttpUrl:
    """The parts of an http or https URL; the path as written, without trailing slashes."""

    origin: Origin
    userinfo: str
    path: str


def _http_url(text: str, location: Location) -> _HttpUrl:
    """Split without `urllib.parse.urlsplit`, which drops control characters and accepts a backslash."""
    odd = next((char for char in text if not char.isascii() or not char.isprintable() or char in " \\"), "")
    if odd:
        hint = "remove it, percent-encode it in a path, or write a host name in its xn-- form"
        raise location.refused(text, f"which contains {_ODD.get(odd, f'the character {odd!a}')}", hint)
    if "?" in text or "#" in text:
        raise location.refused(text, "which has a query or a fragment", "remove everything from the ? or # on")
    scheme, separator, rest = text.partition("://")
    if not separator or scheme.lower() not in DEFAULT_PORTS:
        raise _wrong_scheme(text, location)
    authority, _, path = rest.partition("/")
    userinfo, _, address = authority.rpartition("@")
    parts = _host_and_port(address.removesuffix(":"))
    if parts is None or parts[1] == 0 or "%" in address:
        raise location.refused(text, "whose host or port is not valid", _LIKE_THIS)
    host, port = parts
    origin = Origin(scheme.lower(), host, DEFAULT_PORTS[scheme.lower()] if port is None else port)
    return _HttpUrl(origin, userinfo, f"/{path}".rstrip("/"))


def _wrong_scheme(text: str, location: Location) -> ConfigError:
    """The error for a URL without a scheme, or with another one than http and https."""
    scheme, separator, rest = text.partition("://")
    if separator and scheme:
        from difflib import get_close_matches  # noqa: PLC0415 - for mistakes alone

        close = get_close_matches(scheme.lower(), DEFAULT_PORTS, n=1)
        hint = f"write {shown(f'{close[0]}://{rest}')[1:-1]}" if close else _LIKE_THIS
        return location.refused(text, f"whose scheme {shown(scheme)[1:-1]} is not http or https", hint)
    if bare := _HALF_SCHEME.match(text):
        return location.refused(text, f"without two slashes after {bare[0]}", _LIKE_THIS)
    bare_url = text.removeprefix("://").lstrip("/")
    is_host = _host_and_port(bare_url.partition("/")[0]) is not None
    return location.refused(
        text, "without a scheme", f"write {shown(f'https://{bare_url}')[1:-1]}" if is_host else _LIKE_THIS
    )


_LIKE_THIS = "write it like https://packagemanager.example.com"
_HALF_SCHEME = re.compile("https?:", re.IGNORECASE)
_ODD = {" ": "a space", "\\": "a backslash"}


def _upstream_url(value: object, location: Location) -> str:
    url = _http_url(filled_string(value, location), location)
    if url.userinfo:
        raise location.refused(value, "which contains a user name or password", _URL_WITHOUT_USER)
    if _is_ambiguous(url.path):
        why = "whose path has . or .., an empty segment or a %-escape that servers read in several ways"
        raise location.refused(value, why, "write the path without it")
    if url.origin.scheme == "http" and not is_loopback_host(url.origin.host):
        raise location.refused(value, "which would send the token unencrypted over the network", "write https://")
    if _INDEX.fullmatch(url.path):
        hint = "remove /<repository>/<snapshot>/simple/ at its end"
        raise location.refused(value, "the URL of an index instead of the Package Manager's", hint)
    return f"{url.origin}{url.path}"


_URL_WITHOUT_USER = (
    'remove them, and name a file with the token in [[credentials]] with from = "file", or in PPMPROXY_TOKEN_FILE'
)


def _is_ambiguous(path: str) -> bool:
    """Whether two parsers could read this path differently, so that "below the base path" is not defined."""
    segments = path.split("/")[1:]
    return bool({"", ".", ".."} & set(segments)) or _HARMFUL_ESCAPE.search(path) is not None


def _proxy(value: object, location: Location) -> str:
    text = filled_string(value, location)
    if text in {ENVIRONMENT, NO_PROXY}:
        return text
    if "://" not in text:
        raise location.refused(text, "not environment, none or the URL of a proxy", _LIKE_PROXY)
    if not text.lower().startswith(("http://", "https://")):
        raise location.refused(text, "not an http or https proxy", _LIKE_PROXY)
    url = _http_url(text, location)
    if url.path:
        raise location.refused(text, "which has a path", _LIKE_PROXY)
    if url.userinfo and location.layer is Layer.FLAG:
        raise location.error(
            "contains a password, which every user of this machine could read", "set PPMPROXY_PROXY instead"
        )
    return f"{url.origin.scheme}://{url.userinfo}@{url.origin.netloc}" if url.userinfo else str(url.origin)


_LIKE_PROXY = "write it like http://proxy.example.com:3128"


def masked_proxy(proxy: str) -> str:
    """A proxy's URL with user name and password masked."""
    scheme, separator, rest = proxy.partition("://")
    userinfo, at, address = rest.rpartition("@")
    return f"{scheme}{separator}{MASK}@{address}" if at and userinfo else proxy


URL = ValueType(_upstream_url, toml_string, "URL")
PROXY = ValueType(_proxy, lambda proxy: toml_string(masked_proxy(proxy)), f"{ENVIRONMENT}|{NO_PROXY}|URL")


# --- mounts and headers -----------------------------------------------------------------------------------------------


def _mount(value: object, location: Location) -> str:
    text = string(value, location)
    mount = text.removesuffix("/")
    if text == "/":
        return text
    if not _MOUNT.fullmatch(mount) or {".", ".."} & set(mount.split("/")):
        raise location.refused(text, "not a path to mount at", 'write "/" or "/name" of letters, digits and . _ ~ -')
    if mount == "/-" or mount.startswith("/-/"):
        raise location.refused(text, "which is below the path /-/ of ppmproxy's own pages", "choose another name")
    return mount


def _headers(value: object, location: Location) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict):
        raise wrong_type(value, "a table", location, 'write it like headers = { X-Name = "value" }')
    headers = tuple((name, _header_value(name, text, location.below(name))) for name, text in value.items())
    if len({name.lower() for name, _ in headers}) != len(headers):
        raise location.error("names a header twice", "remove one; upper and lower case make no difference")
    return headers


def _header_value(name: str, value: object, location: Location) -> str:
    if not _TOKEN.fullmatch(name):
        raise location.error("is not a header's name", "use letters, digits and !#$%&'*+.^_`|~-")
    if name.lower() in _NOT_FIXED or name.lower().startswith("if-"):
        raise location.error("cannot be a fixed header, because ppmproxy sets it for each request", "remove it")
    text = string(value, location).strip()
    if not text.isascii():
        raise location.error("contains a character beyond ASCII", "write the value in ASCII")
    return text


def _format_headers(headers: tuple[tuple[str, str], ...]) -> str:
    pairs = ", ".join(f"{toml_string(name)} = {toml_string(MASK)}" for name, _ in headers)
    return f"{{ {pairs} }}" if pairs else "{}"


MOUNT = ValueType(_mount, toml_string, "PATH")
HEADERS = ValueType(_headers, _format_headers, "TABLE", from_inline_toml)
