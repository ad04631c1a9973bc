"""The grammar of request targets: the raw paths that every parser reads alike.

Some servers normalise what they have decoded: Unicode's NFKC makes a dot of a full-width one, and many programs drop
characters that are not shown. So a path is refused for what it is after that, too: dot segments, slashes, backslashes.
"""

from __future__ import annotations

import re
from functools import lru_cache
from unicodedata import category, normalize
from urllib.parse import unquote

from ppmproxy.errors import BadTargetError, NotForwardedError

DECODING_ROUNDS = 4  # no honest client percent-encodes a path more often

_FORBIDDEN_ANYWHERE = re.compile(r"[\x00-\x20\x7f#]|[\ud800-\udfff]")  # in one class they take longer to compile
# Overlong UTF-8 (RFC 3629 section 3): a lenient decoder reads %c0%ae as "." and %c0%af as "/".
_FORBIDDEN_IN_PATH = re.compile(r"[\x00-\x1f\x7f\\]|%(?:c[01]|e0%[89][0-9a-f]|f0%8[0-9a-f])", re.IGNORECASE)
_SLASHES = re.compile("/{2,}")
# What some servers take for these, though Unicode's NFKC does not. (It does for full-width ones.)
_LOOK_ALIKES = str.maketrans(
    {"\\": "/", "\u0131": "i"} | dict.fromkeys("\u2044\u2215\u2216\u2571\u2572\u29f5\u29f8\u29f9", "/")
)
# Default_Ignorable_Code_Point of Unicode's DerivedCoreProperties; category Cf has others, which are dropped too.
_IGNORABLE = (
    *((0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F)),
    *((0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF)),
    *((0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF)),
)


def single_slashes(path: str) -> str:
    """A path without empty segments."""
    return _SLASHES.sub("/", path)


def is_plain_path(path: str) -> bool:
    """Whether every parser reads a raw path alike."""
    try:
        _check_path(path)
    except (BadTargetError, NotForwardedError):
        return False
    return True


def is_below(base: str, path: str) -> bool:
    """Whether a raw path lies at or below a base path ("" is the root), by whole segments."""
    return is_plain_path(path) and is_at_or_below(base, path)


def is_at_or_below(base: str, path: str) -> bool:
    """`is_below` for a path that is known to be plain."""
    return path == base or path.startswith(base + "/")


@lru_cache(maxsize=64)  # called twice for each request: before the client is checked, and for routing
def checked_target(raw_target: str) -> tuple[str, str]:
    """Path and query (with its "?") of a request target that every parser reads alike.

    Else `BadTargetError`, or `NotForwardedError` for what names the API in disguise.
    """
    if not raw_target.startswith("/"):
        msg = "the request names a whole URL or a host, as for an HTTP proxy, and ppmproxy takes paths only"
        raise BadTargetError(msg, "give the client ppmproxy's URL as its index, and unset HTTP_PROXY")
    if found := _FORBIDDEN_ANYWHERE.search(raw_target):
        raise BadTargetError(f"the request's URL contains the character {found[0]!a} unencoded", _ENCODE_HINT)
    path, mark, query = raw_target.partition("?")
    path = single_slashes(path)
    _check_path(path)
    return path, mark + query


_ENCODE_HINT = "percent-encode it, as the Package Manager's own links do"
_PLAIN_HINT = "request the path as the Package Manager's own pages link it"


@lru_cache(maxsize=16)  # called for each question that routing asks about a path
def plainest(path: str) -> str:
    """A path as the most lenient server may read it: decoded again and again, with the plain form of each character."""
    for _ in range(DECODING_ROUNDS):
        further = _folded(unquote(path, errors="replace"))
        if further == path:
            break
        path = further
    return _with_plain_slashes(path)


def names_api(plain_path: str) -> bool:
    """Whether a path, by its `plainest` reading, leads through ``__api__``."""
    return "__api__" in plain_path.casefold() and any(map(_is_api_segment, plain_path.split("/")))


def _is_api_segment(segment: str) -> bool:
    # Some servers ignore case, parameters, or blanks and dots at the end: the strict reading takes all for the API.
    return re.split(r"[;?#]", segment.casefold(), maxsplit=1)[0].strip().strip(" .") == "__api__"


def _folded(text: str) -> str:
    """A text with the plain form of each character (NFKC), and without those that are not shown."""
    if text.isascii():
        return text
    shown = "".join(char for char in normalize("NFKC", text) if not _is_ignorable(char))
    return normalize("NFKC", shown)


def _is_ignorable(char: str) -> bool:
    return category(char) == "Cf" or any(first <= ord(char) <= last for first, last in _IGNORABLE)


def _with_plain_slashes(text: str) -> str:
    return text.replace("\\", "/") if text.isascii() else text.translate(_LOOK_ALIKES)


def _check_path(path: str) -> None:
    reading = path
    for _ in range(DECODING_ROUNDS):
        folded = _folded(reading)
        if folded.count("/") != reading.count("/") or folded.count("\\") != reading.count("\\"):
            if names_api(plainest(path)):
                raise NotForwardedError("the path leads to the Package Manager's API in another spelling", _PLAIN_HINT)
            raise BadTargetError("the path contains a character that some servers read as a slash", _PLAIN_HINT)
        reading = folded
        if _FORBIDDEN_IN_PATH.search(reading):
            what = "the path contains a control byte, a backslash or broken UTF-8, plain or encoded"
            raise BadTargetError(what, _PLAIN_HINT)
        if any(_without_parameters(segment) in {".", ".."} for segment in _with_plain_slashes(reading).split("/")):
            raise BadTargetError("the path contains a '.' or '..' segment, plain or encoded", _PLAIN_HINT)
        further = unquote(reading, errors="replace")
        if further == reading:
            return
        if further.count("/") != reading.count("/"):
            raise BadTargetError("the path contains an encoded slash", _PLAIN_HINT)
        reading = further
    raise BadTargetError(f"the path is percent-encoded more than {DECODING_ROUNDS} times", _PLAIN_HINT)


def _without_parameters(segment: str) -> str:
    """A segment up to its ";": some servers read parameters behind it, and ``..;x`` as ``..``."""
    return segment.partition(";")[0]
