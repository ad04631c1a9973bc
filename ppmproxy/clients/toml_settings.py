"""A client's settings in TOML, read without an error: what is not there, or cannot be parsed, has no settings.

`doctor` reports such files; here the client itself will.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ppmproxy.errors import ConfigError, PpmProxyError
from ppmproxy.files import read

if TYPE_CHECKING:
    from ppmproxy.clients.editing.edits import Tree


def text_in(path: Path) -> str:
    """The text of a file; "" when it cannot be read."""
    try:
        data = read(path, ConfigError).data
    except PpmProxyError:
        return ""
    return (data or b"").decode("utf-8", "replace").removeprefix("\ufeff")


def tree_of(text: str) -> Tree:
    """The settings in a text."""
    from ppmproxy.clients.editing.apply import BrokenText  # noqa: PLC0415 - most folders have nothing to parse
    from ppmproxy.clients.editing.toml import TOML  # noqa: PLC0415

    try:
        return TOML.tree(text)
    except BrokenText:
        return {}


def table(value: object) -> Tree:
    """A value as a table; an empty one when it is none."""
    return value if isinstance(value, dict) else {}


def array(value: object) -> list[object]:
    """A value as an array; an empty one when it is none."""
    return value if isinstance(value, list) else []
