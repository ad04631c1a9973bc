"""Files of a person: read without blocking, recognised by a fingerprint, replaced atomically.

A replacement is written beside the file and renamed over it, with the file's mode and owner; a link stays a link. A
file that another program has changed since it was read is left alone.

Nothing is done by a name that another user could give a new meaning: the folder is opened once, everything else happens
relative to it, and mode and owner are set on the open descriptor (CWE-367).
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ppmproxy.errors import PpmProxyError

LARGEST_FILE = 64 << 20  # bytes; a uv.lock of 2 000 packages has about 4 MiB

NOT_THERE = (errno.ENOENT, errno.ENOTDIR)
_NOT_BLOCKING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_NOT_A_LINK = getattr(os, "O_NOFOLLOW", 0)
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOT_A_LINK | getattr(os, "O_BINARY", 0)
_ANY_WRITER = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH

Fingerprint = tuple[int, ...]  # empty for a file that is not there
_REAL_PATH_TRIES = 100
OWNER_ONLY, OWNER_ONLY_FOLDER = 0o600, 0o700


class FileChangedError(OSError):
    """A file, or its folder, is not what it was when it was read."""

    def __init__(self, path: Path) -> None:
        super().__init__(errno.ESTALE, f"{path} was changed by another program")


# --- reading ---


def real_path(path: Path) -> Path:
    """The path without links. Python's `realpath` fails if a link becomes a file meanwhile: it is repeated."""
    for _ in range(_REAL_PATH_TRIES):
        with contextlib.suppress(OSError):
            return Path(os.path.realpath(path))
    return Path(os.path.realpath(path))


def open_nonblocking(path: str | Path, flags: int = os.O_RDONLY) -> int:
    """A descriptor, for `open` too: a named pipe without a writer would block for ever, and no signal would end it."""
    return os.open(path, flags | _NOT_BLOCKING)


def read_regular_file(path: Path, limit: int, *, follow_link: bool = True) -> tuple[bytes, os.stat_result]:
    """The contents of a file, and what it was at that moment; `OSError` for another kind, or too large a file."""
    return _contents(open_nonblocking(path, os.O_RDONLY | (0 if follow_link else _NOT_A_LINK)), limit)


def _contents(descriptor: int, limit: int) -> tuple[bytes, os.stat_result]:
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        if found.st_size > limit:
            raise OSError(errno.EFBIG, f"larger than {limit >> 20} MiB")
        return file.read(limit), found


def fingerprint_of(found: os.stat_result) -> Fingerprint:
    """What changes when a file does; the last one even where size and time of change were kept on purpose."""
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


# --- replacing ---


def replace_file(path: Path, data: bytes, *, mode: int | None = None, seen: Fingerprint | None = None) -> None:
    """Make a file, or replace it atomically; `OSError`. A link at `path` itself is replaced, not followed.

    Without `mode` that of the file stays, and a new one has what the umask leaves. Its owner stays where this process
    may give files away. With `seen`, `FileChangedError` unless the file still has that fingerprint.
    """
    with _opened(path.parent) as folder:
        _replace(folder, path.name, data, mode=mode, seen=seen)


def make_private_folder(path: Path) -> None:
    """Make a folder for its owner alone, whatever the umask; one that exists stays as it is."""
    if not path.is_dir():
        path.mkdir(mode=OWNER_ONLY_FOLDER, parents=True, exist_ok=True)
        restrict_folder(path)


def restrict_folder(path: Path) -> None:
    """Take a folder of this user's from everybody else; `OSError` for a link."""
    if sys.platform != "win32":
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            os.fchmod(descriptor, OWNER_ONLY_FOLDER)
        finally:
            os.close(descriptor)


