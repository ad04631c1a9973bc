"""Backups of the files that `configure` edits: each file before the edit, and as `configure` left it.

There is one folder for each client and file, below ``$XDG_STATE_HOME/ppmproxy/configured``. A client's file may hold
passwords, so only its owner may read the backup.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from ppmproxy.errors import ConfigError
from ppmproxy.files import OWNER_ONLY, replace_file

_BEFORE, _OURS, _PATH, _FOLDERS = "before", "as-written", "path", "made-folders"


@dataclass(frozen=True, slots=True)
class Configured:
    """A file before our edit and after it; `before` is None when there was no file."""

    before: bytes | None = field(repr=False)
    ours: bytes = field(repr=False)
    made_folders: tuple[Path, ...] = ()  # deepest first


@dataclass(frozen=True, slots=True)
class BackupStore:
    """The backup of one file of one client."""

    folder: Path
    target: Path

    @property
    def backup(self) -> Path:
        """The file as it was before our edit."""
        return self.folder / _BEFORE

    def load(self) -> Configured | None:
        """The backup; None when there is none, or it is incomplete."""
        try:
            if (self.folder / _PATH).read_bytes() != os.fsencode(self.target):
                return None
            ours = (self.folder / _OURS).read_bytes()
            before = self.backup.read_bytes() if self.backup.exists() else None
            folders = (self.folder / _FOLDERS).read_bytes().split(b"\n")[:-1]
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._unusable("read", error) from error
        return Configured(before, ours, tuple(Path(os.fsdecode(folder)) for folder in folders))

    def save(self, configured: Configured) -> None:
        """Replace the backup; `ConfigError`."""
        new = self.folder.with_name(f"{self.folder.name}.new")
        try:
            shutil.rmtree(new, ignore_errors=True)  # left by an interrupted run
            new.mkdir(mode=0o700, parents=True)
            if configured.before is not None:
                replace_file(new / _BEFORE, configured.before, mode=OWNER_ONLY)
            replace_file(new / _OURS, configured.ours, mode=OWNER_ONLY)
            folders = b"".join(os.fsencode(folder) + b"\n" for folder in configured.made_folders)
            replace_file(new / _FOLDERS, folders, mode=OWNER_ONLY)
            replace_file(new / _PATH, os.fsencode(self.target), mode=OWNER_ONLY)
            self.forget()
            new.rename(self.folder)
        except OSError as error:
            raise self._unusable("written", error) from error

    def forget(self) -> None:
        """Delete the backup."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.folder)

    def _unusable(self, done: str, error: OSError) -> ConfigError:
        reason = (error.strerror or type(error).__name__).lower()
        what = f"the backup in {self.folder} cannot be {done}: {reason}"
        return ConfigError(what, "correct the rights of that folder, or name another place with XDG_STATE_HOME")


def backup_store_for(client: str, target: Path, state_home: Path) -> BackupStore:
    """The backup store of a client's file; `target` is the file with links resolved."""
    digest = hashlib.sha256(os.fsencode(target)).hexdigest()[:12]
    return BackupStore(state_home / "ppmproxy" / "configured" / f"{client}-{digest}", target)
