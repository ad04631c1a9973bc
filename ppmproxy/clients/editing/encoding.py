"""Lossless decoding of text files: encoding, byte order mark and line ends are restored on writing."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

_OTHER_ENDS = re.compile(r"(?<!\r)\n|\r(?!\n)")  # a text with these is mixed, not CRLF


@dataclass(frozen=True, slots=True)
class TextForm:
    """Byte order mark, line end and error handler of a decoded file."""

    mark: bytes = b""
    line_end: str = "\n"
    errors: str = "strict"

    def data(self, text: str) -> bytes:
        """The bytes of a text in this form."""
        return self.mark + text.replace("\n", self.line_end).encode("utf-8", self.errors)


def text_of(data: bytes, errors: str = "strict") -> tuple[str, TextForm]:
    r"""A file's text and form. Line ends become "\n" where all are the same; `UnicodeDecodeError`."""
    mark = codecs.BOM_UTF8 if data.startswith(codecs.BOM_UTF8) else b""
    text = data[len(mark) :].decode("utf-8", errors)
    line_end = "\r\n" if "\r\n" in text and not _OTHER_ENDS.search(text) else "\n"
    return text.replace(line_end, "\n"), TextForm(mark, line_end, errors)
