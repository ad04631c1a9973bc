"""Spellings of a host that some client reads as another host: uv by the WHATWG URL standard, others by the system.

Names come percent-encoded, in full-width or other compatible letters, or with a dot at the end (section 3.5 of the
standard, UTS #46); addresses in fewer than four parts, in octal or hexadecimal (`inet_aton`).
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import Final
from unicodedata import category, normalize
from urllib.parse import SplitResult, unquote

from ppmproxy.auth.origin import DEFAULT_PORTS, Origin

LONGEST_HOST: Final = 1024  # characters; a name has 253, each of them encoded in up to twelve
_MOST_PARTS: Final = 4  # of an IPv4 address
_IGNORED: Final = re.compile(
    "[\u034f\u115f\u1160\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0]"
)  # besides those of category Cf
_NUMBER: Final = re.compile(r"0[xX][0-9a-fA-F]*|[0-9]+")

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def read_origin(parts: SplitResult, hosts: tuple[str, ...]) -> Origin:
    """The origin of a URL; with one of these hosts where its own is a spelling of it. `ValueError` as `Origin.of`."""
    host = parts.hostname or ""
    known = host if host in hosts else next((known for known in hosts if is_spelling_of(host, known)), None)
    if known is None or parts.scheme not in DEFAULT_PORTS:
        return Origin.of_parts(parts)
    port = parts.port if parts.port is not None else DEFAULT_PORTS[parts.scheme]
    return Origin(parts.scheme, known, port)


@lru_cache(maxsize=256)
def is_spelling_of(host: str, known: str) -> bool:
    """Whether some client reads a host, in lower case, as another one."""
    if not host or len(host) > LONGEST_HOST:
        return False
    return not _readings(host).isdisjoint(_readings(known))


def _readings(host: str) -> frozenset[str]:
    """What clients may read a host as: names in ASCII, or addresses."""
    plain = unquote(host, errors="replace")
    names = {plain} if plain.isascii() else _mapped(plain)
    names = {name.lower().rstrip(".") for name in names}
    addresses = {address for name in names if (address := _address(name)) is not None}
    return frozenset(names | addresses)


def _mapped(host: str) -> set[str]:
    """A name in ASCII, as the versions of IDNA map it: they differ in letters such as the German sharp s."""
    kept = "".join(char for char in host if category(char) != "Cf" and not _IGNORED.match(char))
    folded = {normalize("NFKC", fold(normalize("NFKC", kept))) for fold in (str.lower, str.casefold)}
    return {".".join(map(_in_ascii, name.replace("\u3002", ".").split("."))) for name in folded}


def _in_ascii(label: str) -> str:
    return label if label.isascii() else "xn--" + label.encode("punycode", "replace").decode("ascii", "replace")


def _address(name: str) -> str | None:
    """An IPv4 or IPv6 address of any spelling in its usual one; None for a name."""
    try:
        address: _Address = ipaddress.ip_address(_number_of_parts(name.split(".")))
    except ValueError:
        try:
            address = ipaddress.ip_address(name.partition("%")[0])
        except ValueError:
            return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return str(address)


def _number_of_parts(parts: list[str]) -> int:
    """The number of an IPv4 address (WHATWG URL standard, section 3.5): its last part fills all that is left."""
    if len(parts) > _MOST_PARTS or not all(map(_NUMBER.fullmatch, parts)):
        raise ValueError
    *first, last = (int(part[2:] or "0", 16) if part[1:2] in {"x", "X"} else _octal_or_decimal(part) for part in parts)
    number = last
    for place, part in enumerate(first):
        number += part << 8 * (3 - place)
    if max(first, default=0) > 255 or last >= 1 << 8 * (5 - len(parts)):  # noqa: PLR2004
        raise ValueError
    return number


def _octal_or_decimal(digits: str) -> int:
    return int(digits, 8) if digits.startswith("0") and len(digits) > 1 else int(digits)
