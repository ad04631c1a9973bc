"""Names on index pages: which file has which SHA-256, as the page says (PEP 503, 658, 691, 714)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from urllib.parse import quote, unquote, urlsplit

from ppmproxy.auth.origin import Origin
from ppmproxy.auth.paths import single_slashes
from ppmproxy.config.model import Upstream
from ppmproxy.index.link_map import leads_to
from ppmproxy.index.link_resolver import Reference, resolved
from ppmproxy.index.rewriter import PageFormat

METADATA = ".metadata"
_SHA256 = re.compile(r"(?:^|[#&])sha256=([0-9a-fA-F]{64})(?:&|$)")
_WHOLE_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_PLAIN_NAME = re.compile(
    r"[A-Za-z0-9._+!~-]*"
)  # of a file, of which no client has another spelling but percent-encoded
_DELIMITERS = re.compile(r"%(?=25|23|3[fF])")  # a percent sign, "#" and "?", which would delimit something if decoded
_UNDECODED = re.compile("[\udc80-\udcff]+")  # bytes that are not UTF-8


class NoIndexPageError(ValueError):
    """A body that is no index page in its format."""


def canonical_url(url: str) -> str:
    """One spelling of a URL for all clients: pip encodes what uv sends raw; always UTF-8, which SQLite asks for."""
    path, mark, query = url.partition("?")
    scheme, slashes, rest = path.partition("://")
    decoded = unquote(_DELIMITERS.sub("%25", rest), errors="surrogateescape") if "%" in rest else rest
    same = f"{scheme}{slashes}{single_slashes(decoded)}{mark}{query}"
    return same if same.isascii() else _UNDECODED.sub(_encoded, same).encode("utf-8", "replace").decode()


def _encoded(undecoded: re.Match[str]) -> str:
    return quote(undecoded[0], errors="surrogateescape")


def names_on(page: bytes, page_format: PageFormat, page_url: str, upstream: Upstream) -> dict[str, str]:
    """The canonical URLs of a page's files and metadata with their hashes; `NoIndexPageError`.

    A file that the page names twice with different hashes has none.
    """
    found: dict[str, str] = {}
    doubtful: set[str] = set()
    links = _json_links(page) if page_format is PageFormat.JSON else _html_links(page)
    places = _Places(page_url, upstream)
    for link, digest in links:
        url = places.canonical(link)
        if url is not None and found.setdefault(url, digest) != digest:
            doubtful.add(url)
    return {url: digest for url, digest in found.items() if url not in doubtful}


class _Places:
    """The places that the links of one page lead to."""

    def __init__(self, page_url: str, upstream: Upstream) -> None:
        self._base = Reference.of(page_url)
        self._own = upstream.origin
        self._folders: dict[str, str | None] = {}

    def canonical(self, link: str) -> str | None:
        """The canonical URL of a link without its fragment; None for one that is no web address."""
        folder, slash, name = link.rpartition("/")
        if "?" in folder:
            return self._absolute(link)
        if folder not in self._folders:
            self._folders[folder] = self._absolute(folder + slash + "_")
        place = self._folders[folder]
        if place is None:
            return None
        return place[:-1] + name if _PLAIN_NAME.fullmatch(name) else canonical_url(place[:-1] + name)

    def _absolute(self, link: str) -> str | None:
        try:
            url = str(resolved(Reference.of(link), self._base))
            parts = urlsplit(url)
            origin = Origin.of_parts(parts)
        except ValueError:
            return None
        if leads_to(origin, self._own):
            origin = self._own
        return canonical_url(f"{origin}{parts.path}{'?' + parts.query if parts.query else ''}")


def _json_links(page: bytes) -> Iterator[tuple[str, str]]:
    try:
        document = json.loads(page)
    except (ValueError, RecursionError) as error:
        raise NoIndexPageError from error
    files = document.get("files", ()) if isinstance(document, dict) else None
    if not isinstance(files, list):
        if isinstance(document, dict) and isinstance(document.get("projects"), list):
            return  # the list of all projects
        raise NoIndexPageError
    for file in files:
        url = file.get("url") if isinstance(file, dict) else None
        if not isinstance(url, str):
            raise NoIndexPageError
        link = url.partition("#")[0]
        if digest := _digest_of(file.get("hashes")):
            yield link, digest
        for name in ("core-metadata", "dist-info-metadata"):
            if digest := _digest_of(file.get(name)):
                yield link + METADATA, digest
                break


def _digest_of(hashes: object) -> str:
    digest = hashes.get("sha256") if isinstance(hashes, dict) else None
    return digest.lower() if isinstance(digest, str) and _WHOLE_SHA256.fullmatch(digest) else ""


def _html_links(page: bytes) -> Iterator[tuple[str, str]]:
    parser = _Anchors()
    try:
        parser.feed(page.decode("utf-8", "surrogateescape"))
        parser.close()
    except (ValueError, AssertionError) as error:  # a number of thousands of digits; an unknown marked section
        raise NoIndexPageError from error
    if parser.has_base:
        return  # rare, and then its links lead elsewhere
    yield from parser.links


class _Anchors(HTMLParser):
    """Collects the anchors of a page that name a hash."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[tuple[str, str]] = []
        self.has_base = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "base":
            self.has_base = True
        if tag != "a":
            return
        values = dict(reversed(attrs))  # of one that is repeated the first counts
        link, _, fragment = (values.get("href") or "").strip().partition("#")
        if found := _SHA256.search(f"#{fragment}"):
            self.links.append((link, found[1].lower()))
        for name in ("data-core-metadata", "data-dist-info-metadata"):
            if found := _SHA256.search(values.get(name) or ""):
                self.links.append((link + METADATA, found[1].lower()))
                break
