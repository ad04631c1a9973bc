"""Links of one index page: where each leads, and what it must say to lead to the same place through the proxy.

A link is rewritten only if a client that resolves it against the local page would request the wrong place. Links are
read by `read` and resolved as RFC 3986 section 5.2 says, and not by `urllib.parse.urljoin`, which drops empty path
segments and empty queries. Nothing is decoded or encoded, because signed queries, ``%7E``, ``+`` and ``%2B`` must stay
as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from ppmproxy.index.possessive import repeats

# The local page's URL has a host that cannot exist (RFC 6761 section 6.4), so that no link names it by chance. The
# scheme is the local server's: a link without one ("//host/path") takes it from there.
_HERE: Final = "http://here.invalid"

# Characters in the host and path that relative links are resolved against. Each rewritten link may become as long.
LONGEST_BASE: Final = 1024

# A simple link is a head and a rest, in which nothing is encoded, climbs, or has to be escaped in HTML or JSON: how it
# is rewritten depends on its head alone. Characters may be encoded that mean the same either way: `has_encoded`.
HEAD: Final = repeats(r"(?:https?://[A-Za-z0-9.:\[\]-]++/|(?:\.\./){0,16}|/)")
_SEGMENT: Final = r"[A-Za-z0-9][A-Za-z0-9_.+~=@,%-]*+"
_PATH: Final = rf"{_SEGMENT}(?:/{_SEGMENT})*/?+"
REST: Final = repeats(_PATH + r"(?:[?#][!#-%'-;=?-\[\]-~]*+)?")
_HARMLESS: Final = "2[0-46-9a-dA-D]|3[aAbBdD]|40|7[eE]"  # blanks, "+", "!", "~" and other punctuation
_ENCODED: Final = re.compile(b"%%(?!%b)" % _HARMLESS.encode())
# A link that is simple up to its query, behind which nothing is decided.
_SIMPLE: Final = re.compile(
    repeats(rf"({HEAD})(?=[^%?#]*+(?:%(?:{_HARMLESS})[^%?#]*+)*(?:[?#]|\Z)){_PATH}(?:[?#][^\x00-\x20]*+)?"), re.DOTALL
)
MOST_SHOWN: Final = 200  # characters of a link, to people
LONGEST_SIMPLE: Final = 4096  # characters; a longer link may have no local path
_MOST_HEADS: Final = 32  # remembered

_ABSOLUTE: Final = ("https://", "http://")
# RFC 3986 appendix B, with the delimiters kept in their part, so that "no query" and "an empty query" stay different.
_PARTS: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*:)?(//[^/?#]*)?([^?#]*)(\?[^#]*)?(#.*)?", re.DOTALL)
# WHATWG URL standard, section 4.4: clients strip these at both ends, and remove tabs and newlines everywhere.
_C0_AND_SPACE: Final = "".join(map(chr, range(0x21)))
_TABS_AND_NEWLINES: Final = str.maketrans("", "", "\t\n\r")


Edit = tuple[int, int, bytes]
"""From where to where a text is replaced, and by what."""


class BrokenPage(ValueError):  # noqa: N818 - a state of the page, whoever is to blame
    """A page that was cut, or is not what its content type says; one line of what is wrong."""


class LinkPrefix(NamedTuple):
    """What simple links begin with, and what is written in its place; None where they stay as they are."""

    beginning: str
    replacement: str | None


@dataclass(frozen=True, slots=True)
class Reference:
    """A URL reference in its five parts, each with its delimiter or empty."""

    scheme: str = ""
    authority: str = ""
    path: str = ""
    query: str = ""
    fragment: str = ""

    @classmethod
    def of(cls, text: str) -> Reference:
        """The parts of any text; every text has them."""
        match = _PARTS.match(text)
        return cls(*match.groups("")) if match else cls()

    def __str__(self) -> str:
        return f"{self.scheme}{self.authority}{self.path}{self.query}{self.fragment}"

    @property
    def is_web(self) -> bool:
        """Whether it is an absolute http or https URL with a host."""
        return self.scheme in ("http:", "https:") and len(self.authority) > len("//")


def resolved(reference: Reference, base: Reference) -> Reference:
    """Where a reference leads from an absolute base URL (RFC 3986 section 5.2.2)."""
    if reference.scheme:
        path = without_dot_segments(reference.path) if reference.authority else reference.path
        return replace(reference, scheme=reference.scheme.lower(), path=path)
    if reference.authority:
        return replace(reference, scheme=base.scheme, path=without_dot_segments(reference.path))
    if not reference.path:
        return replace(base, query=reference.query or base.query, fragment=reference.fragment)
    directory = "" if reference.path.startswith("/") else base.path[: base.path.rfind("/") + 1] or "/"
    path = without_dot_segments(directory + reference.path)
    return Reference(base.scheme, base.authority, path, reference.query, reference.fragment)


def without_dot_segments(path: str) -> str:
    """An absolute path with "." and ".." worked out (RFC 3986 section 5.2.4); empty segments stay."""
    if "/." not in path:
        return path
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


class LinkResolver:
    """The links of one page: where each leads, and what must be written instead.

    `local_path` is where the client asked for the page; a URL, if the client knows the upstream by its real one.
    `localize` maps an absolute URL to its root-relative local path, or to itself where it is left alone.
    `localize_prefix` does that for all simple URLs in a directory, where they become local alike (`LinkMap`).
    """

    def __init__(
        self,
        page_url: str,
        local_path: str,
        localize: Callable[[str], str],
        localize_prefix: Callable[[str], tuple[str, str] | None] = lambda _: None,
    ) -> None:
        self._localize = localize
        self._localize_prefix = localize_prefix
        self._page = Reference.of(page_url.partition("#")[0])
        self._base = self._page
        self._local = Reference.of(local_path if local_path.startswith(_ABSOLUTE) else _HERE + local_path)
        self._is_base_used = False
        self._prefixes: dict[str, LinkPrefix | None] = {}  # by head

    def set_base(self, base_href: str) -> None:
        """Resolve all links against a page's ``<base href>``; `BrokenPage` if one was resolved against another before.

        A base that is no http or https URL is ignored (HTML standard, section 4.2.3).
        """
        base = resolved(read(base_href), self._page)
        base = replace(base, fragment="") if base.is_web else self._page
        if base != self._base and self._is_base_used:
            msg = "a <base> comes after links that depend on it"
            raise BrokenPage(msg)
        self._base = base

    def replacement(self, link: str) -> str | None:
        """What to write instead of a link, or None to leave it as it is."""
        simple = _SIMPLE.fullmatch(link) if len(link) <= LONGEST_SIMPLE else None
        prefix = self.prefix(simple[1]) if simple else None
        if not prefix or not link.startswith(prefix.beginning):
            return self._resolved_replacement(link)
        return None if prefix.replacement is None else prefix.replacement + link[len(prefix.beginning) :]

    def prefix(self, head: str) -> LinkPrefix | None:
        """How simple links with one head are rewritten; None where each must be resolved."""
        if head not in self._prefixes:
            if len(self._prefixes) == _MOST_HEADS:
                self._prefixes.clear()
            self._prefixes[head] = self._prefix(head)
        return self._prefixes[head]

    def _prefix(self, head: str) -> LinkPrefix | None:
        directory = local_directory = head
        if not head.startswith(_ABSOLUTE):
            self._is_base_used = True
            self._check_base()
            climb = Reference.of(head or "./")
            directory = str(resolved(climb, self._base))
            local_directory = str(resolved(climb, self._local)).removeprefix(_HERE)
        found = self._localize_prefix(directory)
        if found is None:
            return None
        beginning, local = found
        below = beginning[len(directory) :]
        return LinkPrefix(head + below, None if local == local_directory + below else local)

    def _check_base(self) -> None:
        if len(self._base.authority) + len(self._base.path) > LONGEST_BASE:
            msg = f"its links are relative to a URL of more than {LONGEST_BASE} characters"
            raise BrokenPage(msg)

    def _resolved_replacement(self, link: str) -> str | None:
        """`replacement` for any link."""
        reference = read(link)
        if not (reference.authority or reference.path or reference.query):
            return None
        if not reference.scheme:
            self._check_base()
        target = resolved(reference, self._base)
        if not target.is_web:
            return None
        self._is_base_used |= not reference.scheme
        local = self._replacement_for(str(target), str(resolved(reference, self._local)).removeprefix(_HERE))
        if "\\" in link and (local is None or not local.startswith("/")):
            self._check_other_reading(link)
        return local

    def _check_other_reading(self, link: str) -> None:
        """Make sure that a link with a backslash, which leads elsewhere, does not lead to the upstream by RFC 3986."""
        target = str(resolved(Reference.of(_cleaned(link)), self._base))
        if "\\" in Reference.of(target).authority and self._replacement_for(target, target) is not None:
            raise BrokenPage(f"clients read the link {target[:MOST_SHOWN]} in different ways")

    def _replacement_for(self, target: str, as_seen: str) -> str | None:
        """What a link to a target must say, if a client at the local page takes it for `as_seen`; None: no change."""
        try:
            local = self._localize(target)
        except BrokenPage:
            raise
        except ValueError:  # a port that is no number, a bracket that never closes
            return None
        if local == as_seen:
            return None
        # A path that begins with two slashes would name a host; the local server collapses them anyway.
        return "/" + local.lstrip("/") if local.startswith("//") else local


def read(link: str) -> Reference:
    """A link as clients read it.

    uv, as browsers, takes backslashes before the query for slashes, and any number of slashes before a host for two
    (WHATWG URL standard, section 4.4). Other clients find no host there, or none at all.
    """
    reference = Reference.of(_cleaned(link))
    place = reference.authority + reference.path
    is_odd = "\\" in place or reference.authority == "//" or (reference.scheme != "" and not reference.authority)
    if not is_odd or reference.scheme.lower() not in ("", "http:", "https:"):
        return reference
    place = place.replace("\\", "/")
    if reference.scheme or place.startswith("//"):
        place = "//" + place.lstrip("/")
    found = Reference.of(place)
    return replace(reference, authority=found.authority, path=found.path)


def has_encoded(links: bytes) -> bool:
    """Whether a text with links has characters encoded that may change where these lead."""
    return b"%" in links and _ENCODED.search(links) is not None


def _cleaned(link: str) -> str:
    """A link without the characters that clients drop before they read it."""
    return link.strip(_C0_AND_SPACE).translate(_TABS_AND_NEWLINES)
