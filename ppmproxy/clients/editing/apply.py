"""Verified edits of configuration files: the first proposed text that parses to the expected tree is taken.

A file is never serialised from its parsed form, so all other bytes stay as they are. Proposals may be naive about the
language, because each one is parsed by the language's own parser and compared with the tree before, changed in one
place.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from ppmproxy.clients.editing.edits import ANY, AddWord, Edit, ReplaceValues, SetBlock, SetKey, Tree, UpsertEntry

_LINE = re.compile(r"[^\n]*\n|[^\n]+")


class BrokenText(ValueError):  # noqa: N818 - a state of the file
    """A syntax error: what is wrong, and in which line (0: unknown)."""

    def __init__(self, why: str, line: int = 0) -> None:
        super().__init__(why)
        self.line = line


class CannotEdit(ValueError):  # noqa: N818 - a limit of this editor
    """No proposal made the edit; the message names the edit."""


@dataclass(frozen=True, slots=True)
class Step:
    """One change towards an edit: the tree to reach, and texts that may parse to it, best first."""

    tree: Tree
    proposals: Iterable[str]


@dataclass(frozen=True, slots=True)
class Language:
    """How files of one kind are parsed and edited. `tree` raises `BrokenText`; `next_step` returns None when done."""

    name: str
    tree: Callable[[str], Tree]
    next_step: Callable[[str, Edit], Step | None]
    encoding_errors: str = "strict"  # "surrogateescape" where bytes that are not UTF-8 do no harm


def apply_edits(text: str, edits: Sequence[Edit], language: Language) -> str:
    """The text with all edits made, and nothing else changed; `BrokenText`, `CannotEdit`."""
    for edit in edits:
        while (step := _next_step(text, edit, language)) is not None:
            text = _first_matching(step, edit, language)
    return text


def _next_step(text: str, edit: Edit, language: Language) -> Step | None:
    if not isinstance(edit, ReplaceValues):
        return language.next_step(text, edit)
    tree = language.tree(text)
    for place, value, table in _texts_at(tree, edit.path, tree):
        new = edit.value(value, table)
        if new != value:
            return Step(_replaced(tree, place, new), _with_other_text(text, value, new))
    return None


_Place = tuple[str | int, ...]


def _texts_at(node: object, path: Sequence[str], table: Tree, place: _Place = ()) -> Iterator[tuple[_Place, str, Tree]]:
    """Each text at a path: where it is, the text, and the innermost table around it."""
    if not path:
        if isinstance(node, str):
            yield place, node, table
        return
    first, *rest = path
    below: Iterable[tuple[str | int, object]] = ()
    if isinstance(node, dict):
        table = node
        below = node.items() if first == ANY else [(first, node.get(first))]
    elif isinstance(node, list) and first == ANY:
        below = enumerate(node)
    for key, item in below:
        yield from _texts_at(item, rest, table, (*place, key))


def _replaced(tree: Tree, place: _Place, value: str) -> Tree:
    def changed(node: object, rest: _Place) -> object:
        if not rest:
            return value
        if isinstance(node, list):
            return [changed(item, rest[1:]) if number == rest[0] else item for number, item in enumerate(node)]
        return {**node, rest[0]: changed(node[rest[0]], rest[1:])} if isinstance(node, dict) else node

    result = changed(tree, place)
    return result if isinstance(result, dict) else tree


def _with_other_text(text: str, old: str, new: str) -> Iterator[str]:
    for match in re.finditer(re.escape(old), text):
        yield text[: match.start()] + new + text[match.end() :]


def _first_matching(step: Step, edit: Edit, language: Language) -> str:
    for proposal in step.proposals:
        with contextlib.suppress(BrokenText):
            if is_same(language.tree(proposal), step.tree):
                return proposal
    raise CannotEdit(_described(edit))


def is_same(one: object, other: object) -> bool:
    """Equality in which 1, 1.0 and true differ, and NaN equals NaN."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(is_same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    return type(one) is type(other) and (one == other or one != one)  # noqa: PLR0124 - NaN


def lines_of(text: str) -> list[str]:
    r"""The lines with their ends; "\n" alone ends one, as in INI, TOML and JSON."""
    return _LINE.findall(text)


def with_newline(text: str) -> str:
    """The text, ending with a newline unless it is empty."""
    return text if not text or text.endswith("\n") else text + "\n"


def blank_line_after(text: str) -> str:
    """The blank line between a text and what is appended to it; "" after an empty text."""
    return "\n" if text.strip() else ""


def with_value(tree: Tree, path: Sequence[str], value: object) -> Tree:
    """A copy of the tree with one value set; missing tables on the path are made."""
    first, *rest = path
    if not rest:
        return {**tree, first: value}
    below = tree.get(first, {})
    return {**tree, first: with_value(below if isinstance(below, dict) else {}, rest, value)}


def _described(edit: Edit) -> str:
    match edit:
        case SetKey(path, value):
            return f"{'.'.join(path)} = {value}"
        case ReplaceValues(path):
            return f"another value of {'.'.join(path)}"
        case AddWord(path, word):
            return f"{word} in {'.'.join(path)}"
        case UpsertEntry(path, values):
            return f"{', '.join(f'{key} = {value}' for key, value in values)} in {'.'.join(path)}"
        case SetBlock():
            return "the block of ppmproxy"
