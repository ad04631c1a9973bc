"""A Unix socket to listen on: for this user alone, and removed when closed.

Whoever may write to the folder could put another socket in the place of this one, so the folder is checked first. A
socket on which nobody answers was left behind by a daemon that was killed; it is replaced.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from ppmproxy.access.peer_credentials import own_uid, pid_of_unix
from ppmproxy.errors import CannotListenError

MODE_MASK = 0o177  # leaves 0600
FAMILY: int | None = getattr(socket, "AF_UNIX", None)  # Python has none on Windows
PROBE_TIMEOUT = 1.0  # seconds; a connection to a Unix socket is there at once or not at all
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class UnixListener(socket.socket):
    """Listens on a path and removes it when closed, unless another file is there by then."""

    def __init__(self, path: Path) -> None:
        """Bind; `CannotListenError` when the path may not be used, `OSError` when the system refuses."""
        if FAMILY is None:
            raise CannotListenError("this system has no Unix sockets", "choose another address with --listen")
        super().__init__(FAMILY, socket.SOCK_STREAM)
        self._path: Path | None = None
        try:
            _check_folder(path.parent)
            _remove_stale(path)
            with _owner_only_umask():
                self.bind(str(path))
            self._path, self._inode = path, _inode_of(path)
        except BaseException:
            super().close()
            raise

    def close(self) -> None:
        """Remove the path first, so that nobody connects to a socket that is about to be closed."""
        path, self._path = self._path, None
        if path is not None:
            with contextlib.suppress(OSError):
                if _inode_of(path) == self._inode:
                    path.unlink()
        super().close()


def _check_folder(folder: Path) -> None:
    try:
        found = folder.stat()
    except FileNotFoundError:
        raise CannotListenError(f"the folder {folder} does not exist", f"make it: mkdir -m 700 {folder}") from None
    if not stat.S_ISDIR(found.st_mode):
        raise CannotListenError(f"{folder} is not a folder", "choose another path with --listen")
    if sys.platform != "win32" and found.st_uid not in {own_uid(), 0}:
        what = f"the folder {folder} belongs to another user (uid {found.st_uid}), who could replace the socket"
        raise CannotListenError(what, "choose a folder of your own, such as $XDG_RUNTIME_DIR")
    if found.st_mode & _WRITABLE_BY_OTHERS and not found.st_mode & stat.S_ISVTX:
        what = f"other users may write to the folder {folder}, and could replace the socket"
        raise CannotListenError(what, f"remove that right: chmod go-w {folder}")


def _remove_stale(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise CannotListenError(f"{path} exists and is not a socket", "choose another path with --listen")
    with socket.socket(FAMILY or -1, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_TIMEOUT)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
        else:
            pid = pid_of_unix(probe)
            holder = f"process {pid}" if pid else "another program"
            raise CannotListenError(f"{path} is taken by {holder}", "stop it, or choose another path with --listen")


@contextlib.contextmanager
def _owner_only_umask() -> Iterator[None]:
    """Have files made in here be 0600 from the start: a chmod afterwards would be too late."""
    before = os.umask(MODE_MASK)
    try:
        yield
    finally:
        os.umask(before)


def _inode_of(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino
