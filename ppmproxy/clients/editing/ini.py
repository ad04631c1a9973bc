"""Edits of INI files (pip.conf).

They are parsed by the parser that pip uses, with pip's names for keys: ``Index_URL`` is ``index-url``. A value is the
list of its lines, so that adding a host below others leaves those alone.
"""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterator

from ppmproxy.clients.editing.apply import (
    BrokenText,
    CannotEdit,
    Language,
    Step,
    blank_line_after,
    lines_of,
    with_newline,
    with_value,
)
from ppmproxy.clients.editing.edits import AddWord, Edit, SetKey, Tree

_OPTION = re.compile(r"(?P<before>(?P<indent>[ \t]*)(?P<key>[^\s\[#;=:][^=:\n]*?)[ \t]*[=:][ \t]*)")
_HEADER = re.compile(r"[ \t]*\[(?P<name>.+)\]")
_INDENT = re.compile(r"[ \t]*")
_NO_DEFAULTS = "\0"  # no section has this name, so [DEFAULT] is one like all others


def _tree(text: str) -> Tree:
    parser = configparser.RawConfigParser(default_section=_NO_DEFAULTS)
    parser.optionxform = _normal_key  # type: ignore[method-assign, assignment]
    try:
        parser.read_string(text)
    except configparser.MissingSectionHeaderError as error:
        raise BrokenText("there is no [section] before it", error.lineno) from None
    except configparser.ParsingError as error:
        raise BrokenText("this is no key = value", error.errors[0][0]) from None
    except configparser.DuplicateSectionError as error:
        raise BrokenText(f"the section [{error.section}] is there twice", error.lineno or 0) from None
    except configparser.DuplicateOptionError as error:
        raise BrokenText(f"the key {error.option} is there twice", error.lineno or 0) from None
    return {section: {key: _lines(value) for key, value in parser.items(section)} for section in parser.sections()}


def _normal_key(key: str) -> str:
    return key.lower().replace("_", "-").removeprefix("--")


def _lines(value: str) -> list[str]:
    return [line.strip() for line in value.split("\n") if line.strip()]


def _next_step(text: str, edit: Edit) -> Step | None:
    tree = _tree(text)
    match edit:
        case SetKey((section, key), value, keeps):
            present, expected = _value(tree, section, key), [str(value)]
            if keeps(" ".join(present or [])):
                return None
        case AddWord((section, key), value):
            present = _value(tree, section, key)
            is_there = value in " ".join(present or []).split()
            expected = present if is_there and present else [*(present or []), value]
        case _:
            raise CannotEdit("a kind of setting that INI files do not have")
    if present == expected:
        return None
    after = with_value(tree, (section, key), expected)
    if present is None:
        return Step(after, _with_new_key(text, section, key, str(value)))
    return Step(after, _with_other_value(text, key, str(value), is_word=isinstance(edit, AddWord)))


def _value(tree: Tree, section: str, key: str) -> list[str] | None:
    in_section = tree.get(section)
    return in_section.get(key) if isinstance(in_section, dict) else None


def _with_other_value(text: str, key: str, value: str, *, is_word: bool) -> Iterator[str]:
    """For each line that may hold the key: the value replaced, or a word added in a line below it."""
    lines = lines_of(text)
    for number, line in enumerate(lines):
        option = _OPTION.match(line)
        if not option or _normal_key(option["key"]) != key:
            continue
        for end in _possible_ends(lines, number):
            kept, new = ([], option["before"] + value)
            if is_word:
                kept, new = lines[number:end], _continuation_indent(lines[number + 1 : end], option["indent"]) + value
            yield "".join([with_newline("".join([*lines[:number], *kept])), new, "\n", *lines[end:]])


def _possible_ends(lines: list[str], number: int) -> Iterator[int]:
    """The possible ends of a value: after its first line, or after lines below that may continue it."""
    yield number + 1
    for end in range(number + 1, len(lines)):
        if lines[end].strip() and not lines[end].startswith((" ", "\t", "#", ";")):
            return
        yield end + 1


def _continuation_indent(below: list[str], indent: str) -> str:
    used = [_indent(line) for line in below if line.strip()]
    return used[-1] if used and len(used[-1]) > len(indent) else indent + "    "


def _indent(line: str) -> str:
    match = _INDENT.match(line)
    return match[0] if match else ""


def _with_new_key(text: str, section: str, key: str, value: str) -> Iterator[str]:
    """The key after the last one of its section, or after its header, or in a new section at the end."""
    lines = lines_of(text)
    for number, line in enumerate(lines):
        header = _HEADER.match(line)
        if header and header["name"] == section:
            for end in reversed(list(_section_ends(lines, number))):
                new = f"{_section_indent(lines[number + 1 : end])}{key} = {value}\n"
                yield "".join([with_newline("".join(lines[:end])), new, *lines[end:]])
    yield f"{with_newline(text)}{blank_line_after(text)}[{section}]\n{key} = {value}\n"


def _section_ends(lines: list[str], number: int) -> Iterator[int]:
    """After the header, and after each line of its section that is neither blank nor a comment."""
    yield number + 1
    for end in range(number + 1, len(lines)):
        if _HEADER.match(lines[end]):
            return
        if lines[end].strip() and not lines[end].lstrip().startswith(("#", ";")):
            yield end + 1


def _section_indent(body: list[str]) -> str:
    options = [option["indent"] for option in map(_OPTION.match, body) if option]
    return options[-1] if options else ""


INI = Language("INI", _tree, _next_step, encoding_errors="surrogateescape")
