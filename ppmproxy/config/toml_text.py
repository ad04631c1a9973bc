"""TOML texts: parsed, with the position of a mistake, and cut into statements.

`tomllib` keeps neither positions nor comments. But every statement ends at the end of a line, so a text can be cut into
statements without a parser, and each statement parsed on its own (toml.io/en/v1.0.0).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

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
_POSITION = re.compile(r"(?P<why>.*) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)")
_NESTING = {"[": 1, "{": 1, "]": -1, "}": -1}


class TomlError(ValueError):
    """A text that is not TOML: the reason, and the position of the mistake (counted from 1; 0: unknown)."""

    def __init__(self, why: str, line: int = 0, column: int = 0) -> None:
        super().__init__(why)
        self.line = line
        self.column = column


def parse_toml(text: str) -> dict[str, Any]:
    """The tables of a text, which may begin with a byte-order mark; `TomlError`."""
    if sys.version_info >= (3, 11):
        import tomllib  # noqa: PLC0415 - a twentieth of a command that reads no TOML
    else:
        import tomli as tomllib  # noqa: PLC0415

    try:
        return tomllib.loads(without_bom(text))
    except RecursionError:
        raise TomlError("nested too deeply") from None
    except ValueError as error:
        located = _POSITION.fullmatch(str(error))
        if not located:  # a number with too many digits
            raise TomlError(str(error)) from None
        *before, last = text.split("\n")
        line, column = located["line"] or len(before) + 1, located["column"] or len(last) + 1
        raise TomlError(located["why"], int(line), int(column)) from None


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
        return parse_toml(text)
    except TomlError:
        return {}


def as_toml_1_0(text: str) -> str:
    """The text without what TOML 1.1 allows in inline tables: newlines, comments and a comma at the end."""
    parts: list[str] = []
    open_brackets: list[str] = []
    last = 0
    for token in _TOKEN.finditer(text):
        parts.append(text[last : token.start()])
        last = token.end()
        is_inline = open_brackets[-1:] == ["{"]
        if token[0] in {"[", "{"}:
            open_brackets.append(token[0])
        elif token[0] in {"]", "}"} and open_brackets and open_brackets.pop() == "{":
            _drop_last_comma(parts)
        parts.append(" " if is_inline and token[0].startswith(("\n", "#")) else token[0])
    return "".join([*parts, text[last:]])


def _drop_last_comma(parts: list[str]) -> None:
    for number in range(len(parts) - 1, -1, -1):
        if parts[number].strip():
            parts[number] = parts[number].rstrip().removesuffix(",")
            return
