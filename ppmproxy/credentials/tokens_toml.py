"""The text format of the token file that posit-keyring, pak and ppmproxy share.

    [[connections]]
    address = "https://packagemanager.example.com"
    token = "…"
    auth_type = "sso"

posit-keyring builds an object of each entry with exactly these three keys. At its next write it drops every entry of
the file when one of them has another key or lacks one (posit-keyring 0.3.2, ``token_file.py``). So exactly these keys
are written, and only the lines of our own entry change; every other byte stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any
from urllib.parse import urlsplit

from ppmproxy.auth.origin import Origin
from ppmproxy.auth.secret import Secret
from ppmproxy.config.toml_text import Statement, TomlError, joined, parse_toml, statements
from ppmproxy.config.values import toml_string
from ppmproxy.errors import TokenFileError

CONNECTIONS = "connections"
KEYS = frozenset({"address", "token", "auth_type"})
SSO = "sso"

_SHAPE = "each entry is [[connections]] with address, token and auth_type"

Table = dict[str, Any]


@dataclass(frozen=True, slots=True)
class TokenEntry:
    """The token of one server; the address is its base URL without a trailing slash."""

    address: str
    token: Secret
    auth_type: str = SSO


@dataclass(frozen=True, slots=True)
class TokensText:
    """The text of a token file, and the file's name. Methods raise `TokenFileError` with the line of a mistake."""

    text: str = field(repr=False)
    name: str

    def check(self) -> None:
        """Raise if the file is broken."""
        self._tables()

    @property
    def entries(self) -> tuple[TokenEntry, ...]:
        """The usable entries in their order."""
        return tuple(entry for table in self._tables() if (entry := _entry(table)) is not None)

    def find(self, address: str) -> TokenEntry | None:
        """The entry for a base URL: with exactly this address, or else with an equivalent one."""
        alike = [entry for entry in self.entries if is_same_place(entry.address, address)]
        return next((entry for entry in alike if entry.address == address), alike[0] if alike else None)

    @property
    def incomplete_lines(self) -> tuple[int, ...]:
        """The first lines of the entries for which posit-keyring drops all others."""
        parts = statements(self.text)
        pairs = zip(_entry_slices(parts), self._tables(), strict=False)
        return tuple(parts[place.start].line for place, table in pairs if table.keys() != KEYS)

    def with_entry(self, entry: TokenEntry) -> str:
        """The text with this entry in place of the one with the same address, or at the end."""
        tables = self._tables()
        new: Table = {"address": entry.address, "token": entry.token.reveal(), "auth_type": entry.auth_type}
        parts = self._editable()
        at = next((index for index, table in enumerate(tables) if table.get("address") == entry.address), None)
        if at is None:
            return self._checked(_appended(parts, new), [*tables, new])
        place = _entry_slices(parts)[at]
        comments = joined(part for part in parts[place] if part.is_comment)
        written = _rendered(new, _newline(parts[place])) + comments
        text = joined(parts[: place.start]) + written + joined(parts[place.stop :])
        return self._checked(text, [*tables[:at], new, *tables[at + 1 :]])

    def without(self, address: str) -> str:
        """The text without the entries for a base URL; the same text when there is none."""
        tables = self._tables()
        gone = [is_same_place(str(table.get("address")), address) for table in tables]
        if not any(gone):
            return self.text
        parts = self._editable()
        for place, goes in reversed(list(zip(_entry_slices(parts), gone, strict=True))):
            if goes:
                del parts[_with_blank_line(place, parts)]
        return self._checked(joined(parts), [table for table, goes in zip(tables, gone, strict=True) if not goes])

    def _document(self) -> Table:
        try:
            return parse_toml(self.text)
        except TomlError as error:
            raise self._broken(f"line {error.line} is not valid TOML" if error.line else str(error)) from None

    def _tables(self) -> list[Table]:
        tables = self._document().get(CONNECTIONS, [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise self._broken("connections is not a list of entries")
        return tables

    def _editable(self) -> list[Statement]:
        """The statements without ``connections = []``, to which no entry could be added."""
        parts = statements(self.text)
        top = takewhile(lambda part: not part.is_header, parts)
        inline = next((part for part in top if CONNECTIONS in part.values), None)
        if inline is None:
            return parts
        if inline.values[CONNECTIONS]:
            raise self._broken("the entries stand in one list in brackets, which cannot be changed here")
        return [part for part in parts if part is not inline]

    def _checked(self, text: str, tables: list[Table]) -> str:
        """A new text, after a check that its values are exactly the expected ones."""
        before = {key: value for key, value in self._document().items() if key != CONNECTIONS}
        after = TokensText(text, self.name)._document()  # noqa: SLF001 - the same class
        if after.pop(CONNECTIONS, []) != tables or after != before:
            raise self._broken("it is written in a way that cannot be changed here")
        return text

    def _broken(self, what: str) -> TokenFileError:
        return TokenFileError(f"{self.name}: {what}", f"move it away and run `ppmproxy login`, or correct it: {_SHAPE}")


def is_same_place(one: str, other: str) -> bool:
    """Whether two base URLs are equivalent: same scheme, host, port, and path but for a trailing slash."""
    return one == other or (_place(one) is not None and _place(one) == _place(other))


def _place(address: str) -> tuple[Origin, str] | None:
    try:
        parts = urlsplit(address)
        is_plain = not (parts.username or parts.password or parts.query or parts.fragment)
        return (Origin.of_parts(parts), parts.path.rstrip("/")) if is_plain else None
    except ValueError:
        return None


def _entry(table: Table) -> TokenEntry | None:
    address, token, auth_type = table.get("address"), table.get("token"), table.get("auth_type")
    if not isinstance(address, str) or not isinstance(token, str):
        return None
    return TokenEntry(address, Secret(token), auth_type if isinstance(auth_type, str) else "")


# --- statements -------------------------------------------------------------------------------------------------------


def _entry_slices(parts: Sequence[Statement]) -> list[slice]:
    """The statements of each entry, from its header to its last key, with its sub-tables."""
    entries: list[slice] = []
    is_inside = False
    for index, part in enumerate(parts):
        if part.is_header:
            is_inside = part.table[0] == CONNECTIONS
            if is_inside and isinstance(part.values[CONNECTIONS], list):
                entries.append(slice(index, index + 1))
        if is_inside and part.values:
            entries[-1] = slice(entries[-1].start, index + 1)
    return entries


def _appended(parts: Sequence[Statement], new: Table) -> str:
    """The text with one more entry, separated by a blank line as posit-keyring does it."""
    text, newline = joined(parts), _newline(parts)
    if text and not text.endswith("\n"):
        text += newline
    if not text:
        return _rendered(new, newline)
    if parts[-1].is_blank:
        return text + _rendered(new, newline) + newline
    return text + newline + _rendered(new, newline)


def _with_blank_line(place: slice, parts: Sequence[Statement]) -> slice:
    """The entry with the blank line that separates it: the one after it, or the one before the last entry."""
    if place.stop < len(parts):
        return slice(place.start, place.stop + parts[place.stop].is_blank)
    return slice(place.start - (place.start > 0 and parts[place.start - 1].is_blank), place.stop)


def _rendered(table: Table, newline: str) -> str:
    lines = [f"[[{CONNECTIONS}]]", *(f"{key} = {toml_string(value)}" for key, value in table.items())]
    return "".join(line + newline for line in lines)


def _newline(parts: Sequence[Statement]) -> str:
    return "\r\n" if any("\r\n" in part.text for part in parts) else "\n"
