"""Links of HTML index pages (PEP 503): where they stand, byte for byte.

Links are the ``href`` of anchors. Markup is read as section 13.2.5 of the HTML standard says: a tag ends at the first
``>`` outside quoted values; comments and the text of scripts and styles hold no tags. Anchors with simple links are
rewritten as many at a time as follow each other, ordinary ones each by itself but without being taken apart, all others
attribute by attribute. ``data-provenance`` must stay the absolute URL that it is (PEP 740).
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from html import escape
from html.entities import html5
from typing import Final, NamedTuple

from ppmproxy.auth.character_references import unescaped
from ppmproxy.index.link_resolver import HEAD, LONGEST_SIMPLE, REST, Edit, LinkResolver, has_encoded
from ppmproxy.index.possessive import repeats

_LINK: Final = b"href"
_READ_ATTRIBUTES: Final = (_LINK, b"http-equiv", b"type")
# Elements whose content is text up to their own end tag.
TEXT_ELEMENTS: Final = (b"script", b"style", b"textarea", b"title")
TEXT_END: Final = {name: re.compile(rb"</" + name + rb"(?=[\t\n\f\r />])", re.IGNORECASE) for name in TEXT_ELEMENTS}

_ATTRIBUTES: Final = rb'(?:[ \n]++(?!href)[a-z][a-z-]*+(?:="[^"]*+")?)*'
# The attributes that most anchors have, read faster; few of them, because each can be read in two ways.
_DATA: Final = rb'(?:[ ]data-[a-z-]++="[^"]*+"){0,4}'
# Text, and tags without attributes.
_BETWEEN: Final = rb"[^<]*+(?:</?+(?!script|style|textarea|title)[a-z][a-z0-9]*+[ ]?+/?+>[^<]*+)*"
_ANCHOR: Final = b'<a href="'
# Anchors whose simple links have the same head, which is the first group, as many as follow each other.
_ALIKE: Final = re.compile(
    repeats(
        rb'%b<a href="(%b)%b"%b%b>(?:%b<a href="\1%b"%b%b>)*'
        % (_BETWEEN, HEAD.encode(), REST.encode(), _DATA, _ATTRIBUTES, _BETWEEN, REST.encode(), _DATA, _ATTRIBUTES)
    )
)
# An anchor with a plain link: quoted, without blanks, references, backslashes, and all ASCII. All of it is optional.
_ORDINARY: Final = re.compile(
    repeats(rb"""%b(?:<a href="([!#-%%'-\[\]-~]++)"%b>)?""" % (_BETWEEN, _ATTRIBUTES)),
)
_CUT_LINK: Final = re.compile(rb"<(?:a|base)[\t\n\f\r /]", re.IGNORECASE)
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


class Attribute(NamedTuple):
    """An attribute that is read here, and where it stands in the text."""

    name: bytes  # in lower case
    raw: bytes  # the value as it stands, with its quotes; empty if there is none
    gap: int  # where the blanks before it begin
    start: int
    end: int

    @property
    def quote(self) -> bytes:
        """The quote around its value, or nothing."""
        return self.raw[:1] if self.raw[:1] in (b'"', b"'") else b""

    @property
    def value(self) -> str:
        """Its value without quotes and character references."""
        text = self.raw[1:-1] if self.quote else self.raw
        return _REFERENCE.sub(_referenced, text.decode("utf-8", "surrogateescape"))


class Markup(NamedTuple):
    """A tag; without a name, anything else that begins with "<", and the text after it."""

    name: bytes  # in lower case; an end tag's begins with "/"
    attributes: tuple[Attribute, ...]
    end: int


class HtmlLinks:
    """The edits that make the links of one HTML page local, while its text comes in."""

    def __init__(self, links: LinkResolver) -> None:
        self.consumed = 0  # bytes read of the last text; a tag or comment that the text cuts begins there
        self._links = links
        self._text_element = b""  # the element whose text goes on here
        self._has_base = False

    def edits(self, text: bytes) -> Iterator[Edit]:
        """What to replace in the next text, in order."""
        at = 0
        while at < len(text):
            if self._text_element:
                end = TEXT_END[self._text_element].search(text, at)
                if not end:
                    self.consumed = max(at, len(text) - len(b"</" + self._text_element))
                    return
                at = end.start()
                self._text_element = b""
            at = yield from self._alike_edits(text, at)
            at = yield from self._ordinary_edits(text, at)
            if at == len(text):
                break
            markup = markup_at(text, at)
            if not markup:
                self.consumed = at
                return
            yield from self._markup_edits(text, markup)
            at = markup.end
        self.consumed = len(text)

    def close(self, rest: bytes) -> bytes:
        """What remains of the end of the page, of which `rest` was not consumed.

        Clients ignore a tag without an end, as browsers do. One with a link goes, in case that some client does not.
        """
        return b"" if not self._text_element and _CUT_LINK.match(rest) else rest

    def _alike_edits(self, text: bytes, at: int) -> Generator[Edit, None, int]:
        """Pass the anchors that come next if their links are rewritten alike; returns how far it came.

        A quote ends every value among them, so that whatever looks like the beginning of such an anchor is one.
        """
        run = _ALIKE.match(text, at)
        prefix = self._links.prefix(run[1].decode()) if run else None
        if not run or not prefix:
            return at
        end, found = run.end(), run[0]
        parts = found.split(_ANCHOR + prefix.beginning.encode())  # with `join` faster than `replace`
        is_each_below = prefix.beginning == run[1].decode() or len(parts) > found.count(_ANCHOR)
        if not is_each_below or has_encoded(found) or max(map(len, parts[1:])) > LONGEST_SIMPLE:
            return at
        if prefix.replacement is not None:
            yield at, end, (_ANCHOR + _escaped(prefix.replacement)).join(parts)
        return end

    def _ordinary_edits(self, text: bytes, at: int) -> Generator[Edit, None, int]:
        """Go from ordinary anchor to ordinary anchor while there are any; returns how far it came."""
        for match in _ORDINARY.finditer(text, at):  # without gaps: the pattern matches anywhere, if only nothing
            at = match.end()
            if not match.lastindex:
                break
            link = match[1].decode()
            local = self._links.replacement(link)
            if local is None:
                continue
            start, end = match.span(1)
            if link.endswith(local):  # only the beginning goes: nothing to escape
                yield start, end - len(local), b""
            else:
                yield start, end, _escaped(local)
        return at

    def _markup_edits(self, text: bytes, markup: Markup) -> Iterator[Edit]:
        if markup.name == b"a":
            for attribute in markup.attributes:
                if attribute.name == _LINK:
                    local = self._links.replacement(attribute.value)
                    if local is not None:
                        quote = attribute.quote or b'"'
                        yield attribute.end - len(attribute.raw), attribute.end, quote + _escaped(local) + quote
        elif markup.name == b"base":
            yield from self._base_edits(text, markup)
        elif markup.name in TEXT_ELEMENTS:
            self._text_element = markup.name

    def _base_edits(self, text: bytes, base: Markup) -> Iterator[Edit]:
        """Take the first base for all links, and remove every one: no two clients agree on a base that is relative."""
        for attribute in base.attributes:
            if attribute.name != _LINK:
                continue
            if not self._has_base:
                self._links.set_base(attribute.value)
                self._has_base = True
            gap = text[attribute.gap : attribute.start]
            is_parted = text[attribute.end : attribute.end + 1] in b"\t\n\f\r >"
            yield attribute.gap if is_parted and not gap.strip() else attribute.start, attribute.end, b""


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


def _referenced(reference: re.Match[str]) -> str:
    """What a character reference in an attribute stands for (HTML standard, section 13.2.5.73)."""
    text = reference[0]
    if text.startswith("&#"):
        return unescaped(text)
    return html5.get(text[1:], text)  # those before "=" or a letter are none, unless they end with ";"


def _escaped(value: str) -> bytes:
    return escape(value).encode("utf-8", "surrogateescape")
