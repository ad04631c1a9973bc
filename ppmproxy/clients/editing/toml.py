"""Edits of TOML files (uv.toml, pyproject.toml, Pipfile)."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from ppmproxy.clients.editing.apply import (
    BrokenText,
    CannotEdit,
    Language,
    Step,
    blank_line_after,
    with_newline,
    with_value,
)
from ppmproxy.clients.editing.edits import Edit, Scalar, SetKey, Tree, UpsertEntry
from ppmproxy.config.toml_text import Statement, TomlError, as_toml_1_0, joined, parse_toml, statements

_Path = tuple[str, ...]

_SCALAR = r"""(?:\"{3}[^"]*\"{3}|\'{3}[^']*\'{3}|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[^\s#,\]}"'\[{]+)"""


def _tree(text: str) -> Tree:
    try:
        return parse_toml(text)
    except TomlError as error:
        with contextlib.suppress(TomlError):
            return parse_toml(as_toml_1_0(text))  # uv takes TOML 1.1
        raise BrokenText(str(error).lower(), error.line) from None


def _next_step(text: str, edit: Edit) -> Step | None:
    tree = _tree(text)
    if isinstance(edit, SetKey):
        return _key_step(text, tree, edit)
    if isinstance(edit, UpsertEntry):
        return _entry_step(text, tree, edit)
    raise CannotEdit("a kind of setting that TOML files do not have")


def _key_step(text: str, tree: Tree, edit: SetKey) -> Step | None:
    *path, key = edit.path
    table = _table(tree, tuple(path))
    if table.get(key) == edit.value or edit.keeps(table.get(key)):
        return None
    after = with_value(tree, edit.path, edit.value)
    if key in table:
        return Step(after, _with_other_value(text, key, edit.value))
    return Step(after, _with_new_key(text, tuple(path), key, edit.value))


def _entry_step(text: str, tree: Tree, edit: UpsertEntry) -> Step | None:
    *above, name = edit.path
    entries = _table(tree, tuple(above)).get(name, [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise CannotEdit(f"an array of tables at {'.'.join(edit.path)}")
    if any(map(edit.satisfied, entries)):
        return None
    number = next((number for number, entry in enumerate(entries) if edit.matches(entry)), None)
    if number is None:
        new: Tree = dict((*edit.values, *edit.besides))
        after = [new, *entries] if edit.goes_first else [*entries, new]
        return Step(with_value(tree, edit.path, after), _with_new_entry(text, edit))
    entry = entries[number]
    for key, value in edit.values:
        if entry.get(key) != value:
            changed = [*entries[:number], {**entry, key: value}, *entries[number + 1 :]]
            proposals = _with_other_value if key in entry else _with_new_key_in_entry
            return Step(with_value(tree, edit.path, changed), proposals(text, key, value))
    return None


def _table(tree: Tree, path: _Path) -> Tree:
    for key in path:
        below = tree.get(key, {})
        if not isinstance(below, dict):
            raise CannotEdit(f"a table at {'.'.join(path)}")
        tree = below
    return tree


# --- proposed texts -------------------------------------------------------------------------------


def _with_other_value(text: str, key: str, value: Scalar) -> Iterator[str]:
    for match in re.finditer(rf"""(?<![\w-])["']?{re.escape(key)}["']?[ \t]*=[ \t]*({_SCALAR})""", text):
        yield text[: match.start(1)] + _literal(value) + text[match.end(1) :]


def _with_new_key(text: str, path: _Path, key: str, value: Scalar) -> Iterator[str]:
    line = f"{key} = {_literal(value)}\n"
    yield from _below_every_header(text, path, line)
    yield f"{with_newline(text)}{blank_line_after(text)}[{'.'.join(path)}]\n{line}"


def _with_new_key_in_entry(text: str, key: str, value: Scalar) -> Iterator[str]:
    yield from _below_every_header(text, None, f"{key} = {_literal(value)}\n")
    for match in re.finditer(r"\{", text):
        yield f"{text[: match.end()]} {key} = {_literal(value)},{text[match.end() :]}"


def _below_every_header(text: str, path: _Path | None, new: str) -> Iterator[str]:
    """The text with a line added below each header of a table, or of any table."""
    parts = statements(text)
    for end, part in enumerate(parts, start=1):
        if part.is_header and path in {None, part.table}:
            yield with_newline(joined(parts[:end])) + new + joined(parts[end:])


def _with_new_entry(text: str, edit: UpsertEntry) -> Iterator[str]:
    """The entry before the first or after the last one, at the end of the file, or within the array's brackets.

    Beside another entry first: arrays that other tables interrupt are valid, but confuse some TOML editors.
    """
    path, pairs = edit.path, (*edit.values, *edit.besides)
    header = f"[[{'.'.join(path)}]]\n"
    block = header + "".join(f"{key} = {_literal(value)}\n" for key, value in pairs)
    parts = statements(text)
    headers = [number for number, part in enumerate(parts) if part.table == path]
    if headers and edit.goes_first:
        yield f"{joined(parts[: headers[0]])}{block}\n{joined(parts[headers[0] :])}"
    elif headers:
        end = _table_end(parts, headers[-1])
        yield f"{with_newline(joined(parts[:end]))}\n{block}{joined(parts[end:])}"
    yield with_newline(text) + blank_line_after(text) + block
    inline = "{ " + ", ".join(f"{key} = {_literal(value)}" for key, value in pairs) + " }"
    for match in re.finditer(rf"(?<![\w-]){re.escape(path[-1])}[ \t]*=[ \t]*\[[^\]]*?(,?)\s*\]", text):
        yield f"{text[: match.end() - 1]}{'' if match[1] else ', '}{inline}{text[match.end() - 1 :]}"
    for match in re.finditer(rf"(?<![\w-]){re.escape(path[-1])}[ \t]*=[ \t]*\[[ \t]*\]", text):
        yield f"{text[: match.end() - 1]}{inline}{text[match.end() - 1 :]}"


def _table_end(parts: list[Statement], header: int) -> int:
    """The index after the table's last key."""
    end = header + 1
    for number in range(end, len(parts)):
        if parts[number].is_header:
            break
        if parts[number].values:
            end = number + 1
    return end


def _literal(value: Scalar) -> str:
    """A TOML literal. The strings written here are names and URLs, which need no escapes."""
    return str(value).lower() if isinstance(value, bool) else f'"{value}"'


TOML = Language("TOML", _tree, _next_step)
