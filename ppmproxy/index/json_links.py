"""Links of JSON index pages (PEP 691): where they stand, byte for byte.

Links are the strings named ``url`` of the objects directly in the ``files`` array of the page's own object, and nothing
else; ``provenance`` must stay the absolute URL that it is (PEP 740). A page is never parsed as a whole, because a root
index has a million entries. Where all links of a text are simple, they are rewritten at one go, plain ones are found by
one search each, and the rest of a page is read token by token.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterator
from json.encoder import encode_basestring_ascii
from typing import Final

from ppmproxy.index.link_resolver import HEAD, LONGEST_SIMPLE, REST, BrokenPage, Edit, LinkResolver, has_encoded
from ppmproxy.index.possessive import repeats

DEEPEST: Final = 1000  # brackets open at a time: Python's own parser gives up about there

# The brackets that are open within the page's object, within its array of files, and within one of these.
_PAGE: Final = b"{"
_FILES: Final = b"{["
_FILE: Final = b"{[{"
_FILES_NAME: Final = b'"files"'
_LINK_NAME: Final = b'"url"'

_BLANKS: Final = b" \t\r\n"
# Some servers begin a page with a byte order mark, and clients accept it.
_BLANKS_AND_MARK: Final = _BLANKS + b"\xef\xbb\xbf"
# A bracket, or a string with the colon that makes it a name. A string matches even when the text ends before its last
# quote does, so that a search never takes the end of one string for the beginning of the next.
_TOKEN: Final = re.compile(rb'[{}\[\]]|("[^"\\]*(?:\\.[^"\\]*)*("?))[ \t\r\n]*(:?)', re.DOTALL)
# Strings and flat objects, as many as follow each other.
_FLAT: Final = re.compile(rb'(?:[^"{}\[\]]*(?:"[^"\\]*"|\{[^"{}\[\]]*(?:"[^"\\]*"[^"{}\[\]]*)*\}))+')

# From anywhere within a file, outside its strings, to the name of a next link: strings, flat objects and arrays.
_TO_LINK: Final = rb"""
    OTHER (?: (?: PASSED | \}BLANK*+,BLANK*+\{ | \{OTHER(?:PASSED OTHER)*\} | \[OTHER(?:PASSED OTHER)*\] ) OTHER )*
    """
# From there to behind the next plain link, the only group. A match without it ends where tokens must be read.
_TO_PLAIN_LINK: Final = rb"""TO_LINK (?: "url"BLANK*+:BLANK*+"([!#-\[\]-~]++)"(?=BLANK*+[^ \t\r\n:]) )?"""
_PARTS: Final = {
    "TO_LINK": _TO_LINK,
    "PASSED": rb'"(?!url")STRING"',  # any string but the name of a link
    "OTHER": rb'[^"{}\[\]]*+',
    "BLANK": rb"[ \t\r\n]",
}


def _pattern(pattern: bytes, string: bytes = rb'[^"]*+') -> re.Pattern[bytes]:
    """A pattern in which words in capitals stand for `_PARTS`, and STRING for what is in a string."""
    for name, part in (*_PARTS.items(), ("STRING", string)):
        pattern = pattern.replace(name.encode(), part)
    return re.compile(repeats(pattern), re.VERBOSE | re.DOTALL)


_TO_PLAIN_LINK_UNESCAPED: Final = _pattern(_TO_PLAIN_LINK)
# The same in a text with backslashes. A string with \u in it may be the name of a link, and is not passed.
_TO_PLAIN_LINK_ESCAPED: Final = _pattern(_TO_PLAIN_LINK, rb'[^"\\]*+(?:\\[^u][^"\\]*+)*')
# From the beginning of a page to the inside of its first file, past strings, flat objects and flat arrays.
_TO_FIRST_FILE: Final = _pattern(
    rb"""
    BLANK*+ \{ OTHER (?: (?: "(?!files")STRING" | \{OTHER(?:PASSED OTHER)*\} | \[OTHER(?:PASSED OTHER)*\] ) OTHER )*
    "files"BLANK*+:BLANK*+\[BLANK*+\{
    """,
    rb'[^"\\]*+',
)
_ESCAPED_LETTER: Final = re.compile(rb"\\u00[67]")  # may spell the name of a link

# The name of the next simple link, and its head.
_NEXT_SIMPLE: Final = _pattern(rb'TO_LINK ("url"BLANK*+:BLANK*+") (%b) %b"' % (HEAD.encode(), REST.encode()))
# A mark that stands for the name and the beginning of a link, where nothing simple follows.
_MARK: Final = b"\0"
_MARK_WITHOUT_LINK: Final = _pattern(rb'\0(?!"%b"BLANK*+[,}])' % REST.encode())
# What remains of such a text to see its shape: brackets, quotes, marks, and letters enough to find the name of a link.
_LETTERS: Final = _LINK_NAME.strip(b'"')
_NO_SHAPE: Final = bytes(set(range(256)) - set(b'"{}[]' + _LETTERS + _MARK))


def _end_of_files(text: bytes, at: int) -> int:
    """Where the last file of a text begins that follows another; `at` when none is soon found."""
    brace = len(text)
    for _ in range(100):  # objects within the last file
        brace = text.rfind(b"{", at, brace)
        before = text[max(at, brace - 100) : max(at, brace)].rstrip(_BLANKS)
        if before.endswith(b",") and before[:-1].rstrip(_BLANKS).endswith(b"}"):
            return brace + 1
        if brace <= at:
            break
    return at


def _are_links_marked(marked: bytes) -> bool:
    """Whether a text from within one file to the beginning of another has a mark for each of its links, and no others.

    A bracket within a string parts the quotes of that string, and then not all quotes between brackets come in pairs.
    Otherwise all brackets are real. Flat objects and arrays have no mark in them, and are removed. If only ends of
    files are left, each with the beginning of the next after it, then every mark is directly within a file.
    """
    shape = marked.translate(None, _NO_SHAPE)
    if _LINK_NAME in shape or has_encoded(marked) or _MARK_WITHOUT_LINK.search(marked):
        return False
    brackets = shape.translate(None, _LETTERS).replace(b'""', b"")
    files = brackets.replace(b"{}", b"").replace(b"[]", b"").replace(b"}{", b"")
    return not files.strip(_MARK)


class JsonLinks:
    """The edits that make the links of one JSON page local, while its text comes in."""

    def __init__(self, links: LinkResolver) -> None:
        self.consumed = 0  # bytes read of the last text; a token that the text cuts begins there
        self._links = links
        self._open = b""  # the brackets that are open, outermost first
        self._has_ended = False
        self._is_in_files = False
        self._is_irrelevant = False  # whether no name and no string is needed before a bracket closes
        self._name = b""  # of the member whose value comes next, if it is needed

    def edits(self, text: bytes) -> Iterator[Edit]:
        """What to replace in the next text, in order; `BrokenPage` when this is no JSON object."""
        self.consumed = len(text)
        plain = _without_escapes(text)
        at = 0 if self._open or self._has_ended else self._pass_to_first_file(text)
        is_first = True
        while at < len(text):
            if self._is_within_file:
                if is_first:  # once, because it reads all of the text
                    is_first = False
                    end = yield from self._alike_edits(text, plain, at)
                    if end > at:  # the last file is read again with what follows
                        self.consumed = end
                        return
                at = yield from self._plain_edits(plain, at)
            at = yield from self._token_edits(text, at)

    def close(self, rest: bytes) -> bytes:
        """Take what was not consumed for the end of the page; `BrokenPage` if the page was cut."""
        if rest:
            msg = "the page ends inside a string"
        elif self._open:
            msg = "the page ends before its last bracket"
        elif not self._has_ended:
            msg = "the page is empty"
        else:
            return rest
        raise BrokenPage(msg)

    @property
    def _is_within_file(self) -> bool:
        return self._is_in_files and self._open == _FILE and not self._name

    def _pass_to_first_file(self, text: bytes) -> int:
        """Pass the beginning of a page at one go where it is simple; returns how far it came."""
        start = _TO_FIRST_FILE.match(text)
        if not start:
            return 0
        self._open, self._is_in_files = _FILE, True
        return start.end()

    def _alike_edits(self, text: bytes, plain: bytes, at: int) -> Generator[Edit, None, int]:
        """Pass all files but the last if their links are rewritten alike; returns how far it came, within a file."""
        end = _end_of_files(text, at)
        first = _NEXT_SIMPLE.match(text, at, end) if b"\\" not in plain and _MARK not in text else None
        prefix = self._links.prefix(first[2].decode()) if first else None
        if not first or not prefix:
            return at
        parts = text[at:end].split(first[1] + prefix.beginning.encode())
        if max(map(len, parts)) > LONGEST_SIMPLE or not _are_links_marked((_MARK + b'"').join(parts)):
            return at
        if prefix.replacement is not None:
            yield at, end, (first[1] + _encoded(prefix.replacement)[1:-1]).join(parts)
        return end

    def _plain_edits(self, plain: bytes, at: int) -> Generator[Edit, None, int]:
        """Go from plain link to plain link while there are any; returns how far it came, still within a file."""
        replacement = self._links.replacement
        pattern = _TO_PLAIN_LINK_ESCAPED if b"\\" in plain else _TO_PLAIN_LINK_UNESCAPED
        for match in pattern.finditer(plain, at):  # without gaps: the pattern matches anywhere, if only nothing
            at = match.end()
            found = match[1]
            if not found:
                break
            link = found.decode()
            local = replacement(link)
            if local is None:
                continue
            if link.endswith(local):  # only the beginning goes: nothing to encode
                start = match.start(1)
                yield start, start + len(link) - len(local), b""
            else:
                yield match.start(1) - 1, at, _encoded(local)
        return at

    def _token_edits(self, text: bytes, at: int) -> Generator[Edit, None, int]:
        """Read token by token, at least one, until the inside of a file; returns how far it came."""
        while True:
            if not self._open:
                self._check_outside(text[at:])
            elif self._is_irrelevant and (flat := _FLAT.match(text, at)):
                at = flat.end()
            token = _TOKEN.search(text, at)
            if not token:
                return len(text)
            at = token.end()
            string, last_quote, colon = token.groups()
            if not string:
                self._pass_bracket(token[0])
            elif not last_quote or (at == len(text) and not colon):  # cut, or perhaps a name
                self.consumed = token.start()
                return len(text)
            elif colon:
                self._pass_name(string)
            else:
                yield from self._string_edit(token.start(), string)
            if self._is_within_file:
                return at

    def _pass_bracket(self, bracket: bytes) -> None:
        if bracket in (b"{", b"["):
            self._is_in_files |= self._name == _FILES_NAME and bracket == b"["
            self._open += bracket
            if len(self._open) > DEEPEST:
                msg = "the page is nested too deeply"
                raise BrokenPage(msg)
        else:
            if self._open[-1:] + bracket not in (b"{}", b"[]"):
                msg = "the page's brackets do not match"
                raise BrokenPage(msg)
            self._open = self._open[:-1]
            self._is_in_files &= self._open != _PAGE
            self._has_ended = not self._open
        self._name = b""
        self._is_irrelevant = self._open not in ((_FILES, _FILE) if self._is_in_files else (_PAGE,))

    def _pass_name(self, name: bytes) -> None:
        name = _spelled_plainly(name)
        if self._open == _PAGE:
            self._name = name if name == _FILES_NAME else b""
        elif self._open == _FILE and self._is_in_files:
            self._name = name if name == _LINK_NAME else b""

    def _string_edit(self, start: int, string: bytes) -> Iterator[Edit]:
        name, self._name = self._name, b""
        if name != _LINK_NAME:
            return
        link = _decoded(string)
        local = self._links.replacement(link) if link is not None else None
        if local is not None:
            yield start, start + len(string), _encoded(local)

    def _check_outside(self, text: bytes) -> None:
        """Make sure that what comes before or after the page's object may stand there."""
        if self._has_ended and text.strip(_BLANKS):
            msg = "the page continues after its last bracket"
            raise BrokenPage(msg)
        if text.strip(_BLANKS_AND_MARK) and not is_object(text):
            msg = "the page is not a JSON object"
            raise BrokenPage(msg)


def is_object(beginning: bytes) -> bool:
    """Whether a page begins as a JSON object."""
    return beginning.lstrip(_BLANKS_AND_MARK).startswith(b"{")


def _without_escapes(text: bytes) -> bytes:
    r"""The same text with something that is in no plain link in place of each \u, if that leaves no backslash.

    Many servers write ">" as \u003e. Where letters are spelled so, a name may be, and the text stays as it is.
    """
    if b"\\" not in text or _ESCAPED_LETTER.search(text):
        return text
    plain = text.replace(b"\\u", b"\0\0")
    return text if b"\\" in plain else plain


def _spelled_plainly(name: bytes) -> bytes:
    """A member's name as it stands, or without escapes that it does not need."""
    decoded = _decoded(name) if b"\\" in name else None
    return name if decoded is None else _encoded(decoded)


def _decoded(string: bytes) -> str | None:
    try:
        return str(json.loads(string.decode("utf-8", "surrogateescape"), strict=False))
    except ValueError:  # an escape that does not exist
        return None


def _encoded(string: str) -> bytes:
    return encode_basestring_ascii(string).encode()
