"""A text is changed by trying: of all proposed texts, the first that says exactly what it should is taken.

To change how an edit is checked before it is believed, open this file.

A file is never parsed and written anew, so every byte that is not ours stays as it was. Proposals may be naive about
the language, because nothing is taken on trust: what a proposal says is read by the language's own parser and compared
with what the file said before, changed in the one place that was asked for.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ppmproxy.clients.editing.edits import AddWord, Edit, SetBlock, SetKey, Tree, UpsertEntry

_LINE = re.compile(r"[^\n]*\n|[^\n]+")


class BrokenText(ValueError):  # noqa: N818 - a state of the file, whoever is to blame
    """A text that is not in its language: what is wrong, and in which line (0: unknown)."""

    def __init__(self, why: str, line: int = 0) -> None:
        super().__init__(why)
        self.line = line


class CannotEdit(ValueError):  # noqa: N818 - nobody's fault
    """A text in which no proposal did what was asked for; the message says what that was."""


@dataclass(frozen=True, slots=True)
class Step:
    """One change on the way to a wish: what the text will say, and texts that may say it, best first."""

    tree: Tree
    proposals: Iterable[str]


@dataclass(frozen=True, slots=True)
class Language:
    """How files of one kind are read and changed. `tree` raises `BrokenText`; `next_step` is None when all is well."""

    name: str
    tree: Callable[[str], Tree]
    next_step: Callable[[str, Edit], Step | None]
    encoding_errors: str = "strict"  # "surrogateescape" where bytes that are not UTF-8 do no harm


def apply_edits(text: str, edits: Sequence[Edit], language: Language) -> str:
    """The text with all wishes come true, and nothing else; `BrokenText`, `CannotEdit`."""
    for edit in edits:
        while (step := language.next_step(text, edit)) is not None:
            text = _first_that_says(step, edit, language)
    return text


def _first_that_says(step: Step, edit: Edit, language: Language) -> str:
    for proposal in step.proposals:
        with contextlib.suppress(BrokenText):
            if is_same(language.tree(proposal), step.tree):
                return proposal
    raise CannotEdit(_in_words(edit))


def is_same(one: object, other: object) -> bool:
    """Equality that keeps 1, 1.0 and true apart, and takes one NaN for another."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(is_same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    return type(one) is type(other) and (one == other or one != one)  # noqa: PLR0124 - that is what NaN is


def lines_of(text: str) -> list[str]:
    r"""The lines with their ends; "\n" alone ends one, as in INI, TOML and JSON."""
    return _LINE.findall(text)


def with_end(text: str) -> str:
    """The text, ended by a line's end unless it is empty."""
    return text if not text or text.endswith("\n") else text + "\n"


def gap(text: str) -> str:
    """The empty line between a text and what is put at its end."""
    return "\n" if text.strip() else ""


def with_at(tree: Tree, path: Sequence[str], value: object) -> Tree:
    """The same tree with one value changed, and the tables on the way to it made."""
    first, *rest = path
    if not rest:
        return {**tree, first: value}
    below = tree.get(first, {})
    return {**tree, first: with_at(below if isinstance(below, dict) else {}, rest, value)}


def _in_words(edit: Edit) -> str:
    match edit:
        case SetKey(path, value):
            return f"{'.'.join(path)} = {value}"
        case AddWord(path, word):
            return f"{word} in {'.'.join(path)}"
        case UpsertEntry(path, values):
            return f"{', '.join(f'{key} = {value}' for key, value in values)} in {'.'.join(path)}"
        case SetBlock():
            return "the lines of ppmproxy"
