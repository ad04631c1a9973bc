"""One call of `ppmproxy service`, the settings it installs, and the files it writes."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

from ppmproxy.access.auto_port import with_chosen_port
from ppmproxy.auth.child_env import child_environment
from ppmproxy.cli.context import Context
from ppmproxy.cli.service.environment import Flags, ServiceEnvironment, service_environment
from ppmproxy.clients.editing.diff import shown_change
from ppmproxy.config.model import Settings
from ppmproxy.config.read import read_settings
from ppmproxy.environment import Environment
from ppmproxy.errors import ConfigError
from ppmproxy.files import read

_NEEDED_BY_SYSTEMCTL = ("PATH", "HOME", "USER", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")


@dataclass(frozen=True, slots=True)
class ServiceCommand:
    """One call of the command."""

    context: Context
    flags: Flags
    cwd: Path
    dry_run: bool = False
    force: bool = False
    version: str = field(default_factory=lambda: version("ppmproxy"))

    @property
    def program(self) -> tuple[str, ...]:
        """The words that start this very installation, whatever made it: venv, uv tool, pipx."""
        return (sys.executable, "-m", "ppmproxy", "run")

    @property
    def child_environ(self) -> dict[str, str]:
        """What `systemctl` finds in its environment; only what it needs, where the settings cannot be read."""
        environ = self.context.environ
        try:
            settings = read_settings(Environment(environ, self.context.home), self.flags).settings
        except ConfigError:
            return child_environment({name: environ[name] for name in _NEEDED_BY_SYSTEMCTL if name in environ}, (), "")
        return child_environment(environ, settings.upstreams, settings.cache_url)


def service_settings(
    command: ServiceCommand, before: ServiceEnvironment | None = None
) -> tuple[ServiceEnvironment, Settings]:
    """The service's environment, on top of that of the installation `before`, and its settings; `ConfigError`."""
    context = command.context
    if before is None:  # before anything is translated, so that errors use the names that the person used
        read_settings(context.environment, command.flags)
    environment = replace(context.environment, cwd=command.cwd)
    installed = service_environment(environment, command.flags, before)
    loaded = read_settings(replace(context.environment, environ=dict(installed.variables)), {})
    return installed, with_chosen_port(loaded.settings, context.environment)


def text_of(file: Path) -> str | None:
    """The text of a file, None when there is none; `ConfigError` when it cannot be read."""
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


def shown_changes(changes: Iterable[tuple[Path, str | None, str | None]]) -> str:
    """Diffs of the files that would change."""
    diffs = (shown_change(file, _data(before), _data(after)) for file, before, after in changes)
    return "\n".join(filter(None, diffs)) or "nothing would change"


def _data(text: str | None) -> bytes | None:
    return None if text is None else text.encode("utf-8", "surrogateescape")
