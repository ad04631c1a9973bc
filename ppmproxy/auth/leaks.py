"""Leaks: whether a server's text shows a known token, also when it is encoded or in pieces.

A leak is a run of `RUN_LENGTH` letters and digits that a text and a token have in common. What stands between them does
not count: blanks, punctuation, markup, invisible characters. A text is read as it is, and after decoding its
percent-escapes (RFC 3986, and ``%u006f`` of JavaScript's escape()), character references (HTML), backslash-escapes (C,
JSON, JavaScript, Perl, CSS), and compatibility forms (Unicode NFKC); a body also as base64 (RFC 4648) and as a dump of
bytes, or of words of up to eight of them, in hexadecimal, octal or decimal, as od, hexdump and xxd print them. Other
encodings are not recognised, nor are shorter pieces with other letters between them.
"""

from __future__ import annotations

import base64
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from urllib.parse import unquote

from ppmproxy.auth.character_references import unescaped
from ppmproxy.auth.secret import jwt_parts

RUN_LENGTH = 8
MAX_ROUNDS = 4  # of decoding; no text for people is encoded more often
_SAMPLE_LENGTH = 4  # each run of `RUN_LENGTH` has a sample at every fifth place
_STEP = RUN_LENGTH - _SAMPLE_LENGTH + 1

_NO_LETTERS_OR_DIGITS = bytes(code for code in range(1 << 7) if not chr(code).isalnum())
_LOWER_CASE = bytes(range(1 << 8)).lower()
_TAG = re.compile(r"<[^<>]*>")
_TAG_OR_COMMENT = re.compile(r"<!--.*?-->|<(?:[^<>\"']|\"[^\"]*\"|'[^']*')*>", re.DOTALL)
_PERCENT_U = re.compile("%u([0-9a-fA-F]{4})", re.IGNORECASE)
_ESCAPE = re.compile(
    r"\\(?:[uUx]\{([0-9a-fA-F]{1,8})\}|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|x([0-9a-fA-F]{1,2})"
    r"|o\{([0-7]{1,9})\}|([0-7]{1,3})|(.))",
    re.DOTALL,
)
_ESCAPE_OF_CSS = re.compile(r"\\([0-9a-fA-F]{1,6})(?:\r\n|[ \t\r\n\f])?")
_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/]+")
_HEX = re.compile(rf"[0-9a-f]{{{2 * RUN_LENGTH},}}")
_HEX_WORD = re.compile(r"\b(?:0x)?((?:[0-9a-f]{2}){1,2}|[0-9a-f]{8}|[0-9a-f]{16})\b")
_LETTERS = re.compile("[A-Za-z]+")
_NUMBER = re.compile(r"(?<![0-9])[0-9]{2,22}(?![0-9])")  # 22 octal digits are eight bytes
# Runs of nearly every response: a token that has one of them does not make a server's headers unreadable.
_ORDINARY = (
    *("application/json", "application/problem+json", "application/octet-stream", "application/xml"),
    *("application/vnd.pypi.simple.v1+json", "application/vnd.pypi.simple.v1+html", "application/x-gzip"),
    *("text/html; charset=utf-8", "text/plain; charset=utf-8", "Package Manager", "packagemanager", "repository"),
    *("Not Found", "Forbidden", "Unauthorized", "Proxy Authentication Required", "Content-Type", "Content-Encoding"),
    *("Content-Length", "Last-Modified", "Cache-Control", "max-age", "must-revalidate", "no-cache, no-store, private"),
)


def runs_of(token: str) -> frozenset[str]:
    """The runs of a token, without those of a JWT's header, which is no secret."""
    return frozenset(_runs("".join(jwt_parts(token)[1:]) or token)) - _ORDINARY_RUNS


def _runs(text: str) -> Iterator[str]:
    squeezed = _squeezed(text)
    return (squeezed[at : at + RUN_LENGTH] for at in range(len(squeezed) - RUN_LENGTH + 1))


def _squeezed(text: str) -> str:
    """The letters and digits of a text in lower case; every response has its headers read so, so that time counts."""
    return text.encode("ascii", "ignore").translate(_LOWER_CASE, _NO_LETTERS_OR_DIGITS).decode("ascii")


_ORDINARY_RUNS = frozenset(run for words in _ORDINARY for run in _runs(words))


