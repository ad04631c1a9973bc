"""The upstream URL that a client's raw request target stands for, and what kind of resource it names.

The raw target decides, byte for byte, before anything else parses it. What two parsers could read in two ways is
refused and not repaired: dot segments, encoded slashes, backslashes and NULs, at every depth of percent-encoding. URLs
are concatenated, never joined: `urljoin` with a client's path lets the client choose the host.

Paths map 1:1 and reversibly: ``<mount>/<rest>`` here is ``<base>/<rest>`` on the upstream. `link_map` is the inverse.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from ppmproxy.auth.origin import Origin
from ppmproxy.auth.paths import checked_target, is_at_or_below, is_below, names_api, plainest
from ppmproxy.config.model import ApiAccess, Upstream
from ppmproxy.errors import (
    LONGEST_SHOWN,
    BadTargetError,
    MethodNotAllowedError,
    NotForwardedError,
    UploadsOffError,
    shortened,
)
from ppmproxy.index.own_paths import FILES_PREFIX, OWN_PREFIX, host_segment

READ_METHODS = ("GET", "HEAD")

_SIMPLE = ("simple", "+simple")  # the second is devpi's
_FILE_SUFFIXES = (
    ".whl", ".metadata", ".zip", ".egg", ".exe", ".msi", ".rpm", ".deb", ".dmg", ".conda",
    ".gz", ".bz2", ".xz", ".tgz", ".tar.zst", ".rds", ".asc", ".sig", ".provenance",
)  # fmt: skip


class ResourceKind(enum.Enum):
    """What a path names, which decides how the answer is treated."""

    INDEX_PAGE = "index"  # links are made local
    FILE = "file"  # never compressed on the way; a login page in its place is an error
    API = "api"  # the read-only part of /__api__
    UPLOAD = "upload"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes."""

    upstream: Upstream
    url: str  # absolute, raw: sent as it stands
    local: str  # the same place as the client names it: path and query, slashes collapsed
    kind: ResourceKind
    repo: str  # the repository, or the source of an upload; "" at the base itself and for other hosts
    keeps_links: bool = False  # the client knows the upstream by its real URL: pages pass as they are


@dataclass(frozen=True, slots=True)
class OwnPage:
    """A page of the proxy itself, below ``/-/``."""

    path: str


def target_of(method: str, raw_target: str, upstreams: Sequence[Upstream]) -> Target | OwnPage:
    """What a request line asks for.

    Raises `BadTargetError` (400) for a malformed target, `NotForwardedError` (403, 404) and
    `MethodNotAllowedError` (405) for what is not forwarded, `UploadsOffError` (403).
    """
    path, query = checked_target(raw_target)
    if path.startswith(OWN_PREFIX) and not path.startswith(FILES_PREFIX):
        return OwnPage(path)
    if path.startswith(FILES_PREFIX):
        return _file_host_target(method, path, query, upstreams)
    upstream, below = _mounted(path, upstreams)
    kind = _kind_of(below)
    _check_method(method, kind, below, upstream)
    url = upstream.url + (below or "/") + query
    return Target(upstream, url, path + query, kind, _repo(below, kind))


def real_target_of(method: str, raw_target: str, origin: str, upstreams: Sequence[Upstream]) -> Target:
    """What a request for an upstream's real URL asks for: `origin` and the raw path are the upstream's own.

    Raises what `target_of` raises; `NotForwardedError` for what lies below no upstream.
    """
    path, query = checked_target(raw_target)
    for upstream in sorted(upstreams, key=lambda candidate: -len(candidate.url)):
        base = urlsplit(upstream.url).path
        if str(upstream.origin) == origin and is_at_or_below(base, path):
            below = path[len(base) :]
            kind = _kind_of(below)
            _check_method(method, kind, below, upstream)
            return Target(upstream, origin + path + query, path + query, kind, _repo(below, kind), keeps_links=True)
    raise _NothingHereError(
        f"no upstream in the settings has the URL {origin}{shortened(path, LONGEST_SHOWN)}",
        "add it to the settings as [upstream.<name>]",
    )


def kind_by_shape(raw_target: str) -> ResourceKind | None:
    """What a request target seems to name by its path alone, wherever it may be mounted; None where it is malformed."""
    try:
        path, _ = checked_target(raw_target)
    except BadTargetError:
        return None
    return ResourceKind.OTHER if path.startswith(OWN_PREFIX) else _kind_of(path)


def _mounted(path: str, upstreams: Sequence[Upstream]) -> tuple[Upstream, str]:
    """The upstream with the longest mount that holds the path, and the path below that mount."""
    for upstream in sorted(upstreams, key=lambda candidate: -len(candidate.mount)):
        if is_at_or_below(upstream.mount_prefix, path):
            return upstream, path[len(upstream.mount_prefix) :]
    mounts = ", ".join(sorted(upstream.mount for upstream in upstreams))
    raise _NothingHereError(
        f"no upstream is mounted at {shortened(path, LONGEST_SHOWN)}", f"use one of the mounts: {mounts}"
    )


