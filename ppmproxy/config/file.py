"""Which settings file is read, its text as tables, and on which line a key stands.

To change where the settings file is looked for, or how its mistakes are located, open this file. The file itself is
read by the caller: nothing here touches the disk.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppmproxy.environment import Environment, expand_home
from ppmproxy.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

KeyPath = tuple[str | int, ...]

_SHORT_FORM = re.compile(r"^[ \t]*upstream[ \t]*=", re.MULTILINE)
_FIRST_TABLE = re.compile(r"^[ \t]*\[", re.MULTILINE)
_TABLE_OF_ONE = re.compile(r"^[ \t]*\[{1,2}[ \t]*upstream[ \t]*[.\]]", re.MULTILINE)
_TOML_POSITION = re.compile(r"(?P<what>.*) \(at (?:(?P<position>line \d+, column \d+)|end of document)\)")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that may hold the settings; `named_by` says who named it, and is empty for the usual places."""

    path: Path
    named_by: str = ""

    @property
    def is_explicit(self) -> bool:
        """Whether somebody named this very file, so that it has to exist."""
        return bool(self.named_by)

    def unreadable(self, why: str) -> ConfigError:
        """The error for a file that cannot be read; `why` is the operating system's word for it."""
        what = f"{self.path}: {why}"
        if self.named_by:
            return ConfigError(f"{what} (named by {self.named_by})", "name a file that can be read, or name none")
        return ConfigError(what, "make it readable, or name another file with --config")


def file_candidates(
    environ: Mapping[str, str], home: Path, config_flag: str | None = None, platform: str = "linux"
) -> tuple[Candidate, ...]:
    """Where the settings may be, in order: the first that exists is the only one that is read.

    `platform` is `sys.platform`. A file named by ``--config`` or ``PPMPROXY_CONFIG`` is the only candidate.
    """
    if config_flag is not None:
        if not config_flag:
            raise ConfigError("--config names no file", "name one, or leave --config out")
        return (Candidate(expand_home(config_flag, home), "--config"),)
    if named := environ.get("PPMPROXY_CONFIG"):
        return (Candidate(expand_home(named, home), "PPMPROXY_CONFIG"),)
    folders = (Environment(environ, home, platform=platform).app_config(), _system_folder(environ, platform))
    return tuple(Candidate(folder / "ppmproxy" / "config.toml") for folder in folders)


def _system_folder(environ: Mapping[str, str], platform: str) -> Path:
    return Path(environ.get("PROGRAMDATA") or "C:/ProgramData") if platform == "win32" else Path("/etc")


def parse_document(text: str, file_name: str) -> dict[str, object]:
    """The tables of a settings file; `ConfigError` with line and column when it is not TOML."""
    try:
        return tomllib.loads(_without_bom(text))
    except RecursionError:
        raise ConfigError(f"{file_name}: nested too deeply", "see `ppmproxy config example`") from None
    except ValueError as error:
        what, where = _explained(str(error), text)
        above_tables = _FIRST_TABLE.split(text, maxsplit=1)[0]
        if _SHORT_FORM.search(above_tables) and _TABLE_OF_ONE.search(text):
            what = "upstream = … and [upstream.<name>] exclude each other"
            hint = "write [upstream.default] with url = … in place of upstream = …"
            raise ConfigError(f"{file_name}{where}: {what}", hint) from None
        hint = "correct the file; `ppmproxy config example` shows how it is written"
        raise ConfigError(f"{file_name}{where}: not valid TOML: {what}", hint) from None


def _explained(message: str, text: str) -> tuple[str, str]:
    """What a message of `tomllib` says, and where: its position, or that of the text's last character."""
    located = _TOML_POSITION.fullmatch(message)
    if not located:
        return message, ""
    *before, last = text.split("\n")
    return located["what"], f", {located['position'] or f'line {len(before) + 1}, column {len(last) + 1}'}"


def inline_value(text: str) -> object:
    """One TOML value that stands alone, as in an environment variable; `ValueError` when it is none."""
    try:
        tables: dict[str, object] = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        tables = {}
    if tables.keys() != {"value"}:  # a line break in the text could smuggle in a second key
        msg = "not a TOML value"
        raise ValueError(msg)
    return tables["value"]


def line_of(text: str, path: KeyPath) -> int | None:
    """The line, from 1, on which a key stands, or the nearest table around it; None when there is neither.

    `tomllib` keeps no positions. But a statement of TOML ends at a line's end, so each can be parsed on its own.
    """
    best, line = 0, None
    table: KeyPath = ()
    last_element: dict[KeyPath, int] = {}
    for start, is_header, tables in _statements(text):
        if is_header:
            table = _table_path(tables, last_element)
            depth = _common_length(table, path)
        else:
            depth = len(table) + _depth_of(path[len(table) :], tables) if path[: len(table)] == table else 0
        if depth > best:
            best, line = depth, start
    return line


def _statements(text: str) -> Iterator[tuple[int, bool, dict[str, object]]]:
    """Each statement: its first line, whether it opens a table, and what it says when parsed on its own."""
    start, lines = 1, list[str]()
    for number, line in enumerate(_without_bom(text).split("\n"), start=1):
        lines.append(line)
        try:
            tables = tomllib.loads("\n".join(lines) + "\n")
        except (ValueError, RecursionError):
            continue  # the statement goes on in the next line
        if tables:
            yield start, lines[0].lstrip().startswith("["), tables
        start, lines = number + 1, []


def _table_path(tables: object, last_element: dict[KeyPath, int]) -> KeyPath:
    """The path that a header opens; `last_element` counts the elements of each ``[[array]]`` and is kept up to date."""
    path: KeyPath = ()
    while isinstance(tables, dict) and tables:
        key, tables = next(iter(tables.items()))
        path += (key,)
        if isinstance(tables, list):
            last_element[path] = last_element.get(path, -1) + 1
        if path in last_element:
            path += (last_element[path],)
    return path


def _common_length(one: KeyPath, other: KeyPath) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (left, right) in pairs if left != right), min(len(one), len(other)))


def _depth_of(path: KeyPath, tables: Any) -> int:
    """How many steps of a path exist in what was parsed."""
    if not path:
        return 0
    try:
        below = tables[path[0]]
    except (KeyError, IndexError, TypeError):
        return 0
    return 1 + _depth_of(path[1:], below)


def _without_bom(text: str) -> str:
    """The text without the byte-order mark that some Windows editors put in front."""
    return text.removeprefix("\ufeff")
