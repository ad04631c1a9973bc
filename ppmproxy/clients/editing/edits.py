"""What a client's file is to say, whatever the language it is written in.

To change what can be asked of a file, open this file; how each language says it is in `ini_edit`, `toml_edit`,
`json_edit` and `marked_block`.
"""

from __future__ import annotations

from dataclasses import dataclass

Scalar = str | bool
Pair = tuple[str, Scalar]
Tree = dict[str, object]  # what a file says: tables by key, lists, scalars


@dataclass(frozen=True, slots=True)
class SetKey:
    """A key has this value. The path goes from table to table; in INI it is section and key."""

    path: tuple[str, ...]
    value: Scalar


@dataclass(frozen=True, slots=True)
class AddWord:
    """A key whose value is a list of words has this word among them (INI)."""

    path: tuple[str, ...]
    word: str


@dataclass(frozen=True, slots=True)
class UpsertEntry:
    """An array of tables has an entry with these values (TOML).

    An entry that plays the part already is changed instead of rivalled: the one whose value for `known_by` is ours, or
    the very first when `known_by` is empty. A new one gets `besides` too; one that is there gets `if_there` where it
    has those keys.
    """

    path: tuple[str, ...]
    values: tuple[Pair, ...]
    known_by: str = ""
    besides: tuple[Pair, ...] = ()
    if_there: tuple[Pair, ...] = ()


@dataclass(frozen=True, slots=True)
class SetBlock:
    """The lines between our markers are these."""

    lines: tuple[str, ...]


Edit = SetKey | AddWord | UpsertEntry | SetBlock