class _NothingHereError(NotForwardedError):
    title = "no such mount"  # no 404: with a second index configured, clients would quietly go on there


def _segments(below: str) -> list[str]:
    return [segment for segment in plainest(below).split("/") if segment]


def _repo(below: str, kind: ResourceKind) -> str:
    """The repository that a path is about; for an upload (``/upload/pypi/<source>``) the source."""
    segments = _segments(below)
    at = 2 if kind is ResourceKind.UPLOAD else 0
    return segments[at] if len(segments) > at else ""


def _kind_of(below: str) -> ResourceKind:
    segments = _segments(below)
    if names_api("/".join(segments)):
        return ResourceKind.API
    if segments[:1] == ["upload"]:
        return ResourceKind.UPLOAD
    if names_file(below):
        return ResourceKind.FILE
    return ResourceKind.INDEX_PAGE if any(segment in _SIMPLE for segment in segments[-2:]) else ResourceKind.OTHER


def is_project_list(url: str) -> bool:
    """Whether an index page's URL, or its path, is the list of all projects, and no project's page (PEP 503).

    A project may be called ``simple``, too.
    """
    segments = url.partition("?")[0].rstrip("/").split("/")
    return segments[-1] in _SIMPLE and segments[-2:-1] != [segments[-1]]


def names_file(path: str) -> bool:
    """Whether a raw path ends with the name of a file, by its suffix."""
    return not path.endswith("/") and plainest(path).rpartition("/")[2].casefold().endswith(_FILE_SUFFIXES)


def _check_method(method: str, kind: ResourceKind, below: str, upstream: Upstream) -> None:
    if kind is ResourceKind.API:
        _check_api(method, below, upstream)
    elif kind is ResourceKind.UPLOAD and method == "POST":
        if not upstream.uploads:
            what = f"uploads to {upstream.url} are off"
            raise UploadsOffError(what, "set uploads = true in the settings, or PPMPROXY_UPLOADS=true")
    elif method not in READ_METHODS:
        raise MethodNotAllowedError(
            f"ppmproxy does not forward {method} requests", "use GET or HEAD, or POST for uploads"
        )


def _check_api(method: str, below: str, upstream: Upstream) -> None:
    """Pass the read-only queries that IDEs and R clients make; nothing else below ``/__api__`` is for clients here."""
    raw = below.split("/")[1:]
    rest = raw[1:] if raw[0] == "__api__" else []
    reads = method in READ_METHODS and (rest == ["status"] or rest[:1] == ["repos"])
    queries = method == "POST" and rest == ["filter", "packages"]
    if upstream.api is ApiAccess.READ and (reads or queries):
        return
    what = f"ppmproxy does not forward {method} {shortened(below, LONGEST_SHOWN)}, outside of the API's read-only part"
    raise NotForwardedError(what, "send it to the Package Manager itself, with a token of your own")


def may_be_redirected_to(method: str, url: str, upstream: Upstream) -> bool:
    """Whether a redirect within an upstream leads to what a client could have asked for itself."""
    below = urlsplit(url).path[len(urlsplit(upstream.url).path) :]
    try:
        _check_method(method, _kind_of(below), below, upstream)
    except (NotForwardedError, UploadsOffError):
        return False
    return True


def _file_host_target(method: str, path: str, query: str, upstreams: Sequence[Upstream]) -> Target:
    """The target on a host that the settings name in `file_hosts`: the inverse of `LinkMap`."""
    name, _, rest = path[len(FILES_PREFIX) :].partition("/")
    host, slash, file_path = rest.partition("/")
    for upstream in upstreams:
        for origin in upstream.file_hosts:
            if upstream.name == name and host_segment(origin) == host:
                if method not in READ_METHODS:
                    raise MethodNotAllowedError(
                        f"ppmproxy does not forward {method} requests for files", "use GET or HEAD"
                    )
                _check_no_way_around(origin, slash + file_path, upstream)
                return Target(upstream, f"{origin}{slash}{file_path}{query}", path + query, ResourceKind.FILE, "")
    raise NotForwardedError(
        f"file_hosts does not list the host {shortened(host, LONGEST_SHOWN)}", "add it to file_hosts in the settings"
    )


def _check_no_way_around(origin: Origin, path: str, upstream: Upstream) -> None:
    """Refuse, on a file host that is the upstream's own, what the token goes to: that is asked for below its mount."""
    if origin == upstream.origin and is_below(urlsplit(upstream.url).path, path or "/"):
        raise NotForwardedError("the path belongs to the Package Manager itself", f"request it below {upstream.mount}")
