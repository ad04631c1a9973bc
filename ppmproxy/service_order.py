"""What somebody asked of `ppmproxy service`, with everything that it takes to do it.

To change what every kind of service is told, or how its files are written and shown, open this file.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from ppmproxy.carried_settings import Caller, Carried, carried_settings
from ppmproxy.command import Around
from ppmproxy.dry_run import shown_change
from ppmproxy.errors import ConfigError
from ppmproxy.rewriting import read
from ppmproxy.settings import Settings
from ppmproxy.settings_file import effective_settings


@dataclass(frozen=True, slots=True)
class Order:
    """One call of the command."""

    around: Around
    caller: Caller
    dry_run: bool = False
    force: bool = False
    version: str = field(default_factory=lambda: version("ppmproxy"))

    @property
    def program(self) -> tuple[str, ...]:
        """The words that start this very installation, whatever made it: venv, uv tool, pipx."""
        return (sys.executable, "-m", "ppmproxy", "run")


def carried_by(order: Order, before: Carried | None = None) -> tuple[Carried, Settings]:
    """What a service is given, on top of what it was given `before`, and the settings it has then; `ConfigError`."""
    around = order.around
    if before is None:  # as it was given, so that mistakes are told by the names that were used
        effective_settings(around.environ, around.home, order.caller.flags)
    carried = carried_settings(order.caller, before)
    return carried, effective_settings(dict(carried.environment), around.home, {}).settings


def text_of(file: Path) -> str | None:
    """What a file says, None when there is none; `ConfigError` when it cannot be read."""
    data = read(file, ConfigError).data
    return None if data is None else data.decode("utf-8", "surrogateescape")


def write(file: Path, text: str) -> None:
    """Write a file of the service, and the folders above it; `ConfigError`."""
    read(file, ConfigError).replace(text.encode("utf-8", "surrogateescape"))


def remove(file: Path) -> None:
    """Remove a file of the service, and folders above it that are empty now; `ConfigError`."""
    read(file, ConfigError).remove()
    remove_empty(file.parents)


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove folders, as far as there is nothing in them."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def shown(changes: Iterable[tuple[Path, str | None, str | None]]) -> str:
    """What would become of files, as diffs."""
    diffs = (shown_change(file, _data(before), _data(after)) for file, before, after in changes)
    return "\n".join(filter(None, diffs)) or "nothing would change"


def _data(text: str | None) -> bytes | None:
    return None if text is None else text.encode("utf-8", "surrogateescape")
