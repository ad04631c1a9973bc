"""Edits of configuration files, independent of the file's language.

Each language in `ini`, `toml`, `json` and `block` makes the edits that it can express.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Scalar = str | bool
Pair = tuple[str, Scalar]
ANY = "*"  # in a path: each key of a table, each element of a list
Tree = dict[str, object]  # a parsed file: tables by key, lists, scalars


def _never(_: object) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class SetKey:
    """Set a key to a value. The path leads through tables; in INI it is section and key.

    A value that is there and fulfils `keeps` stays.
    """

    path: tuple[str, ...]
    value: Scalar
    keeps: Callable[[object], bool] = _never


@dataclass(frozen=True, slots=True)
class ReplaceValues:
    """Replace each text at a path; `value` is called with the text and the table that it is in."""

    path: tuple[str, ...]
    value: Callable[[str, Tree], str]


@dataclass(frozen=True, slots=True)
class AddWord:
    """Add a word to a key whose value is a list of words, unless it is there (INI)."""

    path: tuple[str, ...]
    word: str


@dataclass(frozen=True, slots=True)
class UpsertEntry:
    """Set values in one entry of an array of tables, or add an entry with them (TOML).

    Nothing is done when an entry fulfils `satisfied`. The first one that fulfils `matches` is changed; without such an
    entry, a new one with `besides` too is added at the end, or at the beginning.
    """

    path: tuple[str, ...]
    values: tuple[Pair, ...]
    matches: Callable[[Tree], bool]
    satisfied: Callable[[Tree], bool] = _never
    besides: tuple[Pair, ...] = ()
    goes_first: bool = False


@dataclass(frozen=True, slots=True)
class SetBlock:
    """Set the lines between our markers."""

    lines: tuple[str, ...]


Edit = SetKey | AddWord | ReplaceValues | UpsertEntry | SetBlock
