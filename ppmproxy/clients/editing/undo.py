"""Undo of our edits in a file that others have edited since: a three-way merge.

The three texts are the file before us, the file as we left it, and the file now. A change of ours that is still there
is reverted; everything else stays as it is now. The result is computed on the parsed texts first (`tree_without_us`);
then our lines are removed from the text by a few strategies, until one gives a text that parses to that result.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from ppmproxy.clients.editing.apply import BrokenText, CannotEdit, Language, is_same, lines_of, with_newline
from ppmproxy.clients.editing.edits import Tree

_MISSING = object()
_MOST_PROPOSALS = 1000


@dataclass(frozen=True, slots=True)
class Versions:
    """A file before us, as we left it, and now."""

    before: str
    ours: str
    now: str


@dataclass(frozen=True, slots=True)
class Undone:
    """The text without our changes, and how many of those others have changed since; these stay."""

    text: str
    left: int


def undone(versions: Versions, language: Language) -> Undone:
    """The current text without our changes; `BrokenText`, `CannotEdit` when our lines cannot be found."""
    trees = (language.tree(text) for text in (versions.before, versions.ours, versions.now))
    expected, left = tree_without_us(*trees)
    for proposal in _proposals(versions):
        if _is_expected(proposal, expected, language):
            return Undone(proposal, left)
    raise CannotEdit("the text from before")


def _is_expected(text: str, expected: Tree, language: Language) -> bool:
    """Whether a text parses to the expected tree, empty tables aside."""
    try:
        return is_same(_without_empty_tables(language.tree(text)), _without_empty_tables(expected))
    except BrokenText:
        return False


def _without_empty_tables(value: object) -> object:
    if not isinstance(value, dict):
        return value
    below = {key: _without_empty_tables(item) for key, item in value.items()}
    return {key: item for key, item in below.items() if item != {}}


def tree_without_us(before: Tree, ours: Tree, now: Tree) -> tuple[Tree, int]:
    """The current tree with our unchanged changes reverted, and how many others have changed."""
    merge = _Merge()
    result = merge.without_us(before, ours, now)
    return (result if isinstance(result, dict) else {}), merge.left


class _Merge:
    """A three-way merge that counts the changes it leaves."""

    def __init__(self) -> None:
        self.left = 0

    def without_us(self, before: object, ours: object, now: object) -> object:
        """The current value, or the earlier one where the current one is ours; `_MISSING` for no value."""
        if is_same(before, ours) or is_same(before, now):
            return now
        if is_same(ours, now):
            return before
        if isinstance(ours, dict) and isinstance(now, dict):
            return self._table(before, ours, now)
        if isinstance(ours, list) and isinstance(now, list):
            known = before if isinstance(before, list) else []
            return (self._replaced if len(ours) == len(known) else self._added)(known, ours, now) or before
        self.left += 1
        return now

    def _table(self, before: object, ours: Tree, now: Tree) -> object:
        known = before if isinstance(before, dict) else {}
        result = dict(now)
        for key in [*ours, *(key for key in known if key not in ours)]:
            value = self.without_us(known.get(key, _MISSING), ours.get(key, _MISSING), now.get(key, _MISSING))
            if value is _MISSING:
                result.pop(key, None)
            else:
                result[key] = value
        return result if result or before is not _MISSING else _MISSING

    def _replaced(self, before: list[object], ours: list[object], now: list[object]) -> list[object]:
        """A list in which we replaced an element."""
        result = list(now)
        for old, new in zip(before, ours, strict=True):
            if is_same(old, new):
                continue
            place = next((place for place, item in enumerate(now) if _stands(old, new, item)), None)
            if place is None:
                self.left += 1
            else:
                result[place] = self.without_us(old, new, now[place])
        return result

    def _added(self, before: list[object], ours: list[object], now: list[object]) -> list[object]:
        """A list to which we added an element."""
        result = list(now)
        for new in _only_in_first(ours, before):
            place = next((place for place, item in enumerate(result) if is_same(item, new)), None)
            if place is None:
                self.left += 1
            else:
                del result[place]
        return result


def _stands(old: object, new: object, item: object) -> bool:
    """Whether an element still has all our changes."""
    if not (isinstance(old, dict) and isinstance(new, dict) and isinstance(item, dict)):
        return is_same(item, new)
    changed = [key for key in new if not is_same(old.get(key, _MISSING), new[key])]
    return all(is_same(item.get(key, _MISSING), new[key]) for key in changed)


def _only_in_first(first: Sequence[object], second: Sequence[object]) -> list[object]:
    left = list(second)
    only = []
    for item in first:
        place = next((place for place, other in enumerate(left) if is_same(item, other)), None)
        if place is None:
            only.append(item)
        else:
            del left[place]
    return only


# --- lines ------------------------------------------------------------------------------------------------------------


class _Keep(enum.Enum):
    """Which of our lines stay, because lines of others depend on them."""

    NONE = enum.auto()
    HEADERS = enum.auto()  # lines of others below a header of ours, or in our outer braces
    BRACES = enum.auto()  # lines of others in inner braces of ours
    ALL = enum.auto()


@dataclass(frozen=True, slots=True)
class _Strategy:
    """Which lines of a hunk stay, and whether the lines from before come back."""

    keep: _Keep
    restores: bool


_STRATEGIES = (
    *(_Strategy(keep, restores=True) for keep in (_Keep.NONE, _Keep.HEADERS, _Keep.BRACES)),
    *(_Strategy(keep, restores=False) for keep in (_Keep.HEADERS, _Keep.BRACES, _Keep.ALL)),
)


@dataclass(frozen=True, slots=True)
class _Hunk:
    """Lines that we wrote in one place: the lines from before, and the indexes of ours now, in order."""

    before: tuple[str, ...]
    at: tuple[int, ...]


def _proposals(versions: Versions) -> Iterator[str]:
    now = lines_of(with_newline(versions.now))
    hunks = _hunks(versions, now)
    for strategies in itertools.islice(itertools.product(_STRATEGIES, repeat=len(hunks)), _MOST_PROPOSALS):
        yield _text_without(now, zip(hunks, strategies, strict=True))


def _text_without(now: list[str], strategies: Iterable[tuple[_Hunk, _Strategy]]) -> str:
    lines = dict(enumerate(now))
    for hunk, strategy in strategies:
        lines.update({at: "" for at in hunk.at if not _stays(now[at], strategy.keep)})
        if hunk.at and strategy.restores:
            lines[hunk.at[0]] = "".join(hunk.before) + lines[hunk.at[0]]
    return "".join(lines.values())


def _stays(line: str, keep: _Keep) -> bool:
    if keep in {_Keep.NONE, _Keep.ALL}:
        return keep is _Keep.ALL
    is_inner_brace = keep is _Keep.BRACES and line.strip().endswith(("{", "}", "},"))
    return is_inner_brace or line.rstrip() in {"{", "}"} or line.lstrip().startswith("[")


def _hunks(versions: Versions, now: list[str]) -> list[_Hunk]:
    before, ours = lines_of(with_newline(versions.before)), lines_of(with_newline(versions.ours))
    where = _where_now(ours, now)
    hunks = []
    for tag, first, last, start, end in SequenceMatcher(None, before, ours, autojunk=False).get_opcodes():
        if tag != "equal":
            at = [where[line] for line in range(start, end) if line in where]
            if at and start not in where:
                at = _with_gap_above(at, ours[start], now)
            hunks.append(_Hunk(tuple(_ending_as_now(before[first:last], ours[start:end], at, now)), tuple(at)))
    return hunks


def _with_gap_above(at: list[int], our_first: str, now: list[str]) -> list[int]:
    """The indexes with the blank line above, if we wrote one there."""
    above = at[0] - 1
    return [above, *at] if above >= 0 and not our_first.strip() and not now[above].strip() else at


def _ending_as_now(before: list[str], ours: list[str], at: list[int], now: list[str]) -> list[str]:
    """The lines from before, ending with a comma if our lines have got one since, as in JSON."""
    if before and ours and at and now[at[-1]] == _with_comma(ours[-1]):
        return [*before[:-1], _with_comma(before[-1])]
    return before


def _where_now(ours: list[str], now: list[str]) -> dict[int, int]:
    """The current index of each of our lines that is still there; a trailing comma, as in JSON, makes no difference."""
    plain_ours, plain_now = ([line.rstrip(" \t\n,") for line in lines] for lines in (ours, now))
    blocks = SequenceMatcher(None, plain_ours, plain_now, autojunk=False).get_matching_blocks()
    return {block.a + offset: block.b + offset for block in blocks for offset in range(block.size)}


def _with_comma(line: str) -> str:
    return line.rstrip() + ",\n"
