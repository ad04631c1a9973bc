"""Blobs: files under their SHA-256, written to a partial file first, and verified before they are read.

A blob counts only when it is whole and right. It is hashed again on its first read in a process, and whenever device,
inode, size or a time of the file differ; a wrong one is removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ppmproxy.cache.folder import CacheFolder
from ppmproxy.files import OWNER_ONLY, OWNER_ONLY_FOLDER, Fingerprint, fingerprint_of

if sys.platform != "win32":
    import fcntl

PIECE = 1 << 20  # bytes hashed or copied at a time
WRITTEN_TOGETHER = 32  # blobs; each takes a descriptor
MOST_VERIFIED = 20_000  # blobs of which is remembered that they were verified
ABANDONED = 24 * 3600.0  # seconds after which a partial file is stale where files cannot be locked

_DIGEST = re.compile(r"[0-9a-f]{64}")
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


def is_digest(text: str) -> bool:
    """Whether a text is a SHA-256 in hexadecimal, in lower case."""
    return _DIGEST.fullmatch(text) is not None


@dataclass(slots=True)
class PartialFile:
    """A blob that is being written; the lock on it ends with this process, whatever happens to it."""

    path: Path
    file: BinaryIO
    written: int = 0
    is_kept: bool = False  # it has its place, and nothing is left to remove

    def write(self, data: bytes | memoryview) -> None:
        """Append; `OSError`, and then what was written of it does not count."""
        self.file.seek(self.written)
        rest = memoryview(data)
        while rest:
            rest = rest[self.file.write(rest) :]
        self.written += len(data)

    def read(self, at: int, size: int) -> bytes:
        """What was written at a place."""
        self.file.seek(at)
        return self.file.read(min(size, self.written - at))

    def discard(self) -> None:
        """Remove it, unless it was kept; whoever has it open may read on."""
        if not self.is_kept:
            with contextlib.suppress(OSError):
                self.path.unlink()
        self.file.close()


class Blobs:
    """The blobs of one folder. Methods that may take long are for a thread: `verify`, `keep`, `add_all`, `digests`."""

    def __init__(self, folder: CacheFolder) -> None:
        self._folder = folder
        self._root = str(folder.blobs)
        self._verified: dict[str, Fingerprint] = {}

    def path_of(self, digest: str) -> Path:
        """Where a blob is, if it is there."""
        return Path(self._place_of(digest))

    def _place_of(self, digest: str) -> str:
        """The same as a text: a request takes several, and paths are slow to make."""
        return os.path.join(self._root, digest[:1], digest[1:])  # noqa: PTH118

    def open(self, digest: str) -> BinaryIO | None:
        """A blob that was verified in this process and is unchanged since; None for any other."""
        if digest not in self._verified:
            return None
        file = self._opened(digest)
        if file is not None and fingerprint_of(os.fstat(file.fileno())) != self._verified[digest]:
            file.close()
            return None
        return file

    def is_there(self, digest: str) -> bool:
        """Whether anything is in a blob's place."""
        return os.path.lexists(self._place_of(digest))

    def verify(self, digest: str) -> bool:
        """Whether the blob is there and right; what is wrong is removed."""
        file = self._opened(digest)
        if file is None:
            return False
        with file:
            found = hashlib.sha256()
            while piece := file.read(PIECE):
                found.update(piece)
            seen = fingerprint_of(os.fstat(file.fileno()))
        if found.hexdigest() != digest:
            self.remove(digest)
            return False
        self._record_verified(digest, seen)
        return True

    def remove(self, digest: str) -> None:
        """Remove what is in a blob's place, of whatever kind."""
        self._verified.pop(digest, None)
        path = self.path_of(digest)
        with contextlib.suppress(OSError):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()

    def _opened(self, digest: str) -> BinaryIO | None:
        try:
            file = os.fdopen(os.open(self._place_of(digest), _READ), "rb", buffering=0)
        except FileNotFoundError:
            return None
        except OSError:
            self.remove(digest)  # a link, a folder
            return None
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.close()
            self.remove(digest)
            return None
        return file

    def _record_verified(self, digest: str, seen: Fingerprint) -> None:
        while len(self._verified) >= MOST_VERIFIED:
            del self._verified[next(iter(self._verified))]
        self._verified[digest] = seen

    # --- writing ---

    def create(self) -> PartialFile:
        """A new partial file, locked for as long as it is open; `OSError`."""
        path = self._folder.partials / f"{os.getpid()}-{secrets.token_hex(8)}.partial"
        descriptor = os.open(path, _NEW, OWNER_ONLY)
        if sys.platform != "win32":
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return PartialFile(path, os.fdopen(descriptor, "r+b", buffering=0))

    def keep(self, partial: PartialFile, digest: str, *, is_synced: bool = True) -> None:
        """Give a partial file, whose contents have that hash, its place; `OSError`."""
        if is_synced:
            os.fsync(partial.file.fileno())
        self._move(partial, self._place_of(digest))
        partial.is_kept = True
        self._record_verified(digest, fingerprint_of(os.fstat(partial.file.fileno())))

    def _move(self, partial: PartialFile, place: str) -> None:
        try:
            partial.path.replace(place)
        except OSError:  # it is the first one there, or something else is in its place
            path = Path(place)
            path.parent.mkdir(mode=OWNER_ONLY_FOLDER, exist_ok=True)
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            partial.path.replace(place)

    def add_all(self, contents: Sequence[tuple[bytes, str]]) -> list[OSError | None]:
        """Write blobs whose contents are known to have these hashes; what was wrong with each of them.

        Several are written before the first one is synced, which takes a quarter of the time of one after the other.
        """
        errors: list[OSError | None] = []
        for start in range(0, len(contents), WRITTEN_TOGETHER):
            some = contents[start : start + WRITTEN_TOGETHER]
            with contextlib.ExitStack() as stack:
                written = [self._written(content, stack) for content, _ in some]
                errors += [self._kept(one, digest) for one, (_, digest) in zip(written, some, strict=True)]
        return errors

    def _written(self, content: bytes, stack: contextlib.ExitStack) -> PartialFile | OSError:
        try:
            partial = self.create()
            stack.callback(partial.discard)
            partial.write(content)
        except OSError as error:
            return error
        return partial

    def _kept(self, written: PartialFile | OSError, digest: str) -> OSError | None:
        if isinstance(written, OSError):
            return written
        try:
            self.keep(written, digest)
        except OSError as error:
            return error
        return None

    def remove_abandoned(self) -> None:
        """Remove the partial files of processes that have ended."""
        for path in self._folder.partials.glob("*.partial"):
            with contextlib.suppress(OSError):
                if _is_abandoned(path):
                    path.unlink()

    def digests(self) -> Iterator[tuple[str, int]]:
        """The hash and size of every blob, as its place says."""
        for path in sorted(self._folder.blobs.glob("?/*")):
            digest = path.parent.name + path.name
            with contextlib.suppress(OSError):
                if is_digest(digest):
                    yield digest, path.lstat().st_size


def _is_abandoned(path: Path) -> bool:
    if sys.platform == "win32":
        return time.time() - path.stat().st_mtime > ABANDONED
    else:  # noqa: RET505 - mypy takes what follows a return for unreachable on the other platforms
        descriptor = os.open(path, _READ)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(descriptor)
        return True
