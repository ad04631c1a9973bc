"""The local path of a URL that an index page links to: the inverse of `routing.target_of`.

``<base>/<rest>`` on the upstream is ``<mount>/<rest>`` here, and a URL on a host of ``file_hosts`` is
``/-/files/<upstream>/<host>/…``. Every local path that is handed out is one that the proxy takes. A page that links to
a file without one is refused, because clients would go around the proxy; other such links are left alone. A host is the
upstream's in every spelling that some client reads as it (`host_spellings`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, quote, unquote, urlsplit

from ppmproxy.auth.origin import DEFAULT_PORTS, Origin
from ppmproxy.auth.paths import is_at_or_below, is_plain_path, single_slashes
from ppmproxy.config.model import Upstream
from ppmproxy.errors import PpmProxyError
from ppmproxy.index.host_spellings import read_origin
from ppmproxy.index.link_resolver import MOST_SHOWN, BrokenPage, without_dot_segments
from ppmproxy.index.own_paths import FILES_PREFIX, OWN_PREFIX, host_segment
from ppmproxy.index.routing import OwnPage, names_file, target_of

PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))  # ASCII; clients percent-encode all else
LONGEST_TARGET = 8000  # bytes; `server.connection` takes a little more
_MOST_DIRECTORIES = 64  # remembered
_ENCODED_BY_CLIENTS = re.compile(r"[ \ud800-\udfff]")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class LinkMap:
    """What the links on an upstream's pages become for a client."""

    upstream: Upstream
    others: tuple[Upstream, ...] = ()  # what else is mounted: its paths are not this upstream's
    _prefixes: dict[str, tuple[str, str] | None] = field(default_factory=dict, compare=False, repr=False)
    _hosts: tuple[str, ...] = field(init=False, compare=False, repr=False)  # whose links become local

    def __post_init__(self) -> None:
        hosts = (self.upstream.origin.host, *(origin.host for origin in self.upstream.file_hosts))
        object.__setattr__(self, "_hosts", hosts)

    def local(self, url: str) -> str:
        """Root-relative local path of an absolute URL, or the URL itself where it is left alone.

        Query and fragment stay as they are. User info is dropped with the host, so a token in a link goes no further.
        Raises `BrokenPage` for a file that cannot be had through the proxy.
        """
        try:
            parts = urlsplit(url)
            origin = read_origin(parts, self._hosts)
        except ValueError:
            return url
        path = parts.path or "/"
        local = None if _CONTROLS.search(url) or not is_plain_path(path) else self._local_path(origin, path)
        if local is not None:
            local += _after_path(url, parts)
        if names_file(path) and (local is not None or self._is_ours(origin, path)):
            self._check_is_taken(path, local)
        return url if local is None else local

    def local_prefix(self, directory: str) -> tuple[str, str] | None:
        """For all simple URLs in a directory: what they begin with, and what takes its place; None if they differ.

        `directory` is an absolute URL that ends with a slash; simple are URLs that go on as `link_resolver.REST` says.
        What they begin with is the directory itself, or the upstream's base path below it.
        """
        if directory not in self._prefixes:
            if len(self._prefixes) == _MOST_DIRECTORIES:
                self._prefixes.clear()
            self._prefixes[directory] = self._local_prefix(directory)
        return self._prefixes[directory]

    def _local_prefix(self, directory: str) -> tuple[str, str] | None:
        if any(is_at_or_below(self.upstream.mount_prefix, mount) for mount in self._deeper_mounts()):
            return None
        base = urlsplit(self.upstream.url).path + "/"
        try:
            parts = urlsplit(directory)
            origin = read_origin(parts, self._hosts)
        except ValueError:
            return directory, directory
        if "//" in parts.path:
            return None
        if leads_to(origin, self.upstream.origin) and base.startswith(parts.path):
            return directory + base[len(parts.path) :], self.upstream.mount_prefix + "/"
        local = self.local(directory)
        return None if local == directory and self._is_ours(origin, parts.path) else (directory, local)

    def _local_path(self, origin: Origin, path: str) -> str | None:
        base = urlsplit(self.upstream.url)
        # Without empty segments, as `target_of` reads it; "//name" would even be a link to the host "name".
        path = single_slashes(path)
        if leads_to(origin, Origin.of_parts(base)) and is_at_or_below(base.path, path):
            local = self.upstream.mount_prefix + path[len(base.path) :] or "/"
            return None if self._is_taken(local) else local
        if origin in self.upstream.file_hosts:
            return FILES_PREFIX + f"{self.upstream.name}/{host_segment(origin)}{path}"
        return None

    def _is_ours(self, origin: Origin, path: str) -> bool:
        base = urlsplit(self.upstream.url)
        if not leads_to(origin, Origin.of_parts(base)):
            return origin in self.upstream.file_hosts
        plain = single_slashes(unquote(path))
        is_below_base = any(is_at_or_below(base.path, read) for read in (plain, without_dot_segments(plain)))
        return is_below_base or origin in self.upstream.file_hosts

    def _check_is_taken(self, path: str, local: str | None) -> None:
        """Make sure that the proxy takes the local path of a file; `BrokenPage` with the reason if it does not."""
        below = single_slashes(path).removeprefix(urlsplit(self.upstream.url).path + "/").lstrip("/")
        target = (local or f"{self.upstream.mount_prefix}/{below}").partition("#")[0]
        size = len(target) if target.isascii() else len(quote(target, safe=PRINTABLE, errors="surrogateescape"))
        reason = f"a URL has {size} characters" if size > LONGEST_TARGET else ""
        try:
            found = target_of("GET", _ENCODED_BY_CLIENTS.sub("_", target), (self.upstream, *self.others))
            if isinstance(found, OwnPage):
                reason = "ppmproxy has a page of its own there"
        except PpmProxyError as error:
            reason = str(error)
        if local is None:
            reason = reason or "another upstream is mounted there"
        if reason:
            raise BrokenPage(f"{reason}, so ppmproxy cannot serve the link {path[:MOST_SHOWN]}")

    def _is_taken(self, local: str) -> bool:
        """Whether the proxy itself or another mount has this path."""
        return local.startswith(OWN_PREFIX) or any(is_at_or_below(mount, local) for mount in self._deeper_mounts())

    def _deeper_mounts(self) -> list[str]:
        return [other.mount for other in self.others if len(other.mount) > len(self.upstream.mount)]


