"""Edits of JSON with comments and trailing commas (an editor's settings.json)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from ppmproxy.clients.editing.apply import BrokenText, CannotEdit, Language, Step, with_newline, with_value
from ppmproxy.clients.editing.edits import Edit, Scalar, SetKey, Tree

_STRING = r'"(?:[^"\\\n]|\\.)*"'
_STRING_OR_COMMENT = re.compile(rf"({_STRING})|//[^\n]*|/\*.*?\*/", re.DOTALL)
_STRING_OR_LAST_COMMA = re.compile(rf"({_STRING})|,(?=\s*[}}\]])", re.DOTALL)
_VALUE = rf"(?:{_STRING}|[^\s,}}\]\[{{\"]+)"
_FIRST_KEY = re.compile(r"[^{]*\{[ \t]*\n(?:[ \t]*(?://[^\n]*)?\n)*([ \t]+)\"")
_USUAL_INDENT = "    "  # of VS Code and Positron


def _tree(text: str) -> Tree:
    # Comments are replaced by as many newlines, so that an error names the right line.
    plain = _STRING_OR_COMMENT.sub(lambda match: match[1] or "\n" * match[0].count("\n") or " ", text)
    plain = _STRING_OR_LAST_COMMA.sub(lambda match: match[1] or " ", plain)
    if not plain.strip():
        return {}
    try:
        tree = json.loads(plain)
    except json.JSONDecodeError as error:
        raise BrokenText(error.msg.lower(), error.lineno) from None
    except RecursionError:
        raise BrokenText("it is nested too deep") from None
    if not isinstance(tree, dict):
        raise BrokenText("it is not an object in braces", 1)
    return tree


def _next_step(text: str, edit: Edit) -> Step | None:
    if not isinstance(edit, SetKey):
        raise CannotEdit("a kind of setting that JSON files do not have")
    tree = _tree(text)
    after = with_value(tree, edit.path, edit.value)
    parent: Tree = tree
    for depth, key in enumerate(edit.path):
        if key not in parent:
            return Step(
                after, _with_new_key(text, _member(edit.path[depth:], edit.value, depth + 1, _indent(text)), parent)
            )
        below = parent[key]
        if isinstance(below, dict) and depth + 1 < len(edit.path):
            parent = below
        elif depth + 1 < len(edit.path):
            raise CannotEdit(f"an object at {key}")
    return (
        None
        if below == edit.value or edit.keeps(below)
        else Step(after, _with_other_value(text, edit.path[-1], edit.value))
    )


def _with_other_value(text: str, key: str, value: Scalar) -> Iterator[str]:
    for match in re.finditer(rf"{re.escape(json.dumps(key))}\s*:\s*({_VALUE})", text):
        yield text[: match.start(1)] + json.dumps(value) + text[match.end(1) :]


def _with_new_key(text: str, member: str, parent: Tree) -> Iterator[str]:
    """A member put first in its object; every opening brace is tried."""
    yield f"{with_newline(text)}{{\n{member}\n}}\n"  # of comments alone, or empty
    for match in re.finditer(r"\{", text):
        after = text[match.end() :]
        comma, newline = "," if parent else "", "" if after.startswith("\n") else "\n"
        yield f"{text[: match.end()]}\n{member}{comma}{newline}{after}"


def _indent(text: str) -> str:
    """The file's own indentation: that of its first key."""
    key = _FIRST_KEY.match(text)
    return key[1] if key else _USUAL_INDENT


def _member(path: tuple[str, ...], value: Scalar, depth: int, unit: str) -> str:
    indent = unit * depth
    key, *rest = path
    if not rest:
        return f"{indent}{json.dumps(key)}: {json.dumps(value)}"
    return f"{indent}{json.dumps(key)}: {{\n{_member(tuple(rest), value, depth + 1, unit)}\n{indent}}}"


JSON = Language("JSON", _tree, _next_step)