class KnownRuns:
    """The runs of all known tokens."""

    def __init__(self, runs: Iterable[frozenset[str]] = ()) -> None:
        self._runs: frozenset[str] = frozenset().union(*runs)
        places = range(RUN_LENGTH - _SAMPLE_LENGTH + 1)
        self._samples = frozenset(run[at : at + _SAMPLE_LENGTH] for run in self._runs for at in places)

    def are_in(self, text: str) -> bool:
        """Whether a text has one of the runs."""
        if not self._runs or (len(text) < RUN_LENGTH and text.isascii()):  # however it is decoded
            return False
        return any(self._are_in(reading) for reading in _readings(text))

    def are_in_body(self, text: str) -> bool:
        """Whether a body has one of the runs, also as base64 or as a dump of bytes."""
        if not self._runs:
            return False
        return any(self._are_in(one) for reading in _readings(text) for one in (reading, *_dumped(reading)))

    def _are_in(self, reading: str) -> bool:
        squeezed = _squeezed(reading)
        for at in range(0, len(squeezed) - _SAMPLE_LENGTH + 1, _STEP):
            if squeezed[at : at + _SAMPLE_LENGTH] in self._samples:
                around = squeezed[max(at - _STEP + 1, 0) : at + RUN_LENGTH]
                if any(run in self._runs for run in _runs(around)):
                    return True
        return False


def _readings(text: str) -> Iterator[str]:
    """A text as it is and after each round of decoding, each with and without its markup."""
    for _ in range(MAX_ROUNDS):
        yield text
        if text.isascii() and not any(map(text.__contains__, "%&\\<")):
            return
        yield from (markup.sub("", text) for markup in (_TAG, _TAG_OR_COMMENT))
        before = text
        text = _without_references(text)
        if "\\" in text:
            yield _ESCAPE_OF_CSS.sub(_character_of_css, text)
        decoded = _ESCAPE.sub(_character, text)
        if decoded == before:
            return
        text = decoded
    yield text


def _without_references(text: str) -> str:
    """A text without percent-escapes, character references and compatibility forms, decoded once."""
    percent = unquote(_PERCENT_U.sub(lambda found: chr(int(found[1], 16)), text), "latin-1")
    return unicodedata.normalize("NFKC", unescaped(percent))


def _character(escape: re.Match[str]) -> str:
    *hexadecimal, octal, plain_octal, other = escape.groups()
    if other is not None:
        return " " if other in "abfnrtv" else other
    number = next((digits for digits in hexadecimal if digits), None)
    return _of_code(int(number, 16) if number else int(octal or plain_octal, 8))


def _character_of_css(escape: re.Match[str]) -> str:
    return _of_code(int(escape[1], 16))


def _of_code(code: int) -> str:
    return chr(code) if code <= sys.maxunicode else ""


def _dumped(text: str) -> Iterator[str]:
    """A text decoded as base64, in every alignment, and as numbers of bytes and of words."""
    digits = _NOT_BASE64.sub("", text.translate(_BASE64_OF_URLS))
    for start in range(4):
        whole = (len(digits) - start) // 4 * 4
        yield base64.b64decode(digits[start : start + whole]).decode("latin-1")
    lower = text.lower()
    for found in _HEX.findall(_squeezed(lower.replace("0x", ""))):
        for start in range(2):
            yield bytes.fromhex(found[start : start + (len(found) - start) // 2 * 2]).decode("latin-1")
    yield b"".join(bytes.fromhex(word)[::-1] for word in _HEX_WORD.findall(lower)).decode("latin-1")
    for numbers in map(_NUMBER.findall, _LETTERS.split(text)):
        if len(numbers) > 1:
            yield from _of_words([int(number) for number in numbers])
            yield from _of_words([int(number, 8) for number in numbers if not set(number) & {"8", "9"}])


def _of_words(numbers: list[int]) -> Iterator[str]:
    """Numbers of one or more bytes each, the last byte first as most machines have it, or the first one."""
    words = [number.to_bytes((number.bit_length() + 7) // 8, "little") for number in numbers]
    yield b"".join(words).decode("latin-1")
    if any(number > 0xFF for number in numbers):  # noqa: PLR2004 - one byte
        yield b"".join(word[::-1] for word in words).decode("latin-1")


_BASE64_OF_URLS = str.maketrans("-_", "+/")