@dataclass(frozen=True, slots=True)
class RealLinks:
    """The links on an upstream's pages for a client that knows it by its real URL (``exec --intercept``).

    They stay, but for ``http://`` links of an https upstream to itself, and for other spellings of its host: only https
    connections to its name are intercepted.
    """

    upstream: Upstream

    def local(self, url: str) -> str:
        """The URL as the client must write it."""
        parts = urlsplit(url)
        is_real = parts.scheme == "https" and parts.hostname == self.upstream.origin.host
        if is_real or not leads_to(read_origin(parts, (self.upstream.origin.host,)), self.upstream.origin):
            return url
        return f"{self.upstream.origin}{parts.path}{_after_path(url, parts)}"

    def local_prefix(self, directory: str) -> tuple[str, str] | None:
        """As in `LinkMap`."""
        try:
            return directory, self.local(directory)
        except ValueError:
            return directory, directory


def leads_to(link: Origin, upstream: Origin) -> bool:
    """Whether a link's origin is the upstream's.

    A server behind a TLS terminator that does not know it writes ``http://`` links to itself; the same host on http's
    default port is taken for it, and asked over https.
    """
    return link == upstream or (
        upstream.scheme == "https"
        and link.scheme == "http"
        and link.host == upstream.host
        and link.port in {DEFAULT_PORTS["http"], upstream.port}
    )


def _after_path(url: str, parts: SplitResult) -> str:
    # Cut from the URL itself: urlunsplit would drop an empty query or fragment.
    start = url.index("//") + 2 + len(parts.netloc) + len(parts.path)
    return url[start:]
