"""The statements of a TOML text, each with its lines and its values.

`tomllib` keeps neither positions nor comments. But every statement ends at the end of a line, so a text can be cut into
statements without a parser, and each statement parsed on its own (toml.io/en/v1.0.0).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_TOKEN = re.compile(
    r'''
    """ (?: \\. | [^\\] )*? "{3,5}      # a multi-line string may end in two quotes of its own
    | \'\'\' .*? \'{3,5}
    | " (?: \\. | [^"\\\n] )* "
    | ' [^'\n]* '
    | \# [^\n]*
    | [\[\]{}\n]
    ''',
    re.VERBOSE | re.DOTALL,
)
_NESTING = {"[": 1, "{": 1, "]": -1, "}": -1}


@dataclass(frozen=True, slots=True, eq=False)
class Statement:
    """One statement with the ends of its lines: a table header, a key with its value, a comment or a blank line."""

    text: str = field(repr=False)
    line: int  # the first one, counted from 1
    values: dict[str, object] = field(repr=False)  # as parsed alone; empty for comments, blank lines and broken text

    @property
    def is_header(self) -> bool:
        """Whether the statement opens a table."""
        return bool(self.values) and self.text.lstrip().startswith("[")

    @property
    def is_blank(self) -> bool:
        """Whether the statement is a blank line."""
        return not self.text.strip()

    @property
    def is_comment(self) -> bool:
        """Whether the statement is a comment."""
        return not self.values and not self.is_blank

    @property
    def table(self) -> tuple[str, ...]:
        """The keys of the table that a header opens, in an array of tables too; empty for other statements."""
        path: tuple[str, ...] = ()
        values: object = self.values if self.is_header else None
        while isinstance(values, dict) and values:
            key, values = next(iter(values.items()))
            path += (key,)
        return path


def statements(text: str) -> list[Statement]:
    """The statements of a text, without its byte-order mark; joined, they are the text."""
    text = without_bom(text)
    return [Statement(part, line, _values(part)) for line, part in _parts(text)]


def joined(parts: Iterable[Statement]) -> str:
    """The text of statements."""
    return "".join(part.text for part in parts)


def without_bom(text: str) -> str:
    """The text without the byte-order mark that some Windows editors write."""
    return text.removeprefix("\ufeff")


def _parts(text: str) -> Iterator[tuple[int, str]]:
    start, line, depth = 0, 1, 0
    for token in _TOKEN.finditer(text):
        depth = max(depth + _NESTING.get(token[0], 0), 0)
        if token[0] == "\n" and depth == 0:
            part = text[start : token.end()]
            yield line, part
            start, line = token.end(), line + part.count("\n")
    if start < len(text):
        yield line, text[start:]


def _values(text: str) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError):
        return {}
