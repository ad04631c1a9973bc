"""TOML files: what they say, and how a key or an entry of an array gets in.

To change how a uv.toml, pyproject.toml or Pipfile is edited, open this file.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

from ppmproxy.clients.editing.apply import BrokenText, CannotEdit, Language, Step, gap, lines_of, with_at, with_end
from ppmproxy.clients.editing.edits import Edit, Pair, Scalar, SetKey, Tree, UpsertEntry

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_Path = tuple[str, ...]

_ERROR_LINE = re.compile(r"\s*\(at (?:line (\d+), column \d+|end of document)\)$")
_ANY_HEADER = re.compile(r"[ \t]*\[")
_BLANK_OR_COMMENT = re.compile(r"[ \t]*(?:#|$)")
_SCALAR = r"""(?:"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[^\s#,\]}"'\[{]+)"""


def _tree(text: str) -> Tree:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        where = _ERROR_LINE.search(str(error))
        line = where[1] if where else None
        raise BrokenText(_ERROR_LINE.sub("", str(error)).lower(), int(line or text.count("\n") + 1)) from None
    except RecursionError:
        raise BrokenText("it is nested too deep") from None


def _next_step(text: str, edit: Edit) -> Step | None:
    tree = _tree(text)
    if isinstance(edit, SetKey):
        return _key_step(text, tree, edit)
    if isinstance(edit, UpsertEntry):
        return _entry_step(text, tree, edit)
    raise CannotEdit("what TOML files cannot say")


def _key_step(text: str, tree: Tree, edit: SetKey) -> Step | None:
    *path, key = edit.path
    table = _table(tree, tuple(path))
    if table.get(key) == edit.value:
        return None
    after = with_at(tree, edit.path, edit.value)
    if key in table:
        return Step(after, _with_other_value(text, key, edit.value))
    return Step(after, _with_new_key(text, tuple(path), key, edit.value))


def _entry_step(text: str, tree: Tree, edit: UpsertEntry) -> Step | None:
    *above, name = edit.path
    entries = _table(tree, tuple(above)).get(name, [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise CannotEdit(f"an array of tables at {'.'.join(edit.path)}")
    number = _entry_that_plays_the_part(entries, edit)
    if number is None:
        pairs = (*edit.values, *edit.besides)
        return Step(with_at(tree, edit.path, [*entries, dict(pairs)]), _with_new_entry(text, edit.path, pairs))
    entry = entries[number]
    for key, value in (*edit.values, *(pair for pair in edit.if_there if pair[0] in entry)):
        if entry.get(key) != value:
            changed = [*entries[:number], {**entry, key: value}, *entries[number + 1 :]]
            proposals = _with_other_value if key in entry else _with_new_key_in_entry
            return Step(with_at(tree, edit.path, changed), proposals(text, key, value))
    return None


def _entry_that_plays_the_part(entries: list[Tree], edit: UpsertEntry) -> int | None:
    if not edit.known_by:
        return 0 if entries else None
    ours = dict(edit.values)[edit.known_by]
    return next((number for number, entry in enumerate(entries) if entry.get(edit.known_by) == ours), None)


def _table(tree: Tree, path: _Path) -> Tree:
    for key in path:
        below = tree.get(key, {})
        if not isinstance(below, dict):
            raise CannotEdit(f"a table at {'.'.join(path)}")
        tree = below
    return tree


# --- proposals: where it may be written -------------------------------------------------------------------------------


def _with_other_value(text: str, key: str, value: Scalar) -> Iterator[str]:
    for match in re.finditer(rf"""(?<![\w-])["']?{re.escape(key)}["']?[ \t]*=[ \t]*({_SCALAR})""", text):
        yield text[: match.start(1)] + _literal(value) + text[match.end(1) :]


def _with_new_key(text: str, path: _Path, key: str, value: Scalar) -> Iterator[str]:
    line = f"{key} = {_literal(value)}\n"
    yield from _below_every_header(text, path, line)
    yield f"{with_end(text)}{gap(text)}[{'.'.join(path)}]\n{line}"


def _with_new_key_in_entry(text: str, key: str, value: Scalar) -> Iterator[str]:
    yield from _below_every_header(text, None, f"{key} = {_literal(value)}\n")
    for match in re.finditer(r"\{", text):
        yield f"{text[: match.end()]} {key} = {_literal(value)},{text[match.end() :]}"


def _below_every_header(text: str, path: _Path | None, new: str) -> Iterator[str]:
    """Below the headers of a table, or of all tables."""
    lines = lines_of(text)
    for number, line in enumerate(lines):
        if _ANY_HEADER.match(line) if path is None else _is_header(line, path):
            yield with_end("".join(lines[: number + 1])) + new + "".join(lines[number + 1 :])


def _with_new_entry(text: str, path: _Path, pairs: tuple[Pair, ...]) -> Iterator[str]:
    """Below the last entry of the array, at the end of the file, or within the brackets of the array.

    Arrays that are interrupted by other tables are good TOML, but some editors of TOML lose their way in them.
    """
    header = f"[[{'.'.join(path)}]]\n"
    block = header + "".join(f"{key} = {_literal(value)}\n" for key, value in pairs)
    lines = lines_of(text)
    for number in reversed(range(len(lines))):
        if _is_header(lines[number], path):
            end = _table_end(lines, number)
            yield f"{with_end(''.join(lines[:end]))}\n{block}{''.join(lines[end:])}"
            break
    yield with_end(text) + gap(text) + block
    inline = "{ " + ", ".join(f"{key} = {_literal(value)}" for key, value in pairs) + " }"
    for match in re.finditer(rf"(?<![\w-]){re.escape(path[-1])}[ \t]*=[ \t]*\[[^\]]*?(,?)\s*\]", text):
        yield f"{text[: match.end() - 1]}{'' if match[1] else ', '}{inline}{text[match.end() - 1 :]}"
    for match in re.finditer(rf"(?<![\w-]){re.escape(path[-1])}[ \t]*=[ \t]*\[[ \t]*\]", text):
        yield f"{text[: match.end() - 1]}{inline}{text[match.end() - 1 :]}"


def _table_end(lines: list[str], number: int) -> int:
    """Behind the last line with something to say before the next header."""
    end = number + 1
    for below in range(number + 1, len(lines)):
        if _ANY_HEADER.match(lines[below]):
            break
        if not _BLANK_OR_COMMENT.match(lines[below]):
            end = below + 1
    return end


def _is_header(line: str, path: _Path) -> bool:
    name = r"\s*\.\s*".join(rf"""["']?{re.escape(key)}["']?""" for key in path)
    return re.match(rf"[ \t]*\[{{1,2}}\s*{name}\s*\]", line) is not None


def _literal(value: Scalar) -> str:
    """As TOML; the strings that are written here are names and URLs, with nothing in them to escape."""
    return str(value).lower() if isinstance(value, bool) else f'"{value}"'


TOML = Language("TOML", _tree, _next_step)
