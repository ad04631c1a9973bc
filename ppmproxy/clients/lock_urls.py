"""Lock files between the proxy's URLs and the Package Manager's: the same text, with one prefix for the other.

To change which URLs of a lock file are rewritten, open this file.

Nothing is parsed, so hashes, order, line ends and unknown formats stay as they are. A prefix counts only where a URL
begins and where it ends: ``/rspm`` is no prefix of ``/rspm-other``. Of several prefixes the longest wins. What would
not come back as it was is left alone: a path that another mount hides, locally.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ppmproxy.auth.origin import Origin
from ppmproxy.clients.index_url import local_origin, mount_prefix
from ppmproxy.config.local_address import LOOPBACK_HOSTS, TcpAddress
from ppmproxy.config.model import DEFAULT_PORT, Settings, Upstream
from ppmproxy.index.routing import FILES_PREFIX, OWN_PREFIX

KNOWN_NAMES = re.compile(r"(?:(?:uv|poetry|pdm|Pipfile)\.lock|pylock(?:\.[^.]+)?\.toml|requirements[^/]*\.txt)")

_SLASHES = ("/", r"\/")  # JSON may write either
# RFC 3986 allows these in a URL and uses them in the middle of one. The others (quotes, brackets, commas …) are taken
# for what stands around it; so is a backslash, which JSON puts before a slash.
_NOT_BEFORE = r"(?<![\w.+/-])"
_ENDS = r"(?![\w.~:@!$&*+=%-])"


@dataclass(frozen=True, slots=True)
class Prefix:
    """One prefix of URLs, here and there. `hidden` are paths below the local one that belong to somebody else."""

    local: str
    canonical: str
    hidden: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rewriting:
    """How the URLs of one direction are written, and what they become."""

    pattern: re.Pattern[str]
    becomes: Mapping[str, str] = field(repr=False)

    def of(self, text: str) -> str:
        """The text with these URLs rewritten."""
        return self.pattern.sub(lambda match: self.becomes[match[0]], text)

    def count(self, text: str) -> int:
        """How many URLs that are."""
        return sum(1 for _ in self.pattern.finditer(text))


def canonical_rewriting(settings: Settings) -> Rewriting:
    """What makes a lock file the Package Manager's: every way to write one of our URLs becomes one of its own."""
    prefixes = [prefix for origin in _origins(settings) for prefix in _prefixes(origin, settings.upstreams)]
    return _rewriting((prefix.local, prefix.canonical, prefix.hidden) for prefix in prefixes)


def local_rewriting(settings: Settings) -> Rewriting:
    """What makes a lock file ours: the Package Manager's URLs become our one; `ConfigError` without a TCP address."""
    prefixes = _prefixes(str(local_origin(settings)), settings.upstreams)
    return _rewriting((prefix.canonical, prefix.local, prefix.hidden) for prefix in prefixes)


def proxy_urls_in(text: str, settings: Settings) -> Iterator[tuple[int, str]]:
    """Where a lock file names the proxy: the line's number, from 1, and the URL."""
    origins = "|".join(map(re.escape, _origins(settings)))
    ours = re.compile(rf"{_NOT_BEFORE}(?:{origins}){_ENDS}[^\s\"'<>`\\,;)\]}}]*")
    for number, line in enumerate(text.split("\n"), start=1):
        yield from ((number, match[0]) for match in ours.finditer(line))


def _origins(settings: Settings) -> tuple[str, ...]:
    """Every way to write where we listen. The default port is ours too: that is what other people's lock files name."""
    listening = [address for address in settings.listen if isinstance(address, TcpAddress) and address.port]
    known = [Origin("http", address.host, address.port) for address in listening]
    ports = dict.fromkeys([*(address.port for address in listening), DEFAULT_PORT])
    named = [Origin("http", host, port) for port in ports for host in LOOPBACK_HOSTS]
    spelled = [text for origin in (*known, *named) for text in (str(origin), _with_port(origin))]
    return tuple(dict.fromkeys(spelled))


def _with_port(origin: Origin) -> str:
    return str(origin) if str(origin).endswith(f":{origin.port}") else f"{origin}:{origin.port}"


def _prefixes(origin: str, upstreams: Sequence[Upstream]) -> Iterator[Prefix]:
    for upstream in upstreams:
        mount = mount_prefix(upstream)
        deeper = [mount_prefix(other) for other in upstreams if mount_prefix(other).startswith(f"{mount}/")]
        hidden = [OWN_PREFIX.rstrip("/"), *deeper] if not mount else deeper
        yield Prefix(origin + mount, upstream.url, tuple(path[len(mount) :] for path in hidden))
        for host in upstream.file_hosts:
            segment = host.netloc if host.scheme == "https" else f"{host.scheme}+{host.netloc}"
            yield Prefix(f"{origin}{FILES_PREFIX}{upstream.name}/{segment}", str(host))


def _rewriting(pairs: Iterable[tuple[str, str, tuple[str, ...]]]) -> Rewriting:
    """Longest first; of two that are equal, the one that was named first."""
    becomes: dict[str, str] = {}
    patterns: dict[str, str] = {}
    for prefix, replacement, hidden in pairs:
        for slash in _SLASHES:
            written = prefix.replace("/", slash)
            if written not in becomes:
                becomes[written] = replacement.replace("/", slash)
                patterns[written] = re.escape(written) + _ENDS + "".join(_not_at(path, slash) for path in hidden)
    longest_first = sorted(becomes, key=len, reverse=True)
    return Rewriting(re.compile(f"{_NOT_BEFORE}(?:{'|'.join(map(patterns.__getitem__, longest_first))})"), becomes)


def _not_at(path: str, slash: str) -> str:
    """A pattern that a path or anything below it does not match; the proxy takes several slashes for one."""
    name = re.escape(path.removeprefix("/").replace("/", slash))
    return f"(?!(?:{re.escape(slash)})+{name}{_ENDS})"
