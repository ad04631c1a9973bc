"""The local path of a URL that an index page links to: the inverse of `routing.target_of`.

``<base>/<rest>`` on the upstream is ``<mount>/<rest>`` here, and a URL on a host of ``file_hosts`` is
``/-/files/<upstream>/<host>/…``. Whatever would not be found again under its local path is left alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from ppmproxy.auth.origin import DEFAULT_PORTS, Origin
from ppmproxy.auth.paths import is_at_or_below, is_plain_path, single_slashes
from ppmproxy.config.model import Upstream
from ppmproxy.index.routing import FILES_PREFIX, OWN_PREFIX, host_segment, prefix_of

_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class LinkMap:
    """What the links on an upstream's pages become for a client."""

    upstream: Upstream
    others: tuple[Upstream, ...] = ()  # what else is mounted: its paths are not this upstream's

    def local(self, url: str) -> str:
        """Root-relative local path of an absolute URL, or the URL itself where it is left alone.

        Query and fragment stay as they are. User info is dropped with the host, so a token in a link goes no further.
        """
        try:
            parts = urlsplit(url)
            origin = Origin.of_parts(parts)
        except ValueError:
            return url
        if _CONTROLS.search(url) or not is_plain_path(parts.path):
            return url
        local = self._local_path(origin, parts.path or "/")
        return url if local is None else local + _after_path(url, parts)

    def local_prefix(self, directory: str) -> tuple[str, str] | None:
        """For all simple URLs in a directory: what they begin with, and what takes its place; None if they differ.

        `directory` is an absolute URL that ends with a slash; simple are URLs that go on as `link_resolver.REST` says.
        What they begin with is the directory itself, or the upstream's base path below it.
        """
        if any(is_at_or_below(prefix_of(self.upstream), mount) for mount in self._deeper_mounts()):
            return None
        base = urlsplit(self.upstream.url).path + "/"
        try:
            parts = urlsplit(directory)
            is_own = _leads_to(Origin.of_parts(parts), self.upstream.origin)
        except ValueError:
            return directory, directory
        if is_own and base.startswith(parts.path):
            return directory + base[len(parts.path) :], prefix_of(self.upstream) + "/"
        return directory, self.local(directory)

    def _local_path(self, origin: Origin, path: str) -> str | None:
        base = urlsplit(self.upstream.url)
        if _leads_to(origin, Origin.of_parts(base)) and is_at_or_below(base.path, path):
            # Without empty segments, as `target_of` reads it; "//name" would even be a link to the host "name".
            local = single_slashes(prefix_of(self.upstream) + path[len(base.path) :]) or "/"
            return None if self._is_taken(local) else local
        if origin in self.upstream.file_hosts:
            return FILES_PREFIX + f"{self.upstream.name}/{host_segment(origin)}{single_slashes(path)}"
        return None

    def _is_taken(self, local: str) -> bool:
        """Whether the proxy itself or another mount has this path."""
        return local.startswith(OWN_PREFIX) or any(is_at_or_below(mount, local) for mount in self._deeper_mounts())

    def _deeper_mounts(self) -> list[str]:
        return [other.mount for other in self.others if len(other.mount) > len(self.upstream.mount)]


@dataclass(frozen=True, slots=True)
class RealLinks:
    """The links on an upstream's pages for a client that knows it by its real URL (``exec --intercept``).

    They stay, but for ``http://`` links of an https upstream to itself: nothing is intercepted over http.
    """

    upstream: Upstream

    def local(self, url: str) -> str:
        """The URL as the client must write it."""
        parts = urlsplit(url)
        if parts.scheme != "http" or not _leads_to(Origin.of_parts(parts), self.upstream.origin):
            return url
        return f"{self.upstream.origin}{parts.path}{_after_path(url, parts)}"

    def local_prefix(self, directory: str) -> tuple[str, str] | None:
        """As in `LinkMap`."""
        try:
            return directory, self.local(directory)
        except ValueError:
            return directory, directory


def _leads_to(link: Origin, upstream: Origin) -> bool:
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
