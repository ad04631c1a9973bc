"""The settings file: where it may be, its text as tables, and the line of a key.

Nothing here reads from disk; `read` does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppmproxy.config.toml_text import TomlError, parse_toml, statements
from ppmproxy.environment import Environment
from ppmproxy.errors import ConfigError

KeyPath = tuple[str | int, ...]

_SHORT_FORM = re.compile(r"^[ \t]*upstream[ \t]*=", re.MULTILINE)
_FIRST_TABLE = re.compile(r"^[ \t]*\[", re.MULTILINE)
_TABLE_OF_ONE = re.compile(r"^[ \t]*\[{1,2}[ \t]*upstream[ \t]*[.\]]", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A possible settings file; `named_by` is the flag or variable that names it, "" for a default path."""

    path: Path
    named_by: str = ""

    @property
    def is_explicit(self) -> bool:
        """Whether a flag or variable names the file, so that it must exist."""
        return bool(self.named_by)

    def unreadable(self, why: str, remedy: str = "") -> ConfigError:
        """The error for a file that cannot be read: the reason, and what mends the file where that is known."""
        what = f"{self.path}: {why}"
        if self.named_by:
            hint = f"{remedy}, or name another file" if remedy else "name another file, or none"
            return ConfigError(f"{self.named_by} names a file that cannot be read: {what}", hint)
        return ConfigError(what, f"{remedy or 'make it readable'}, or name another file with --config")


def file_candidates(environment: Environment, config_flag: str | None = None) -> tuple[Candidate, ...]:
    """The possible settings files in their order; only the first that exists is read.

    A file named by ``--config`` or ``PPMPROXY_CONFIG`` is the only candidate.
    """
    if config_flag is not None:
        if not config_flag:
            raise ConfigError("--config names no file", "name one, or leave --config out")
        return (Candidate(environment.expand(config_flag), "--config"),)
    if named := environment.environ.get("PPMPROXY_CONFIG"):
        return (Candidate(environment.expand(named), "PPMPROXY_CONFIG"),)
    folders = (environment.app_config(), _system_folder(environment))
    return tuple(Candidate(folder / "ppmproxy" / "config.toml") for folder in folders)


def _system_folder(environment: Environment) -> Path:
    if environment.platform == "win32":
        return Path(environment.environ.get("PROGRAMDATA") or "C:/ProgramData")
    return Path("/etc")


def parse_document(text: str, file_name: str) -> dict[str, object]:
    """The tables of a settings file; `ConfigError` with line and column when it is not TOML."""
    try:
        return parse_toml(text)
    except TomlError as error:
        where = f", line {error.line}, column {error.column}" if error.line else ""
        above_tables = _FIRST_TABLE.split(text, maxsplit=1)[0]
        if _SHORT_FORM.search(above_tables) and _TABLE_OF_ONE.search(text):
            what = "has both upstream = … and [upstream.<name>]"
            hint = "write [upstream.default] with url = … instead of upstream = …"
            raise ConfigError(f"{file_name}{where} {what}", hint) from None
        hint = "correct the file; `ppmproxy config example` prints a valid one"
        raise ConfigError(f"{file_name}{where} is not valid TOML: {error}", hint) from None


def inline_value(text: str) -> object:
    """A TOML value without a key, as in an environment variable; `ValueError`."""
    try:
        tables = parse_toml(f"value = {text}")
    except TomlError:
        tables = {}
    if tables.keys() != {"value"}:  # a line break in the text could add a second key
        msg = "not a TOML value"
        raise ValueError(msg)
    return tables["value"]


def line_of(text: str, path: KeyPath) -> int | None:
    """The line, counted from 1, of a key or else of the innermost table around it; None without either."""
    best, line = 0, None
    table: KeyPath = ()
    last_element: dict[KeyPath, int] = {}
    for statement in statements(text):
        if statement.is_header:
            table = _table_path(statement.values, last_element)
            depth = _common_length(table, path)
        else:
            depth = len(table) + _depth_of(path[len(table) :], statement.values) if path[: len(table)] == table else 0
        if depth > best:
            best, line = depth, statement.line
    return line


def _table_path(tables: object, last_element: dict[KeyPath, int]) -> KeyPath:
    """The path of a header's table. `last_element` has the last index of each ``[[array]]`` and is updated."""
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
    """The number of keys of a path that exist in parsed values."""
    if not path:
        return 0
    try:
        below = tables[path[0]]
    except (KeyError, IndexError, TypeError):
        return 0
    return 1 + _depth_of(path[1:], below)
