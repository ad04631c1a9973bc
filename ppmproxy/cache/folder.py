"""The folder of the cache: where it is, and that it is this user's alone.

Blobs lie in it under their SHA-256, downloads under way beside them, and what is known of both in a database.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from ppmproxy.access.peer_credentials import own_uid
from ppmproxy.config.model import Settings
from ppmproxy.environment import Environment
from ppmproxy.errors import PpmProxyError
from ppmproxy.files import OWNER_ONLY, OWNER_ONLY_FOLDER, make_private_folder, real_path, restrict_folder

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_VARIABLE = "CACHE_DIRECTORY"  # systemd.exec(5): the folder of CacheDirectory=


class CacheUnusableError(PpmProxyError):
    """The cache cannot be used; the proxy goes on without it."""

    code = "cache-unusable"
    title = "the cache cannot be used"


class ReadOnlyCacheError(CacheUnusableError):
    """Its file system is read-only, as a container's often is on purpose."""


@dataclass(frozen=True, slots=True)
class CacheFolder:
    """The places in a cache folder."""

    path: Path

    @property
    def blobs(self) -> Path:
        return self.path / "blobs"

    @property
    def partials(self) -> Path:
        return self.path / "partial"

    @property
    def database(self) -> Path:
        return self.path / "index.sqlite3"

    def exists(self) -> bool:
        """Whether there is a cache; `CacheUnusableError` where that cannot be seen."""
        try:
            self.path.stat()
            self.database.is_file()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise self._unusable(error) from error
        return True

    def prepare(self) -> None:
        """Make the folder with its parts, private; `CacheUnusableError`."""
        try:
            make_private_folder(self.path)
            self._check_ours()
            for part in (self.blobs, self.partials):
                part.mkdir(mode=OWNER_ONLY_FOLDER, exist_ok=True)
            self.database.touch(mode=OWNER_ONLY)  # SQLite gives the files beside it the same mode
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> CacheUnusableError:
        reason = (error.strerror or str(error)).lower()
        what = f"cannot use the cache {self.path}: {reason}"
        if error.errno == errno.EROFS:
            return ReadOnlyCacheError(what, _VOLUME)
        return CacheUnusableError(what, _OTHER_PLACE)

    def _check_ours(self) -> None:
        found = self.path.stat()
        if os.name != "posix":
            return
        if found.st_uid != own_uid():
            raise CacheUnusableError(f"the cache {self.path} belongs to another user", _OTHER_PLACE)
        if found.st_mode & _OTHERS:
            if not self._is_for_us_alone():  # a mistake such as /tmp, which nobody else could use any more
                raise CacheUnusableError(f"the cache {self.path} has other files, and other users can read it", _EMPTY)
            restrict_folder(real_path(self.path))

    def _is_for_us_alone(self) -> bool:
        """Whether a folder has nothing in it but what this program, or a new file system, puts there."""
        own = {self.blobs.name, self.partials.name, "lost+found"}
        names = (entry.name for entry in self.path.iterdir())
        return all(name in own or name.startswith(self.database.name) for name in names)


_VOLUME = "mount a volume there, name another folder with cache_dir, or set cache = false"
_OTHER_PLACE = "give that folder to this user alone, name another one with cache_dir, or set cache = false"
_EMPTY = "name an empty folder with cache_dir, such as a new one below it, or set cache = false"


def cache_folder(settings: Settings, environment: Environment) -> CacheFolder:
    """The folder that the settings name, or the usual one; it need not exist."""
    if settings.cache_dir is not None:
        return CacheFolder(settings.cache_dir)
    given = Path(environment.environ.get(_VARIABLE, "").partition(":")[0])
    if given.is_absolute():
        return CacheFolder(given)
    return CacheFolder(environment.cache_home() / "ppmproxy")
