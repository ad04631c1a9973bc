"""The folder of a running daemon's record, which only its own user can read and write.

It is ``$XDG_RUNTIME_DIR/ppmproxy``, which is gone with the session; where there is no such variable, or where it names
another user's folder (as after `sudo -E`), ``~/.cache/ppmproxy-<uid>``.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ppmproxy.access.peer_credentials import own_uid
from ppmproxy.environment import Environment
from ppmproxy.files import OWNER_ONLY, OWNER_ONLY_FOLDER, read_regular_file, replace_file, restrict_folder

LARGEST_FILE = 1 << 16
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def runtime_folders(environment: Environment) -> tuple[Path, ...]:
    """The folders to search, the one to write to first. Neither has to exist."""
    session = environment.runtime_dir()
    fallback = environment.home / ".cache" / f"ppmproxy-{max(own_uid(), 0)}"
    return (session / "ppmproxy", fallback) if session and _is_ours(session) else (fallback,)


def make_folder(folder: Path) -> None:
    """Make the folder, for this user alone; `OSError` when it cannot be, or is another user's."""
    folder.parent.mkdir(mode=OWNER_ONLY_FOLDER, parents=True, exist_ok=True)
    folder.mkdir(mode=OWNER_ONLY_FOLDER, exist_ok=True)
    if not _is_ours(folder):
        raise OSError(f"{folder} is not a folder of this user's own")
    if os.name == "posix" and folder.stat().st_mode & _OTHERS:
        restrict_folder(folder)


def write_file(file: Path, text: str) -> None:
    """Write a file that only this user may read, atomically; `OSError`."""
    replace_file(file, text.encode(), mode=OWNER_ONLY)


def read_file(file: Path) -> str:
    """The contents of a file; `OSError` for a link, and for a file that another user could have written."""
    data, found = read_regular_file(file, LARGEST_FILE, follow_link=False)
    if os.name == "posix" and (found.st_uid != own_uid() or found.st_mode & _OTHERS):
        raise OSError(f"{file} is not for this user alone")
    return data.decode("utf-8", "replace")


def _is_ours(folder: Path) -> bool:
    """Whether this is a folder of this user's own, not reached through a link of another one's."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and (os.name != "posix" or found.st_uid == own_uid())
