"""The text of the file of tokens that posit-keyring, pak and this proxy share: what it says, and how one entry changes.

To change what is written into that file, or how it is understood, open this file; where it is kept is in `token_store`.

    [[connections]]
    address = "https://packagemanager.example.com"
    token = "…"
    auth_type = "sso"

posit-keyring builds an object of each entry with exactly these three keys, and at its next write drops every entry of
the file when one of them has another key or lacks one (posit-keyring 0.3.2, ``token_file.py``). So exactly these are
written, and of everything else every byte stays as it is: only the lines of our own entry change.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ppmproxy.auth.origin import Origin
from ppmproxy.auth.secret import Secret
from ppmproxy.errors import TokenFileError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CONNECTIONS = "connections"
KEYS = frozenset({"address", "token", "auth_type"})
SSO = "sso"

_POSITION = re.compile(r"\(at line (\d+)")
_SHAPE = "each entry is [[connections]] with address, token and auth_type"

Table = dict[str, Any]


@dataclass(frozen=True, slots=True)
class TokenEntry:
    """One server's token; the address is its base URL without a trailing slash."""

    address: str
    token: Secret
    auth_type: str = SSO


@dataclass(frozen=True, slots=True)
class TokensText:
    """The text of a file of tokens, and the file's name; broken, it raises `TokenFileError`, which names the line."""

    text: str = field(repr=False)
    name: str

    def check(self) -> None:
        """Raise if the file is broken."""
        self._tables()

    @property
    def entries(self) -> tuple[TokenEntry, ...]:
        """The entries that can be used, in their order."""
        return tuple(entry for table in self._tables() if (entry := _entry(table)) is not None)

    def find(self, address: str) -> TokenEntry | None:
        """The entry for a base URL: of this very spelling, or else of one that means the same place."""
        alike = [entry for entry in self.entries if is_same_place(entry.address, address)]
        return next((entry for entry in alike if entry.address == address), alike[0] if alike else None)

    @property
    def incomplete_lines(self) -> tuple[int, ...]:
        """The lines where entries begin that make posit-keyring drop all others."""
        statements = _statements(self.text)
        blocks = zip(_blocks(statements), self._tables(), strict=False)
        return tuple(
            1 + sum(said.text.count("\n") for said in statements[: block.start])
            for block, table in blocks
            if table.keys() != KEYS
        )

    def with_entry(self, entry: TokenEntry) -> str:
        """The text with this entry in place of the one with the same address, or at the end."""
        tables = self._tables()
        written: Table = {"address": entry.address, "token": entry.token.reveal(), "auth_type": entry.auth_type}
        statements = self._editable()
        at = next((index for index, table in enumerate(tables) if table.get("address") == entry.address), None)
        if at is None:
            return self._checked(_appended(statements, written), [*tables, written])
        block = _blocks(statements)[at]
        own = statements[block.start : block.end]
        new = [_rendered(written, _newline(own)), *(said.text for said in own if said.is_comment)]
        text = _joined(statements[: block.start]) + "".join(new) + _joined(statements[block.end :])
        return self._checked(text, [*tables[:at], written, *tables[at + 1 :]])

    def without(self, address: str) -> str:
        """The text without the entries for a base URL; the very same text when there is none."""
        tables = self._tables()
        gone = [is_same_place(str(table.get("address")), address) for table in tables]
        if not any(gone):
            return self.text
        statements = self._editable()
        for block, goes in reversed(list(zip(_blocks(statements), gone, strict=True))):
            if goes:
                del statements[_with_blank_line(block, statements)]
        return self._checked(_joined(statements), [table for table, goes in zip(tables, gone, strict=True) if not goes])

    def _document(self) -> Table:
        try:
            return tomllib.loads(_without_bom(self.text))
        except RecursionError:
            raise self._broken("nested too deeply") from None
        except ValueError as error:
            located = _POSITION.search(str(error))
            line = located[1] if located else self.text.count("\n") + 1
            raise self._broken(f"line {line} is not valid TOML") from None

    def _tables(self) -> list[Table]:
        tables = self._document().get(CONNECTIONS, [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise self._broken("connections is not a list of entries")
        return tables

    def _editable(self) -> list[_Statement]:
        """The statements, without an empty list of entries, to which none could be added."""
        statements = _statements(self.text)
        inline = next((said for said in _top(statements) if CONNECTIONS in said.tables), None)
        if inline is None:
            return statements
        if inline.tables[CONNECTIONS]:
            raise self._broken("the entries stand in one list in brackets, which cannot be changed here")
        return [said for said in statements if said is not inline]

    def _checked(self, text: str, tables: list[Table]) -> str:
        """A new text, once it says exactly what it should."""
        before = {key: value for key, value in self._document().items() if key != CONNECTIONS}
        after = TokensText(text, self.name)._document()  # noqa: SLF001 - the same class
        if after.pop(CONNECTIONS, []) != tables or after != before:
            raise self._broken("it is written in a way that cannot be changed here")
        return text

    def _broken(self, what: str) -> TokenFileError:
        return TokenFileError(
            f"{self.name}: {what}", f"correct the file, or move it away and run `ppmproxy login` again; {_SHAPE}"
        )


def is_same_place(one: str, other: str) -> bool:
    """Whether two base URLs mean the same place: scheme, host, port, and path but for a slash at its end."""
    return one == other or (_place(one) is not None and _place(one) == _place(other))


def _place(address: str) -> tuple[Origin, str] | None:
    try:
        parts = urlsplit(address)
        plain = not (parts.username or parts.password or parts.query or parts.fragment)
        return (Origin.of_parts(parts), parts.path.rstrip("/")) if plain else None
    except ValueError:
        return None


def _entry(table: Table) -> TokenEntry | None:
    address, token, auth_type = table.get("address"), table.get("token"), table.get("auth_type")
    if not isinstance(address, str) or not isinstance(token, str):
        return None
    return TokenEntry(address, Secret(token), auth_type if isinstance(auth_type, str) else "")


# --- the text, statement by statement ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Statement:
    """One statement of TOML with the ends of its lines, and what it says on its own; nothing, for a comment."""

    text: str
    tables: Table

    @property
    def is_header(self) -> bool:
        return bool(self.tables) and self.text.lstrip().startswith("[")

    @property
    def is_comment(self) -> bool:
        return not self.tables and not self.is_blank

    @property
    def is_blank(self) -> bool:
        return not self.text.strip()


@dataclass(frozen=True, slots=True)
class _Block:
    """Where one entry stands among the statements: from its header to behind its last key."""

    start: int
    end: int


def _statements(text: str) -> list[_Statement]:
    """All statements, which together are the text. Each ends at a line's end, and so can be parsed on its own."""
    found: list[_Statement] = []
    pending = ""
    for line in re.findall(r"[^\n]*\n|[^\n]+", _without_bom(text)):
        pending += line
        try:
            found.append(_Statement(pending, tomllib.loads(pending)))
        except (ValueError, RecursionError):
            continue  # it goes on in the next line
        pending = ""
    return found


def _blocks(statements: Sequence[_Statement]) -> list[_Block]:
    """The entries, in their order; an entry's own sub-tables belong to it."""
    blocks: list[_Block] = []
    inside = False
    for index, said in enumerate(statements):
        if said.is_header:
            inside = CONNECTIONS in said.tables
            if inside and isinstance(said.tables[CONNECTIONS], list):
                blocks.append(_Block(index, index + 1))
        if inside and said.tables:
            blocks[-1] = _Block(blocks[-1].start, index + 1)
    return blocks


def _top(statements: Sequence[_Statement]) -> Iterator[_Statement]:
    """The statements before the first table."""
    for said in statements:
        if said.is_header:
            return
        yield said


def _appended(statements: Sequence[_Statement], written: Table) -> str:
    """The statements and one entry more, set off by a blank line as posit-keyring does it."""
    text, newline = _joined(statements), _newline(statements)
    if text and not text.endswith("\n"):
        text += newline
    if not text:
        return _rendered(written, newline)
    if statements[-1].is_blank:
        return text + _rendered(written, newline) + newline
    return text + newline + _rendered(written, newline)


def _with_blank_line(block: _Block, statements: Sequence[_Statement]) -> slice:
    """The entry with the blank line that set it off: the one behind it, or at the end of the file the one before."""
    if block.end < len(statements):
        return slice(block.start, block.end + statements[block.end].is_blank)
    return slice(block.start - (block.start > 0 and statements[block.start - 1].is_blank), block.end)


def _rendered(table: Table, newline: str) -> str:
    lines = [f"[[{CONNECTIONS}]]", *(f"{key} = {_string(value)}" for key, value in table.items())]
    return "".join(line + newline for line in lines)


def _string(value: str) -> str:
    """A basic string of TOML: JSON's escapes are among its own, but DEL must be escaped too."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _joined(statements: Sequence[_Statement]) -> str:
    return "".join(said.text for said in statements)


def _newline(statements: Sequence[_Statement]) -> str:
    return "\r\n" if any("\r\n" in said.text for said in statements) else "\n"


def _without_bom(text: str) -> str:
    """The text without the byte-order mark of some Windows editors, which posit-keyring stumbles over."""
    return text.removeprefix("\ufeff")
