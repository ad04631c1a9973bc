"""The environment of a process: variables, home directory, working directory, platform.

Everything that depends on them takes an `Environment`, so that tests give their own. The folders follow the XDG Base
Directory Specification, and the platforms' own rules on macOS and Windows. An XDG variable that is empty or relative is
ignored, as the specification demands.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # in a folder that this user may not search
        return False


@dataclass(frozen=True, slots=True)
class Environment:
    """The environment of a command or a daemon; `exists` is called for files and folders."""

    environ: Mapping[str, str] = field(repr=False)
    home: Path
    cwd: Path = field(default_factory=Path)
    platform: str = sys.platform  # as `sys.platform` has it
    exists: Callable[[Path], bool] = field(default=_exists, repr=False)

    @property
    def is_ci(self) -> bool:
        """Whether this is a job of a build server, all of which set CI."""
        return self.environ.get("CI", "").lower() not in {"", "0", "false"}

    def path_in(self, variable: str) -> Path | None:
        """The path in a variable, relative to the working directory; None when it is not set."""
        value = self.environ.get(variable)
        return self.cwd / value if value else None

    def expand(self, path: str) -> Path:
        """A path whose leading ``~`` means the home directory."""
        return expand_home(path, self.home)

    def config_home(self) -> Path:
        """``$XDG_CONFIG_HOME`` or ``~/.config``: where most clients look, on macOS too."""
        return self._xdg("XDG_CONFIG_HOME") or self.home / ".config"

    def app_config(self) -> Path:
        """The platform's folder for a user's settings: the XDG folder, the Library or the roaming application data."""
        if xdg := self._xdg("XDG_CONFIG_HOME"):
            return xdg
        if self.platform == "darwin":
            return self.application_support()
        return self.app_data(local=False) if self.platform == "win32" else self.home / ".config"

    def state_home(self) -> Path:
        """The platform's folder for what is neither settings nor cache."""
        if xdg := self._xdg("XDG_STATE_HOME"):
            return xdg
        if self.platform == "darwin":
            return self.application_support()
        return self.app_data(local=True) if self.platform == "win32" else self.home / ".local" / "state"

    def cache_home(self) -> Path:
        """The folder for a user's caches, the same on every platform."""
        return self._xdg("XDG_CACHE_HOME") or self.home / ".cache"

    def runtime_dir(self) -> Path | None:
        """The folder for sockets and the like of this session; None where there is no session manager."""
        return self._xdg("XDG_RUNTIME_DIR")

    def app_data(self, *, local: bool) -> Path:
        """Windows' folders for settings: those that travel with the user, and those that stay on the machine."""
        variable, name = ("LOCALAPPDATA", "Local") if local else ("APPDATA", "Roaming")
        return Path(self.environ.get(variable) or self.home / "AppData" / name)

    def application_support(self) -> Path:
        """The Mac's folder for settings and state."""
        return self.home / "Library" / "Application Support"

    def nearest(self, name: str) -> Path | None:
        """A file in the working directory or the nearest one above it, which is how clients find their project."""
        return next((above / name for above in (self.cwd, *self.cwd.parents) if self.exists(above / name)), None)

    def _xdg(self, variable: str) -> Path | None:
        path = Path(self.environ.get(variable, ""))
        return path if path.is_absolute() else None


def expand_home(path: str, home: Path) -> Path:
    """A path with a leading ``~`` replaced by `home`; ``~name`` stays as it is."""
    return home / path[2:] if path == "~" or path.startswith("~/") else Path(path)
