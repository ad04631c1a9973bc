"""The entries of a .netrc file, with curl's grammar.

A file is a sequence of words: a keyword, and after most keywords a value. Words in double quotes may contain blanks
and escapes, and unknown words are ignored (https://everything.curl.dev/usingcurl/netrc). Python's `netrc` instead
refuses a whole file for one line. Here a broken entry is dropped and its line reported.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from ppmproxy.auth.secret import Secret

_BLANKS = " \t\r\f\v"
_WORD = re.compile(r'"(?P<quoted>(?:\\.|[^"\\])*)"|(?P<plain>[^\s"]\S*)|(?P<unclosed>")', re.ASCII)
_ESCAPE = re.compile(r"\\(.)")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
_LOGIN = frozenset({"login", "user"})
_KEYWORDS = frozenset({"machine", *_LOGIN, "password", "account"})  # with a value


@dataclass(frozen=True, slots=True)
class NetrcEntry:
    """One entry; the host is "" for the default entry."""

    host: str
    line: int
    login: str = field(default="", repr=False)
    password: Secret | None = None


@dataclass(frozen=True, slots=True)
class Netrc:
    """The readable entries of a file in their order, and the lines that cannot be read."""

    entries: tuple[NetrcEntry, ...]
    unreadable: tuple[int, ...]

    def entry_for(self, host: str) -> NetrcEntry | None:
        """The first entry for a host that has a password, or else the default entry; as curl does."""
        # Host names have no case (RFC 4343).
        entries = [entry for entry in self.entries if entry.host and entry.host.lower() == host.lower()]
        entries += [entry for entry in self.entries if not entry.host]
        return next((entry for entry in entries if entry.password is not None), entries[0] if entries else None)


def parse_netrc(text: str) -> Netrc:
    """The entries of a file's text."""
    parser = _NetrcParser()
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        parser.read(number, line)
    parser.end()
    return Netrc(tuple(parser.entries), tuple(parser.unreadable))


class _NetrcParser:
    def __init__(self) -> None:
        self.entries: list[NetrcEntry] = []
        self.unreadable: list[int] = []
        self._keyword = ""  # its value is the next word
        self._keyword_line = 0
        self._state = _OUTSIDE

    def read(self, number: int, line: str) -> None:
        stripped = line.strip(_BLANKS)
        if self._state == _MACRO and stripped:
            return
        if self._state == _MACRO:
            self._state = _OUTSIDE  # an empty line ends a macro
        if stripped.startswith("#"):
            return
        for word in _words(stripped):
            if word is None:
                self._lose_entry(number)
                return
            if self._keyword:
                self._take_value(word)
            elif word.startswith("#"):
                return
            else:
                self._take_keyword(word.lower(), number)
            if self._state == _MACRO:
                return  # the rest of the line is the macro's name

    def end(self) -> None:
        if self._keyword:
            self._lose_entry(self._keyword_line)

    def _take_keyword(self, keyword: str, number: int) -> None:
        if keyword == "macdef":
            self._state = _MACRO
        elif keyword == "default":
            self._begin_entry("", number)
        elif keyword in _KEYWORDS:
            self._keyword, self._keyword_line = keyword, number
        elif self._state == _OUTSIDE:
            self._lose_entry(number)

    def _take_value(self, value: str) -> None:
        keyword, self._keyword = self._keyword, ""
        if keyword == "machine":
            self._begin_entry(value, self._keyword_line)
        elif self._state == _ENTRY and keyword in _LOGIN:
            self.entries[-1] = replace(self.entries[-1], login=value)
        elif self._state == _ENTRY and keyword == "password":
            self.entries[-1] = replace(self.entries[-1], password=Secret(value) if value else None)

    def _begin_entry(self, host: str, number: int) -> None:
        self.entries.append(NetrcEntry(host, number))
        self._state = _ENTRY

    def _lose_entry(self, number: int) -> None:
        """Drop the present entry; what follows up to the next one belongs to it and is ignored."""
        self.unreadable.append(number)
        if self._state == _ENTRY and self._keyword != "machine":
            self.entries.pop()
        self._keyword, self._state = "", _LOST


_OUTSIDE, _ENTRY, _LOST, _MACRO = "outside", "entry", "lost", "macro"


def _words(line: str) -> Iterator[str | None]:
    """The words of a line; None for a quote that is not closed."""
    for word in _WORD.finditer(line):
        if word["unclosed"]:
            yield None
        elif word["plain"]:
            yield word["plain"]
        else:
            yield _ESCAPE.sub(lambda escape: _ESCAPES.get(escape[1], escape[1]), word["quoted"])
