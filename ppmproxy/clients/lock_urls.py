"""URLs of the proxy and of the Package Manager in lock files: one prefix is replaced by the other.

The text is not parsed, so hashes, order, line ends and unknown formats stay as they are. A prefix counts only where a
URL begins and where it ends: ``/rspm`` is no prefix of ``/rspm-other``. Of several prefixes the longest wins. A path
that another mount hides locally is left alone, because it could not be rewritten back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ppmproxy.auth.origin import Origin
from ppmproxy.clients.index_url import local_origin
from ppmproxy.config.local_address import LOOPBACK_HOSTS, TcpAddress
from ppmproxy.config.model import DEFAULT_PORT, Settings, Upstream
from ppmproxy.index.own_paths import FILES_PREFIX, OWN_PREFIX, host_segment

# Stands for a port that `listen = "auto"` chose on some machine, whoever's: AUTO_PORTS. No URL has it.
_AUTO_PORT, _AUTO_PATTERN = ":2NNNN", r":2[0-9]{4}"
_AUTO_HOST = re.compile(rf"(localhost|127\.0\.0\.1|\[::1\]){_AUTO_PATTERN}")
_SLASHES = ("/", r"\/")  # JSON may write either
# RFC 3986 uses these characters in the middle of a URL. Others (quotes, brackets, commas …) are taken for the text
# around it, and so is a backslash, which JSON puts before a slash.
_NOT_BEFORE = r"(?<![\w.+/-])"
_ENDS = r"(?![\w.~:@!$&*+=%-])"


@dataclass(frozen=True, slots=True)
class UrlPrefix:
    """One prefix of URLs, local and canonical. `hidden` are paths below the local one that another mount serves."""

    local: str
    canonical: str
    hidden: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rewriting:
    """The URLs to rewrite, and their replacements."""

    pattern: re.Pattern[str]
    becomes: Mapping[str, str] = field(repr=False)

    def of(self, text: str) -> str:
        """The text with the URLs rewritten."""
        return self.pattern.sub(lambda match: self._becomes(match[0]), text)

    def _becomes(self, url: str) -> str:
        known = self.becomes.get(url)
        return self.becomes[_AUTO_HOST.sub(rf"\1{_AUTO_PORT}", url)] if known is None else known

    def count(self, text: str) -> int:
        """The number of URLs to rewrite."""
        return sum(1 for _ in self.pattern.finditer(text))


NO_REWRITING = Rewriting(re.compile(r"(?!)"), {})


def canonical_rewriting(settings: Settings) -> Rewriting:
    """From the proxy's URLs, in every spelling, to those of the Package Manager."""
    prefixes = [prefix for origin in _spelled_origins(settings) for prefix in _prefixes(origin, settings.upstreams)]
    return _rewriting((prefix.local, prefix.canonical, prefix.hidden) for prefix in prefixes)


def local_rewriting(settings: Settings) -> Rewriting:
    """From the Package Manager's URLs to the proxy's; `ConfigError` without a TCP address."""
    prefixes = _prefixes(str(local_origin(settings)), settings.upstreams)
    return _rewriting((prefix.canonical, prefix.local, prefix.hidden) for prefix in prefixes)


def proxy_urls_in(text: str, settings: Settings) -> Iterator[tuple[int, str]]:
    """Each URL of the proxy: the line's number, from 1, and the URL."""
    origins = "|".join(map(_escaped, _spelled_origins(settings)))
    ours = re.compile(rf"{_NOT_BEFORE}(?:{origins}){_ENDS}[^\s\"'<>`\\,;)\]}}]*")
    for number, line in enumerate(text.split("\n"), start=1):
        yield from ((number, match[0]) for match in ours.finditer(line))


def proxy_origins(settings: Settings) -> tuple[Origin, ...]:
    """All origins of the proxy. Those with the default port are among them: other people's lock files name these."""
    usual = [Origin("http", host, DEFAULT_PORT) for host in LOOPBACK_HOSTS]
    return tuple(dict.fromkeys([*listening_origins(settings), *usual]))


def listening_origins(settings: Settings) -> tuple[Origin, ...]:
    """The origins at which the proxy listens, in every spelling."""
    listening = [address for address in settings.listen if isinstance(address, TcpAddress) and address.port]
    known = [Origin("http", address.host, address.port) for address in listening]
    ports = dict.fromkeys(address.port for address in listening)
    return tuple(dict.fromkeys([*known, *(Origin("http", host, port) for port in ports for host in LOOPBACK_HOSTS)]))


def _spelled_origins(settings: Settings) -> tuple[str, ...]:
    """All origins of the proxy as text, with those of other people's proxies that have a port of their own."""
    known = [text for one in proxy_origins(settings) for text in (str(one), _with_port(one))]
    auto = [f"http://{TcpAddress(host, 0)}".removesuffix(":0") + _AUTO_PORT for host in LOOPBACK_HOSTS]
    return tuple(dict.fromkeys([*known, *auto]))


def _escaped(text: str) -> str:
    return re.escape(text).replace(_AUTO_PORT, _AUTO_PATTERN)


def _with_port(origin: Origin) -> str:
    return str(origin) if str(origin).endswith(f":{origin.port}") else f"{origin}:{origin.port}"


def _prefixes(origin: str, upstreams: Sequence[Upstream]) -> Iterator[UrlPrefix]:
    for upstream in upstreams:
        mount = upstream.mount_prefix
        deeper = [other.mount_prefix for other in upstreams if other.mount_prefix.startswith(f"{mount}/")]
        hidden = [OWN_PREFIX.rstrip("/"), *deeper] if not mount else deeper
        yield UrlPrefix(origin + mount, upstream.url, tuple(path[len(mount) :] for path in hidden))
        for host in upstream.file_hosts:
            yield UrlPrefix(f"{origin}{FILES_PREFIX}{upstream.name}/{host_segment(host)}", str(host))


def _rewriting(pairs: Iterable[tuple[str, str, tuple[str, ...]]]) -> Rewriting:
    """Longest first; of two that are equal, the one that was named first."""
    becomes: dict[str, str] = {}
    patterns: dict[str, str] = {}
    for prefix, replacement, hidden in pairs:
        for slash in _SLASHES:
            written = prefix.replace("/", slash)
            if written not in becomes:
                becomes[written] = replacement.replace("/", slash)
                patterns[written] = _escaped(written) + _ENDS + "".join(_not_at(path, slash) for path in hidden)
    longest_first = sorted(becomes, key=len, reverse=True)
    return Rewriting(re.compile(f"{_NOT_BEFORE}(?:{'|'.join(map(patterns.__getitem__, longest_first))})"), becomes)


def _not_at(path: str, slash: str) -> str:
    """A pattern that a path or anything below it does not match; the proxy takes several slashes for one."""
    name = re.escape(path.removeprefix("/").replace("/", slash))
    return f"(?!(?:{re.escape(slash)})+{name}{_ENDS})"
