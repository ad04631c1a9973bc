"""The grammar of request targets: the raw paths that every parser reads alike."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import unquote

from ppmproxy.errors import BadTargetError

DECODING_ROUNDS = 4  # no honest client percent-encodes a path more often

_FORBIDDEN_ANYWHERE = re.compile(r"[\x00-\x20\x7f#\ud800-\udfff]")
# Overlong UTF-8 (RFC 3629 section 3): a lenient decoder reads %c0%ae as "." and %c0%af as "/".
_FORBIDDEN_IN_PATH = re.compile(r"[\x00-\x1f\x7f\\]|%(?:c[01]|e0%[89][0-9a-f]|f0%8[0-9a-f])", re.IGNORECASE)
_SLASHES = re.compile("/{2,}")


def single_slashes(path: str) -> str:
    """A path without empty segments."""
    return _SLASHES.sub("/", path)


def is_plain_path(path: str) -> bool:
    """Whether every parser reads a raw path alike."""
    try:
        _check_path(path)
    except BadTargetError:
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
    """Path and query (with its "?") of a request target that every parser reads alike; else `BadTargetError`."""
    if not raw_target.startswith("/"):
        msg = "only a path is taken as a request target, not a whole URL or a host"
        raise BadTargetError(msg, "point the client at this proxy as an index, not as an HTTP proxy (unset HTTP_PROXY)")
    if _FORBIDDEN_ANYWHERE.search(raw_target):
        raise BadTargetError("the request target has a control byte, a space, a # or broken UTF-8 in it", _ENCODE_HINT)
    path, mark, query = raw_target.partition("?")
    path = single_slashes(path)
    _check_path(path)
    return path, mark + query


_ENCODE_HINT = "percent-encode it, or ask for the path as the Package Manager's own pages link it"


def _check_path(path: str) -> None:
    decoded = path
    for _ in range(DECODING_ROUNDS):
        if _FORBIDDEN_IN_PATH.search(decoded):
            what = "the path has a control byte, a backslash or broken UTF-8 in it, maybe encoded"
            raise BadTargetError(what, _ENCODE_HINT)
        if any(_without_parameters(segment) in {".", ".."} for segment in decoded.split("/")):
            raise BadTargetError("the path has a '.' or '..' segment in it, maybe encoded", _ENCODE_HINT)
        further = unquote(decoded, errors="replace")
        if further == decoded:
            return
        if further.count("/") != decoded.count("/"):
            raise BadTargetError("the path has an encoded slash in it", _ENCODE_HINT)
        decoded = further
    raise BadTargetError("the path is percent-encoded too many times over", _ENCODE_HINT)


def _without_parameters(segment: str) -> str:
    """A segment up to its ";": some servers read parameters behind it, and ``..;x`` as ``..``."""
    return segment.partition(";")[0]