@dataclass(frozen=True, slots=True)
class _Folder:
    """An open folder: its files are reached through it, whatever its path may lead to by now."""

    path: Path
    descriptor: int | None  # None on Windows, where folders cannot be opened

    def identity(self) -> Fingerprint:
        """The numbers that identify it among all folders."""
        found = self.path.stat() if self.descriptor is None else os.fstat(self.descriptor)
        return (found.st_dev, found.st_ino)

    def stat(self, name: str) -> os.stat_result | None:
        """The status of the entry with that name, links not followed; None when there is none."""
        try:
            return os.stat(self._place(name), dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def read(self, name: str) -> tuple[bytes, os.stat_result]:
        """As `read_regular_file`, and `OSError` for a link."""
        flags = os.O_RDONLY | _NOT_BLOCKING | _NOT_A_LINK
        return _contents(os.open(self._place(name), flags, dir_fd=self.descriptor), LARGEST_FILE)

    def is_writable(self, name: str) -> bool:
        """Whether the user may write to the file."""
        return os.access(self._place(name), os.W_OK, dir_fd=self.descriptor)

    def create(self, name: str, mode: int) -> int:
        """A descriptor of a file that was not there."""
        return os.open(self._place(name), _NEW_FILE, mode, dir_fd=self.descriptor)

    def rename(self, name: str, new: str) -> None:
        """Give a file the name of another one, in whose place it is then."""
        os.replace(self._place(name), self._place(new), src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)

    def unlink(self, name: str) -> None:
        """Remove a file, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._place(name), dir_fd=self.descriptor)

    def settle(self) -> None:
        """Make a replacement survive a power cut, where folders can be synchronised; the data are on disk already."""
        if self.descriptor is None:
            return
        with contextlib.suppress(OSError):  # some network drives, and a folder that may not be listed
            readable = os.open(".", os.O_RDONLY, dir_fd=self.descriptor)
            try:
                os.fsync(readable)
            finally:
                os.close(readable)

    def _place(self, name: str) -> str:
        return name if self.descriptor is not None else str(self.path / name)


@contextlib.contextmanager
def _opened(path: Path, seen: Fingerprint = ()) -> Iterator[_Folder]:
    """A folder, which is no link; with `seen`, `FileChangedError` when another one is in its place by now."""
    if sys.platform == "win32":
        yield _Folder(path, None)
    else:
        # O_PATH, where there is one, for a folder that may be searched and not be listed.
        descriptor = os.open(path, getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            folder = _Folder(path, descriptor)
            if seen and folder.identity() != seen:
                raise FileChangedError(path)
            yield folder
        finally:
            os.close(descriptor)


def _replace(folder: _Folder, name: str, data: bytes, *, mode: int | None, seen: Fingerprint | None) -> None:
    before = folder.stat(name)
    temporary = f".{name[:100]}.{os.urandom(4).hex()}"
    descriptor = folder.create(temporary, 0o666 if before is None and mode is None else OWNER_ONLY)
    try:
        with os.fdopen(descriptor, "wb") as file:
            _set_mode_and_owner(descriptor, before, mode)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        if seen is not None:
            _check_unchanged(folder, name, seen)
        folder.rename(temporary, name)
        folder.settle()
    except BaseException:
        folder.unlink(temporary)
        raise


def _set_mode_and_owner(descriptor: int, before: os.stat_result | None, mode: int | None) -> None:
    if sys.platform != "win32":  # where the folder's access list decides
        if before is not None and stat.S_ISREG(before.st_mode):
            with contextlib.suppress(PermissionError):  # of another user's file the replacement is this user's
                os.fchown(descriptor, before.st_uid, before.st_gid)
            mode = stat.S_IMODE(before.st_mode) if mode is None else mode
        if mode is not None:
            os.fchmod(descriptor, mode)


def _check_unchanged(folder: _Folder, name: str, seen: Fingerprint) -> None:
    found = folder.stat(name)
    if (fingerprint_of(found) if found else ()) != seen:
        raise FileChangedError(folder.path / name)


# --- both ---


@dataclass(frozen=True, slots=True)
class FileSnapshot:
    """A file as it was when it was read; `data` is None when there was none."""

    path: Path  # as the person named it
    target: Path  # where it really is
    data: bytes | None = field(repr=False)
    seen: Fingerprint
    folder: Fingerprint  # which one it is in; empty when that was not there
    error_type: type[PpmProxyError]  # what to raise when something is wrong with the file

    def replace(self, data: bytes) -> None:
        """Write new contents, making the folders where there are none; raises `error_type`."""

        def replace(folder: _Folder) -> None:
            _replace(folder, self.target.name, data, mode=None, seen=self.seen)

        self._change("written", replace)

    def remove(self) -> None:
        """Remove the file; raises `error_type`."""

        def remove(folder: _Folder) -> None:
            _check_unchanged(folder, self.target.name, self.seen)
            folder.unlink(self.target.name)

        self._change("removed", remove)

    def _change(self, done: str, change: Callable[[_Folder], None]) -> None:
        try:
            if not self.folder:
                self.target.parent.mkdir(parents=True, exist_ok=True)
            with _opened(self.target.parent, self.folder) as folder:
                self._check_writable(folder)
                change(folder)
        except FileChangedError as error:
            what = f"another program changed {self.path} at the same moment"
            raise self.error_type(what, "nothing was written; let the other program finish and try again") from error
        except OSError as error:
            raise _unusable(self.path, done, error, self.error_type) from error

    def _check_writable(self, folder: _Folder) -> None:
        """A rename over a read-only file needs no permission of that file; this asks for it, of root too."""
        found = folder.stat(self.target.name)
        if found is not None and not (found.st_mode & _ANY_WRITER and folder.is_writable(self.target.name)):
            hint = f"make it writable (chmod u+w {self.path}) and try again"
            raise self.error_type(f"{self.path} is read-only", hint)


def read(path: Path, error_type: type[PpmProxyError], within: Collection[Path] = ()) -> FileSnapshot:
    """A file as it is now, or the fact that there is none; raises `error_type` for all that cannot be read.

    With `within`, real paths of folders, also for what is in none of them: a link may have been put there just now.
    """
    target = real_path(path)
    if within and not any(target.is_relative_to(folder) for folder in within):
        raise error_type(f"{path} has become a link to {target}", "see who else can write to that folder")
    data: bytes | None = None
    seen: Fingerprint = ()
    identity: Fingerprint = ()
    try:
        with _opened(target.parent) as folder:
            identity = folder.identity()
            data, found = folder.read(target.name)
            seen = fingerprint_of(found)
    except OSError as error:
        if error.errno not in NOT_THERE:
            raise _unusable(path, "read", error, error_type) from error
    return FileSnapshot(path, target, data, seen, identity, error_type)


def _unusable(path: Path, done: str, error: OSError, error_type: type[PpmProxyError]) -> PpmProxyError:
    reason = (error.strerror or type(error).__name__).lower()
    return error_type(f"{path} cannot be {done}: {reason}", f"check the path, and the permissions of {path.parent}")
