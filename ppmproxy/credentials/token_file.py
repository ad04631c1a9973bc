"""The token file on disk, shared with posit-keyring and pak: read, and changed without losing another entry.

Processes of ppmproxy exclude each other by a lock. posit-keyring takes no lock and writes in place: an empty or broken
file is read again before the result counts, and a file that has changed since it was read is read again instead of
replaced. `tokens_toml` holds the text format.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ppmproxy.auth.child_env import SHARED_FILE_VARIABLE
from ppmproxy.auth.secret import Secret
from ppmproxy.config.model import Upstream
from ppmproxy.credentials.tokens_toml import TokenEntry, TokensText
from ppmproxy.environment import Environment
from ppmproxy.errors import TokenFileError
from ppmproxy.files import (
    OWNER_ONLY,
    FileChangedError,
    Fingerprint,
    fingerprint_of,
    make_private_folder,
    read_regular_file,
    real_path,
    replace_file,
)

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

SOURCE = "tokens"  # in [[credentials]]
MAX_FILE_SIZE = 1 << 20
POLL_INTERVAL = 0.05  # seconds between two reads of the file, or two tries of the lock
READ_TRIES = 4  # of a file that another program is writing
LOCK_TRIES = 200  # ten seconds; the holder only writes a few lines
TRIAL_SIZE = 4096  # bytes; as large as a token file is
WRITE_TRIES = 20  # before another program's constant writes are an error

_REMEDIES = {
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room: your disk quota is used up",
    errno.EROFS: "make the file system writable",
}
_LOCK_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
_LOCKS_UNSUPPORTED = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})  # some network drives


def token_file_for(upstream: Upstream, environment: Environment) -> TokenFile:
    """The token file for an upstream's new token: the one that its credential chain reads."""
    named = (spec.path for spec in upstream.credentials or () if spec.source == SOURCE and spec.path)
    return TokenFile(next(named, None) or token_file_path(environment))


def token_file_path(environment: Environment) -> Path:
    """The path of the token file: ``$PACKAGEMANAGER_SSO_TOKEN_FILE``, or ``~/.ppm/tokens.toml``."""
    return environment.expand(environment.environ.get(SHARED_FILE_VARIABLE) or "~/.ppm/tokens.toml")


@dataclass(frozen=True, slots=True)
class TokenFile:
    """One token file. Every method blocks (lock, disk): call it in a thread.

    All raise `TokenFileError`: the file is broken (with the line), cannot be read or written, or stays locked.
    """

    path: Path
    sleep: Callable[[float], None] = time.sleep

    def find(self, address: str) -> Secret | None:
        """The token for an upstream's URL; None when there is no file or no entry."""
        tokens, _ = self._read()
        entry = tokens.find(address)
        return None if entry is None else entry.token

    def check(self) -> None:
        """Raise what `save` would raise, as far as that shows before there is a token."""
        self._change(None)

    def save(self, address: str, token: Secret) -> None:
        """Add or replace the entry for an upstream's URL."""
        self._change(lambda tokens: tokens.with_entry(TokenEntry(address, token)))

    def remove(self, address: str) -> bool:
        """Remove the entry for an upstream's URL. Returns whether there was one."""
        if self.find(address) is None:
            return False
        self._change(lambda tokens: tokens.without(address))
        return True

    def posit_keyring_warning(self) -> str:
        """The entries for which posit-keyring will drop all others, as text for people; "" without any."""
        tokens, _ = self._read()
        lines = ", ".join(map(str, tokens.incomplete_lines))
        if not lines:
            return ""
        what = "an entry does not have exactly the keys address, token and auth_type"
        return f"{self.path}, line {lines}: {what}; posit-keyring will drop all entries when it next writes"

    def _change(self, changed: Callable[[TokensText], str] | None) -> None:
        """Replace the file's text by its changed one; with None, only check that it could be replaced."""
        target = real_path(self.path)  # a link stays a link
        try:
            make_private_folder(target.parent)
            with self._locked(target):
                self._replace(target, changed) if changed else self._check_writable(target)
        except OSError as error:
            raise self._unusable("written", error) from error

    def _check_writable(self, target: Path) -> None:
        """Read the file, and write another one beside it: a full disk still has room for an empty lock file."""
        self._read()
        trial = target.with_name(f".{target.name}.trial")
        replace_file(trial, bytes(TRIAL_SIZE), mode=OWNER_ONLY)
        trial.unlink()

    def _replace(self, target: Path, changed: Callable[[TokensText], str]) -> None:
        for _ in range(WRITE_TRIES):
            tokens, seen = self._read()
            with contextlib.suppress(FileChangedError):
                replace_file(target, changed(tokens).encode(), mode=OWNER_ONLY, seen=seen)
                return
        raise TokenFileError(f"another program keeps changing {self.path}", "end that program, then try again")

    @contextlib.contextmanager
    def _locked(self, target: Path) -> Iterator[None]:
        """Hold the lock; the system releases it when this process ends in any way."""
        lock = os.open(target.with_name(f".{target.name}.lock"), _LOCK_FLAGS, OWNER_ONLY)
        try:
            for _ in range(LOCK_TRIES):
                if _try_to_lock(lock):
                    break
                self.sleep(POLL_INTERVAL)
            else:
                what = f"another process has locked {self.path} for more than {LOCK_TRIES * POLL_INTERVAL:g} s"
                raise TokenFileError(what, "end that process, then try again")
            yield
        finally:
            os.close(lock)

    def _read(self) -> tuple[TokensText, Fingerprint]:
        """The file's complete text, and the file's fingerprint at that moment."""
        for _ in range(READ_TRIES - 1):
            tokens, seen = self._read_once()
            if not seen or _is_complete(tokens):
                return tokens, seen
            self.sleep(POLL_INTERVAL)
        tokens, seen = self._read_once()
        tokens.check()
        return tokens, seen

    def _read_once(self) -> tuple[TokensText, Fingerprint]:
        try:
            data, found = read_regular_file(self.path, MAX_FILE_SIZE)
            return TokensText(data.decode(), str(self.path)), fingerprint_of(found)
        except (FileNotFoundError, NotADirectoryError):
            return TokensText("", str(self.path)), ()
        except UnicodeDecodeError as error:
            line = 1 + data[: error.start].count(b"\n")
            what = f"{self.path}: line {line} is not UTF-8 text"
            raise TokenFileError(what, "correct the file, or move it away") from None
        except OSError as error:
            raise self._unusable("read", error) from error

    def _unusable(self, done: str, error: OSError) -> TokenFileError:
        reason = (error.strerror or type(error).__name__).lower()
        remedy = _REMEDIES.get(error.errno or 0, f"check the permissions of {self.path.parent}")
        hint = f"{remedy}, or name another file with {SHARED_FILE_VARIABLE}"
        return TokenFileError(f"{self.path} cannot be {done}: {reason}", hint)


def _is_complete(tokens: TokensText) -> bool:
    try:
        tokens.check()
    except TokenFileError:
        return False
    return bool(tokens.text)


def _try_to_lock(descriptor: int) -> bool:
    """Try to take the lock. A file system without locks counts as success."""
    try:
        if sys.platform == "win32":
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in _LOCKS_UNSUPPORTED
    return True
