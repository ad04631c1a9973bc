"""HTML index pages (PEP 503): where their links stand, byte for byte.

To change which attributes of an HTML page are links, or how a login page is told from an index, open this file.

Links are the ``href`` (PEP 503) and ``data-provenance`` (PEP 740) of anchors. Markup is told apart as section 13.2.5 of
the HTML standard has it: a tag ends at the first ``>`` outside quoted values; comments and the text of scripts and
styles hold no tags. Ordinary anchors with plain links are recognised at one go, as many as follow each other if the
links are straight, everything else piece by piece.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from functools import lru_cache
from html import escape, unescape
from html.entities import html5
from typing import Final, NamedTuple

from ppmproxy.index.link_resolver import BrokenPage, Edit, LinkResolver, Straight
from ppmproxy.index.possessive import repeats

_LINKS: Final = (b"href", b"data-provenance")
_READ_ATTRIBUTES: Final = (*_LINKS, b"http-equiv", b"type")
# Elements whose content is text up to their own end tag.
_TEXT_ELEMENTS: Final = (b"script", b"style", b"textarea", b"title")
_TEXT_END: Final = {name: re.compile(rb"</" + name + rb"(?=[\t\n\f\r />])", re.IGNORECASE) for name in _TEXT_ELEMENTS}

_PLAIN_LINK: Final = rb'"([!#-%\'-\[\]-~]++)"'  # quoted; no blanks, references, backslashes, and all ASCII
_ATTRIBUTES: Final = rb'(?:[ \n]++(?!href|data-provenance)[a-z][a-z-]*+(?:="[^"]*+")?)*'
# What many anchors have: some of those attributes, read faster; few, because each can be read in two ways.
_DATA: Final = rb'(?:[ ]data-[a-oq-z][a-z-]*+="[^"]*+"){0,4}'
_BETWEEN: Final = rb"[^<]*+(?:</?+(?!script|style|textarea|title)[a-z][a-z0-9]*+[ ]?+/?+>[^<]*+)*"
# Text and tags without attributes, then an anchor with plain links; all of it optional.
_ORDINARY: Final = re.compile(
    repeats(
        rb"%b(?:<a href=%b%b(?:[ \n]++data-provenance=%b%b)?>)?"
        % (_BETWEEN, _PLAIN_LINK, _ATTRIBUTES, _PLAIN_LINK, _ATTRIBUTES)
    )
)
_COMMENT: Final = re.compile(rb"<!--(?:-?>|.*?--!?>)", re.DOTALL)
# A "<" that is text, or markup that ends at the next ">", and the text behind it, as many as follow each other.
_NO_TAG: Final = re.compile(rb"(?:<(?:(?=[^a-zA-Z!?/])|(?:!(?!--)|\?|/(?![a-zA-Z]))[^>]*>)[^<]*)+")
_TAG_NAME: Final = re.compile(rb"<(/?[a-zA-Z][^\t\n\f\r />]*)")
# The end of a tag, or an attribute. A value matches even when the text ends before its last quote does.
_ATTRIBUTE: Final = re.compile(
    rb"""
    [\t\n\f\r /]*
    (?: (?P<end>>)
      | (?P<name>[^\t\n\f\r />][^\t\n\f\r />=]*)
        (?: [\t\n\f\r ]*=[\t\n\f\r ]* (?P<value>"[^"]*"?|'[^']*'?|[^\t\n\f\r "'>][^\t\n\f\r >]*)? )? )?
    """,
    re.VERBOSE,
)
_REFERENCE: Final = re.compile(r"&(?:#(?:[0-9]+|[xX][0-9a-fA-F]+);?|[a-zA-Z][a-zA-Z0-9]*[;=]?)")

# What a page has that wants a person or a browser in front of it; of <meta>, only http-equiv="refresh".
_MARKERS: Final = (b"form", b"input", b"script", b"iframe", b"meta")
_ANY_MARKER: Final = re.compile(rb"<(?:" + b"|".join(_MARKERS) + rb")[\t\n\f\r />]", re.IGNORECASE)
_DISTRIBUTION: Final = re.compile(
    r"[^?#]*\.(?:whl|egg|zip|exe|msi|rpm|deb|tar(?:\.(?:gz|bz2|xz|z|lz|lzma|zst))?|tgz|tbz|txz|tlz)(?:[?#]|\Z)",
    re.IGNORECASE | re.DOTALL,
)
LONGEST_PROJECT_NAME: Final = 256
_SEPARATORS: Final = re.compile("[-_.]+")
_INDEX_TITLE: Final = re.compile(
    rb"<(?:title|h1)\b[^<>]*>[^<]{0,256}?\b(?:links for|simple (?:index|list)|index of /)", re.IGNORECASE
)
_NO_TEXT: Final = re.compile(rb"<!--.*?(?:-->|\Z)|<[^<>]*>", re.DOTALL)
# Not within a project's name, such as flask-login.
_SIGN_IN: Final = re.compile(
    rb"(?<![\w.-])(?:(?:sign(?:ing)?|log(?:ging)?)[ -]?(?:in|on)|single sign-on|sso|un-?authori[sz]ed|not authori[sz]ed"
    rb"|authentication (?:is )?(?:required|needed)|access denied)(?![\w.-]*[\w-])",
    re.IGNORECASE,
)


class Attribute(NamedTuple):
    """An attribute that matters here, and where it stands in the text."""

    name: bytes  # in lower case
    raw: bytes  # the value as it stands, with its quotes; empty if there is none
    gap: int  # where what separates it from what is before it begins
    start: int
    end: int

    @property
    def quote(self) -> bytes:
        """The quote around its value, or nothing."""
        return self.raw[:1] if self.raw[:1] in (b'"', b"'") else b""

    @property
    def value(self) -> str:
        """What its value means."""
        text = self.raw[1:-1] if self.quote else self.raw
        return _REFERENCE.sub(_referenced, text.decode("utf-8", "surrogateescape"))


class Markup(NamedTuple):
    """A tag; without a name, anything else that begins with "<", and the text behind it."""

    name: bytes  # in lower case; an end tag's begins with "/"
    attributes: tuple[Attribute, ...]
    end: int


@lru_cache(maxsize=32)
def _straight_anchors(straight: Straight) -> re.Pattern[bytes]:
    """Anchors with nothing but a straight link, as many as follow each other, and what is between them."""
    link = re.escape(straight.prefix) + straight.below
    return re.compile(repeats(rb'(?:%b<a href="%b"%b%b>)+' % (_BETWEEN, link.encode(), _DATA, _ATTRIBUTES)))


class HtmlLinks:
    """The edits that make the links of one HTML page local, while its text comes in."""

    def __init__(self, links: LinkResolver) -> None:
        self.used = 0  # how much of the last text was understood; a tag or comment that the text cuts begins there
        self._links = links
        self._text_element = b""  # the element whose text goes on here
        self._has_base = False

    def edits(self, text: bytes) -> Iterator[Edit]:
        """What to replace in the next text, in order."""
        at = 0
        while at < len(text):
            if self._text_element:
                end = _TEXT_END[self._text_element].search(text, at)
                if not end:
                    self.used = max(at, len(text) - len(b"</" + self._text_element))
                    return
                at = end.start()
                self._text_element = b""
            at = yield from self._straight_edits(text, at)
            at = yield from self._ordinary_edits(text, at)
            if at == len(text):
                break
            markup = markup_at(text, at)
            if not markup:
                self.used = at
                return
            yield from self._markup_edits(text, markup)
            at = markup.end
        self.used = len(text)

    def close(self, rest: bytes) -> None:
        """Take what was not understood for the end of the page; `BrokenPage` when the page was cut.

        A comment or a script that never ends is no reason: browsers show such pages.
        """
        if rest and not self._text_element and not rest.startswith(b"<!--"):
            msg = "the page ends inside a tag"
            raise BrokenPage(msg)

    def _straight_edits(self, text: bytes, at: int) -> Generator[Edit, None, int]:
        """Pass the anchors with straight links that come next; returns how far it came.

        A quote ends every value among them, so that what looks like the beginning of such an anchor is one.
        """
        straight = self._links.straight
        run = _straight_anchors(straight).match(text, at) if straight else None
        if not straight or not run:
            return at
        anchor = b'<a href="'
        parts = run[0].split(anchor + straight.prefix.encode())  # with `join` faster than `replace`
        yield at, run.end(), (anchor + straight.local.encode()).join(parts)
        return run.end()

    def _ordinary_edits(self, text: bytes, at: int) -> Generator[Edit, None, int]:
        """Go from ordinary anchor to ordinary anchor while there are any; returns how far it came."""
        for match in _ORDINARY.finditer(text, at):  # without gaps: the pattern matches anywhere, if only nothing
            at = match.end()
            if not match.lastindex:
                break
            for group in range(1, match.lastindex + 1):
                link = match[group].decode()
                local = self._links.plain_replacement(link)
                if local is None:
                    continue
                start, end = match.span(group)
                if link.endswith(local):  # only the beginning goes: nothing to escape
                    yield start, end - len(local), b""
                else:
                    yield start, end, _escaped(local)
        return at

    def _markup_edits(self, text: bytes, markup: Markup) -> Iterator[Edit]:
        if markup.name == b"a":
            for attribute in markup.attributes:
                if attribute.name in _LINKS:
                    local = self._links.replacement(attribute.value)
                    if local is not None:
                        quote = attribute.quote or b'"'
                        yield attribute.end - len(attribute.raw), attribute.end, quote + _escaped(local) + quote
        elif markup.name == b"base":
            yield from self._base_edits(text, markup)
        elif markup.name in _TEXT_ELEMENTS:
            self._text_element = markup.name

    def _base_edits(self, text: bytes, base: Markup) -> Iterator[Edit]:
        """Take the first base for all links, and remove every one: no two clients agree on a base that is relative."""
        for attribute in base.attributes:
            if attribute.name != b"href":
                continue
            if not self._has_base:
                self._links.resolve_against(attribute.value)
                self._has_base = True
            gap = text[attribute.gap : attribute.start]
            parted = text[attribute.end : attribute.end + 1] in b"\t\n\f\r >"
            yield attribute.gap if parted and not gap.strip() else attribute.start, attribute.end, b""


def markup_at(text: bytes, at: int) -> Markup | None:
    """The tag or other markup that begins at a "<"; None when the text ends before it does."""
    if text.startswith(b"<!--", at):
        comment = _COMMENT.match(text, at)
        return Markup(b"", (), comment.end()) if comment else None
    name = _TAG_NAME.match(text, at)
    if name:
        return _tag(text, name)
    none = _NO_TAG.match(text, at)
    return Markup(b"", (), none.end()) if none else None


def _tag(text: bytes, name: re.Match[bytes]) -> Markup | None:
    attributes: list[Attribute] = []
    at = name.end()
    while at < len(text) and (attribute := _ATTRIBUTE.match(text, at)):
        if attribute["end"]:
            return Markup(name[1].lower(), tuple(attributes), attribute.end())
        own_name = (attribute["name"] or b"").lower()
        if own_name in _READ_ATTRIBUTES:
            raw = attribute["value"] or b""
            attributes.append(Attribute(own_name, raw, at, attribute.start("name"), attribute.end()))
        at = attribute.end()
    return None


def is_for_people(page: bytes, *, is_root: bool = False) -> bool:
    """Whether a page wants a person or a browser in front of it, and is no index.

    An index has an anchor that leads to a distribution file, or says in its title what it is; the root, which lists all
    projects, has one whose text is the end of its link. What asks for a password first is none.
    """
    has_marker = asks_password = lists_projects = False
    for tag in _tags(page):
        values = {attribute.name: attribute.value for attribute in reversed(tag.attributes)}
        if tag.name == b"a":
            link = values.get(b"href", "")
            if _DISTRIBUTION.match(link):
                return asks_password
            lists_projects = lists_projects or (is_root and _is_named_by(link, page, tag.end))
        elif tag.name in _MARKERS:
            has_marker |= tag.name != b"meta" or values.get(b"http-equiv", "").strip().lower() == "refresh"
            asks_password |= tag.name == b"input" and values.get(b"type", "").strip().lower() == "password"
    if asks_password:
        return True
    is_index = lists_projects or _INDEX_TITLE.search(page) is not None
    return not is_index and (has_marker or _SIGN_IN.search(_NO_TEXT.sub(b" ", page)) is not None)


def _is_named_by(link: str, page: bytes, at: int) -> bool:
    """Whether a link ends with the text of its anchor, which begins there, as on the list of all projects."""
    text = page[at : at + LONGEST_PROJECT_NAME].partition(b"<")[0].decode("utf-8", "replace")
    name = link.rstrip("/").rpartition("/")[2]
    return bool(name) and _normalized(text.strip().rstrip("/")) == _normalized(name)


def _normalized(project: str) -> str:
    return _SEPARATORS.sub("-", project).lower()  # PEP 503


def _tags(page: bytes) -> Iterator[Markup]:
    at = page.find(b"<")
    while at >= 0 and (markup := markup_at(page, at)):
        yield markup
        at = page.find(b"<", markup.end)
        if markup.name in _TEXT_ELEMENTS:
            end = _TEXT_END[markup.name].search(page, markup.end)
            at = end.start() if end else -1


def _referenced(reference: re.Match[str]) -> str:
    """What a character reference in an attribute stands for (HTML standard, section 13.2.5.73)."""
    text = reference[0]
    if text.startswith("&#"):
        return unescape(text)
    return html5.get(text[1:], text)  # those before "=" or a letter are none, unless they end with ";"


def _escaped(value: str) -> bytes:
    return escape(value).encode("utf-8", "surrogateescape")
