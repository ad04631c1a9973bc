"""Where a running daemon leaves word for this user's other commands, so that nobody else can read or change it.

To change that place, or what makes it safe, open this file.

It is ``$XDG_RUNTIME_DIR/ppmproxy``, which is gone with the session; where there is no such variable, or where it names
another user's folder (as after `sudo -E`), ``~/.cache/ppmproxy-<uid>``.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ppmproxy.access.peer_credentials import own_uid

FOLDER_MODE = 0o700
LARGEST_FILE = 1 << 16
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def runtime_folders(environ: Mapping[str, str], home: Path) -> tuple[Path, ...]:
    """The places to look in, the one to write to first. Neither has to be there."""
    named = environ.get("XDG_RUNTIME_DIR", "")
    fallback = home / ".cache" / f"ppmproxy-{max(own_uid(), 0)}"
    return (Path(named) / "ppmproxy", fallback) if _is_ours(Path(named)) else (fallback,)


def make_folder(folder: Path) -> None:
    """Make the folder, for this user alone; `OSError` when it cannot be, or is somebody else's."""
    folder.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
    if not _is_ours(folder):
        raise OSError(f"{folder} is not a folder of this user's own")
    if os.name == "posix" and folder.stat().st_mode & _OTHERS:
        folder.chmod(FOLDER_MODE)


def write_file(file: Path, text: str) -> None:
    """Write a file that this user alone may read, as a whole or not at all; `OSError`."""
    descriptor, temporary = tempfile.mkstemp(prefix=".", dir=file.parent)  # 0600 from its first moment on
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            opened.write(text)
        Path(temporary).replace(file)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise


def read_file(file: Path) -> str:
    """What this user wrote there; `OSError` for a file that others could have written, and for a link."""
    descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0))
    with os.fdopen(descriptor, encoding="utf-8", errors="replace") as opened:
        found = os.fstat(opened.fileno())
        if os.name == "posix" and (found.st_uid != own_uid() or found.st_mode & _OTHERS):
            raise OSError(f"{file} is not for this user alone")
        return opened.read(LARGEST_FILE)


def _is_ours(folder: Path) -> bool:
    """Whether this is a folder of this user's own, not reached through a link of another one's."""
    if not folder.is_absolute():
        return False
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and (os.name != "posix" or found.st_uid == own_uid())
