"""What one link of an index page must say so that it leads to the same place through the proxy.

To change which links of a page are rewritten, open this file; where a URL is found locally is for `routing` to say.

A link is rewritten only when a client that resolves it against the local page would end elsewhere than it should. Links
are resolved as RFC 3986 section 5.2 says, here and not by `urllib.parse.urljoin`, which drops empty path segments and
empty queries; nothing is decoded or encoded, because signed queries, ``%7E``, ``+`` and ``%2B`` must stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

# The local page's place is written as a URL of a host that cannot exist (RFC 6761 section 6.4), so that no link can
# name it by chance. The scheme is the local server's: a link without one ("//host/path") takes it from there.
_HERE: Final = "http://here.invalid"

# Characters in the host and path that relative links are resolved against. Each link may become as long as these.
LONGEST_BASE: Final = 1024

_ABSOLUTE: Final = ("https://", "http://")
# RFC 3986 appendix B, with the delimiters kept in their part, so that "no query" and "an empty query" stay different.
_PARTS: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*:)?(//[^/?#]*)?([^?#]*)(\?[^#]*)?(#.*)?", re.DOTALL)
# A relative link that only climbs, or starts at the root, and then goes down; what it climbs is the first group, few
# steps because it is remembered.
_DESCENT: Final = re.compile(r"((?:\.\./){0,16}|/)(?![./?#])[^/?#:]+(?:[/?#]|\Z)")
# What makes a link more than the concatenation of its characters: see `LinkResolver.plain_replacement`.
_ODD: Final = re.compile(r"[\x00-\x20\\]")
# WHATWG URL standard, section 4.4: clients strip these at both ends, and remove tabs and newlines everywhere.
_C0_AND_SPACE: Final = "".join(map(chr, range(0x21)))
_TABS_AND_NEWLINES: Final = str.maketrans("", "", "\t\n\r")


Edit = tuple[int, int, bytes]
"""From where to where a text is replaced, and by what."""


class BrokenPage(ValueError):  # noqa: N818 - a state of the page, whoever is to blame
    """A page that was cut, or is not what its content type says; one line of what is wrong."""


@dataclass(frozen=True, slots=True)
class Straight:
    """How nearly all links of a page become local: what they begin with gives way to something else.

    None of the three has in it what HTML or JSON would have to escape.
    """

    prefix: str  # what such a link begins with
    local: str  # what takes its place
    below: str  # a regular expression without groups: what may follow the prefix in such a link


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
    """The links of one page: where each leads, and what it must say instead.

    `localize` gives the root-relative local path of an absolute URL, or that URL itself where it is left alone;
    `straight` says the same of the links that need no closer look, where there are such.
    """

    def __init__(
        self, page_url: str, local_path: str, localize: Callable[[str], str], *, straight: Straight | None = None
    ) -> None:
        self.straight = straight
        self._localize = localize
        self._page = replace(Reference.of(page_url), fragment="")
        self._base = self._page
        self._local = Reference.of(_HERE + local_path)
        self._base_mattered = False
        self._climbs: dict[str, tuple[str, str]] = {}

    def resolve_against(self, base_href: str) -> None:
        """Take a page's ``<base href>`` for all its links; `BrokenPage` when links that depend on it went before.

        A base that is no http or https URL is as good as none (HTML standard, section 4.2.3).
        """
        base = resolved(Reference.of(_cleaned(base_href)), self._page)
        base = replace(base, fragment="") if base.is_web and not _has_backslash(base) else self._page
        if base != self._base and self._base_mattered:
            msg = "a <base> comes after links that depend on it"
            raise BrokenPage(msg)
        self._base = base

    def replacement(self, link: str) -> str | None:
        """What to write instead of a link, or None to leave it as it is."""
        return self._resolved_replacement(link) if _ODD.search(link) else self.plain_replacement(link)

    def plain_replacement(self, link: str) -> str | None:
        r"""The same for a link known to have neither blanks, control characters nor a ``\``, which need more care."""
        if link.startswith(_ABSOLUTE):
            if "/." in link:
                return self._resolved_replacement(link)
            meant = seen = link
        else:
            descent = _DESCENT.match(link)
            if not descent or link.find("/.", descent.end(1)) >= 0:
                return self._resolved_replacement(link)
            climb = descent[1]
            above, local_above = self._climbs.get(climb) or self._climbed(climb)
            below = link[len(climb) :]
            meant = above + below
            seen = local_above + below
        try:
            token_request = self._localize(meant)
        except ValueError:  # a port that is no number, a bracket that never closes
            return None
        return _written(token_request, seen)

    def _check_base(self) -> None:
        if len(self._base.authority) + len(self._base.path) > LONGEST_BASE:
            msg = f"its links are relative to a URL of more than {LONGEST_BASE} characters"
            raise BrokenPage(msg)

    def _climbed(self, climb: str) -> tuple[str, str]:
        """The directory that a link's first part leads to, upstream and locally."""
        self._base_mattered = True
        self._check_base()
        reference = Reference.of(climb or "./")
        local = resolved(reference, self._local)
        self._climbs[climb] = (str(resolved(reference, self._base)), local.path)
        return self._climbs[climb]

    def _resolved_replacement(self, link: str) -> str | None:
        """`replacement` for any link, without shortcuts."""
        reference = Reference.of(_cleaned(link))
        # "https:path" and a backslash before the query are understood differently by each client: left alone.
        if not (reference.authority or reference.path or reference.query) or _has_backslash(reference):
            return None
        if not reference.scheme:
            self._check_base()
        target = resolved(reference, self._base)
        if not target.is_web:
            return None
        self._base_mattered |= not reference.scheme
        try:
            token_request = self._localize(str(target))
        except ValueError:
            return None
        seen = str(resolved(reference, self._local)).removeprefix(_HERE)
        return _written(token_request, seen)


def _written(token_request: str, seen: str) -> str | None:
    """What a link must say to be wanted, when clients see it as `seen`."""
    if token_request == seen:
        return None
    # A path that begins with two slashes would name a host; the local server collapses them anyway.
    return "/" + token_request.lstrip("/") if token_request.startswith("//") else token_request


def _cleaned(link: str) -> str:
    """A link without the characters that clients drop before they look at it."""
    return link.strip(_C0_AND_SPACE).translate(_TABS_AND_NEWLINES)


def _has_backslash(reference: Reference) -> bool:
    return "\\" in reference.authority or "\\" in reference.path
