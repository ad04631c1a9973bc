"""Edits of configuration files, independent of the file's language.

Each language in `ini`, `toml`, `json` and `block` makes the edits that it can express.
"""

from __future__ import annotations

from dataclasses import dataclass

Scalar = str | bool
Pair = tuple[str, Scalar]
Tree = dict[str, object]  # a parsed file: tables by key, lists, scalars


@dataclass(frozen=True, slots=True)
class SetKey:
    """Set a key to a value. The path leads through tables; in INI it is section and key."""

    path: tuple[str, ...]
    value: Scalar


@dataclass(frozen=True, slots=True)
class AddWord:
    """Add a word to a key whose value is a list of words, unless it is there (INI)."""

    path: tuple[str, ...]
    word: str


@dataclass(frozen=True, slots=True)
class UpsertEntry:
    """Set values in one entry of an array of tables, or append an entry with them (TOML).

    The entry to change is the one whose value for `known_by` is ours, or the first one when `known_by` is empty. A new
    entry gets `besides` too; an existing one gets those of `if_there` whose keys it has.
    """

    path: tuple[str, ...]
    values: tuple[Pair, ...]
    known_by: str = ""
    besides: tuple[Pair, ...] = ()
    if_there: tuple[Pair, ...] = ()


@dataclass(frozen=True, slots=True)
class SetBlock:
    """Set the lines between our markers."""

    lines: tuple[str, ...]


Edit = SetKey | AddWord | UpsertEntry | SetBlock
