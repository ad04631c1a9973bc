"""URLs of the Package Manager in clients' settings, and the proxy's URLs that stand for them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ppmproxy.auth.origin import Origin
from ppmproxy.clients.lock_urls import NO_REWRITING, Rewriting, local_rewriting, proxy_origins
from ppmproxy.config.model import Settings, Upstream

VARIABLE = "${"  # what a client expands in a URL, such as "${PPM_URL}" in a Pipfile


@dataclass(frozen=True, slots=True)
class LocalUrls:
    """The URL map of a configuration, from the Package Managers to the proxy."""

    upstreams: tuple[Upstream, ...]
    proxy: frozenset[Origin]
    rewriting: Rewriting = field(repr=False)

    @classmethod
    def of_settings(cls, settings: Settings) -> LocalUrls:
        """The map for these settings; `ConfigError` without a TCP address."""
        return cls(settings.upstreams, frozenset(proxy_origins(settings)), local_rewriting(settings))

    @classmethod
    def intercepted(cls, settings: Settings) -> LocalUrls:
        """The map while upstreams' own URLs are answered: those that take uploads are the proxy's, and stay."""
        origins = frozenset(upstream.origin for upstream in settings.upstreams if upstream.uploads)
        return cls(settings.upstreams, origins, NO_REWRITING)

    def local(self, url: str) -> str:
        """The proxy's URL for one below an upstream, without a user name or password; any other as it is."""
        plain = _without_user_info(url)
        local = self.rewriting.of(plain)
        return url if local == plain else local

    def local_words(self, text: str) -> str:
        """The same for each word of a text."""
        return re.sub(r"\S+", lambda word: self.local(word[0]), text)

    def is_local(self, url: object) -> bool:
        """Whether a URL is one of the proxy's."""
        return isinstance(url, str) and _origin(url) in self.proxy

    def is_upstream(self, url: object) -> bool:
        """Whether a URL lies below an upstream."""
        return isinstance(url, str) and self.local(url) != url

    def may_be_in(self, text: str) -> bool:
        """Whether a text may name an upstream: one of its hosts is in it, in any case, or an escape of TOML or JSON."""
        text = text.lower()
        origins = [origin for upstream in self.upstreams for origin in (upstream.origin, *upstream.file_hosts)]
        return "\\u" in text or any(origin.host in text for origin in origins)

    def takes_uploads(self, url: str) -> bool:
        """Whether a URL lies below an upstream for which uploads are on."""
        below = [one for one in self.upstreams if _without_user_info(url).startswith(f"{one.url}/")]
        return any(one.uploads for one in below)


def _without_user_info(url: str) -> str:
    """The URL with its origin in the usual spelling; as it is when it has none."""
    origin = _origin(url)
    if origin is None:
        return url
    parts = urlsplit(url.strip())
    return parts._replace(scheme=origin.scheme, netloc=origin.netloc).geturl()


def _origin(url: str) -> Origin | None:
    try:
        return Origin.of(url.strip())
    except ValueError:
        return None
