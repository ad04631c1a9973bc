"""A marked block of lines in a file whose language is not parsed, such as an .Rprofile."""

from __future__ import annotations

from collections.abc import Iterator

from ppmproxy.clients.editing.apply import (
    BrokenText,
    CannotEdit,
    Language,
    Step,
    blank_line_after,
    lines_of,
    with_newline,
)
from ppmproxy.clients.editing.edits import Edit, SetBlock, Tree

BEGIN = "# >>> ppmproxy >>>"
END = "# <<< ppmproxy <<<"


def _tree(text: str) -> Tree:
    before, block, after = parts_of(text)
    rest = [line.strip() for line in (*before, *after) if line.strip()]
    return {"ours": "".join(block[1:-1]), "rest": rest} if block else {"rest": rest}


def parts_of(text: str) -> tuple[list[str], list[str], list[str]]:
    """The lines before the block, the block with its markers, and the lines after it."""
    lines = lines_of(text)
    begins = [number for number, line in enumerate(lines) if line.strip() == BEGIN]
    ends = [number for number, line in enumerate(lines) if line.strip() == END]
    if not begins and not ends:
        return lines, [], []
    if len(begins) != 1 or len(ends) != 1 or ends[0] < begins[0]:
        line = (begins or ends)[0] + 1
        raise BrokenText(f"the markers {BEGIN} and {END} are not there once each, in this order", line)
    begin, end = begins[0], ends[0] + 1
    return lines[:begin], lines[begin:end], lines[end:]


def _next_step(text: str, edit: Edit) -> Step | None:
    if not isinstance(edit, SetBlock):
        raise CannotEdit("a setting, which this kind of file does not have")
    tree = _tree(text)
    expected: Tree = {**tree, "ours": "".join(f"{line}\n" for line in edit.lines)}
    return None if tree == expected else Step(expected, _with_block(text, edit.lines))


def _with_block(text: str, lines: tuple[str, ...]) -> Iterator[str]:
    block = "".join(f"{line}\n" for line in (BEGIN, *lines, END))
    before, there, after = parts_of(text)
    if there:
        yield "".join([*before, block, *after])
    else:
        yield with_newline(text) + blank_line_after(text) + block


MARKED = Language("R", _tree, _next_step, encoding_errors="surrogateescape")
