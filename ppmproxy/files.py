"""Files that belong to a person: read whole, and replaced whole without losing anything.

To change how such a file is read, replaced or removed, open this file.

A replacement is written beside the file and moved over it, with the same mode and owner; a link stays a link. A file
that somebody has changed since it was read is left to them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ppmproxy.errors import PpmProxyError

LARGEST_FILE = 64 << 20  # bytes; a uv.lock of 2 000 packages has about 4 MiB

_NOT_THERE = (errno.ENOENT, errno.ENOTDIR)


@dataclass(frozen=True, slots=True)
class FileSnapshot:
    """A file as it was when it was read; `data` is None when there was none."""

    path: Path  # as the person named it
    target: Path  # where it really is
    data: bytes | None = field(repr=False)
    seen: tuple[int, ...]
    error_type: type[PpmProxyError]  # what to raise when something is wrong with the file

    def replace(self, data: bytes) -> None:
        """Have the file say this from now on, making its folders if need be; raises `error_type`."""
        try:
            self._check_writable()
            self.target.parent.mkdir(parents=True, exist_ok=True)
            with _written_beside(self.target, data) as temporary:
                self._check_unchanged()
                temporary.replace(self.target)
        except OSError as error:
            raise self._unusable("written", error) from error

    def remove(self) -> None:
        """Have no file any more; raises `error_type`."""
        try:
            self._check_writable()
            self._check_unchanged()
            self.target.unlink(missing_ok=True)
        except OSError as error:
            raise self._unusable("removed", error) from error

    def _check_writable(self) -> None:
        """Moving a file over another asks for no leave of that other; this does, of root too."""
        if self.data is None:
            return
        mode = self.target.stat().st_mode
        if not mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH) or not os.access(self.target, os.W_OK):
            raise self.error_type(
                f"{self.path} is read-only", f"make it writable (chmod u+w {self.path}) and try again"
            )

    def _check_unchanged(self) -> None:
        if _seen(self.target) != self.seen:
            what = f"{self.path} was changed by another program at this very moment"
            raise self.error_type(what, "nothing was written; let the other program finish and try again")

    def _unusable(self, done: str, error: OSError) -> PpmProxyError:
        return _unusable(self.path, done, error, self.error_type)


def read(path: Path, error_type: type[PpmProxyError]) -> FileSnapshot:
    """A file as it is now, or the fact that there is none; raises `error_type` for all that cannot be read."""
    try:
        target = Path(os.path.realpath(path))
        data, seen = _contents(target)
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise _unusable(path, "read", error, error_type) from error
        data, seen = None, ()
    return FileSnapshot(path, target, data, seen, error_type)


def _unusable(path: Path, done: str, error: OSError, error_type: type[PpmProxyError]) -> PpmProxyError:
    reason = (error.strerror or type(error).__name__).lower()
    return error_type(f"{path} cannot be {done}: {reason}", f"check the path, and the permissions of {path.parent}")


def _contents(path: Path) -> tuple[bytes, tuple[int, ...]]:
    # Not blocking: a named pipe without a writer would hold us for ever.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb") as file:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        if about.st_size > LARGEST_FILE:
            raise OSError(errno.EFBIG, f"larger than {LARGEST_FILE >> 20} MiB")
        return file.read(LARGEST_FILE), _fingerprint(about)


def _seen(path: Path) -> tuple[int, ...]:
    try:
        return _fingerprint(path.stat())
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise
        return ()


def _fingerprint(about: os.stat_result) -> tuple[int, ...]:
    return (about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns)


@contextlib.contextmanager
def _written_beside(target: Path, data: bytes) -> Iterator[Path]:
    """A file in the same folder with these bytes on disk; gone afterwards unless it was moved."""
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name[:100]}.", dir=target.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            _give_mode_and_owner(temporary, target)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _give_mode_and_owner(temporary: Path, target: Path) -> None:
    if not target.exists():
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        return
    about = target.stat()
    if sys.platform != "win32":
        with contextlib.suppress(PermissionError):  # somebody else's file in a folder of ours: it becomes ours
            os.chown(temporary, about.st_uid, about.st_gid)
    temporary.chmod(stat.S_IMODE(about.st_mode))
