"""The file of tokens shared with posit-keyring and pak, on disk: read, and changed without losing anybody's entry.

To change where that file is, or how it is written safely, open this file; what is in it is in `tokens_toml`.

Two of us take turns by a lock. posit-keyring knows of no lock and writes in place: a file that is empty or broken is
looked at again before it is believed, and one that changed since it was read is read again instead of replaced.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ppmproxy.auth.secret import Secret
from ppmproxy.config.model import Upstream
from ppmproxy.credentials.tokens_toml import Entry, TokensText
from ppmproxy.environment import expand_home
from ppmproxy.errors import TokenStoreError
from ppmproxy.files import (
    OWNER_ONLY,
    FileChangedError,
    Fingerprint,
    fingerprint_of,
    make_private_folder,
    read_regular_file,
    replace_file,
)

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

SOURCE = "tokens"  # its name in [[credentials]]
PATH_VARIABLE = "PACKAGEMANAGER_SSO_TOKEN_FILE"
LARGEST_FILE = 1 << 20
PAUSE = 0.05  # seconds between two looks at a file, or at a lock
LOOKS = 4  # at a file in the middle of somebody's write
LOCK_TRIES = 200  # ten seconds; whoever holds the lock writes a few lines
MOST_CHANGES = 20  # how often in a row another program may get in between reading and replacing

_LOCK_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
_NO_LOCKS_HERE = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})  # some network drives


def store_for(upstream: Upstream, environ: Mapping[str, str], home: Path) -> TokenStore:
    """Where a new token of an upstream is kept, so that its own chain of credentials finds it."""
    named = (spec.path for spec in upstream.credentials or () if spec.source == SOURCE and spec.path)
    return TokenStore(next(named, None) or token_file(environ, home))


def token_file(environ: Mapping[str, str], home: Path) -> Path:
    """Where the file is: ``$PACKAGEMANAGER_SSO_TOKEN_FILE``, or ``~/.ppm/tokens.toml``."""
    named = environ.get(PATH_VARIABLE)
    if not named:
        return home / ".ppm" / "tokens.toml"
    return expand_home(named, home)


@dataclass(frozen=True, slots=True)
class TokenStore:
    """One file of tokens. Every method blocks for a moment (a lock, a disk): call it in a thread.

    All raise `TokenStoreError`: the file is broken (with its line), cannot be read or written, or is locked for long.
    """

    path: Path
    sleep: Callable[[float], None] = time.sleep

    def find(self, address: str) -> Secret | None:
        """The token for an upstream's URL; None when there is no file or no entry."""
        tokens, _ = self._read()
        entry = tokens.find(address)
        return None if entry is None else entry.token

    def check(self) -> None:
        """Raise now what `save` would raise, as far as that can be known before there is a token."""
        self._change(None)

    def save(self, address: str, token: Secret) -> None:
        """Add or replace the entry for an upstream's URL."""
        self._change(lambda tokens: tokens.with_entry(Entry(address, token)))

    def remove(self, address: str) -> bool:
        """Remove the entry for an upstream's URL; whether there was one."""
        if self.find(address) is None:
            return False
        self._change(lambda tokens: tokens.without(address))
        return True

    def danger(self) -> str:
        """What posit-keyring will stumble over in the file, for people; "" for nothing."""
        tokens, _ = self._read()
        lines = ", ".join(map(str, tokens.lines_that_endanger))
        if not lines:
            return ""
        what = "an entry does not have exactly the keys address, token and auth_type"
        return f"{self.path}, line {lines}: {what}; posit-keyring will drop all entries when it next writes"

    def _change(self, changed: Callable[[TokensText], str] | None) -> None:
        """Write what the file is changed to; for None only go as far as one could."""
        target = Path(os.path.realpath(self.path))  # a link stays a link
        try:
            make_private_folder(target.parent)
            with self._alone(target):
                self._replace(target, changed) if changed else self._read()
        except OSError as error:
            raise self._unusable("written", error) from error

    def _replace(self, target: Path, changed: Callable[[TokensText], str]) -> None:
        for _ in range(MOST_CHANGES):
            tokens, seen = self._read()
            with contextlib.suppress(FileChangedError):
                replace_file(target, changed(tokens).encode(), mode=OWNER_ONLY, seen=seen)
                return
        raise TokenStoreError(f"{self.path} is changed all the time by another program", "try again")

    @contextlib.contextmanager
    def _alone(self, target: Path) -> Iterator[None]:
        """With the lock held; the system lets go of it when this process ends, however that may be."""
        lock = os.open(target.with_name(f".{target.name}.lock"), _LOCK_FLAGS, OWNER_ONLY)
        try:
            for _ in range(LOCK_TRIES):
                if _try_to_lock(lock):
                    break
                self.sleep(PAUSE)
            else:
                what = f"{self.path} is locked by another process for more than {LOCK_TRIES * PAUSE:g} s"
                raise TokenStoreError(what, "try again; look for a ppmproxy that hangs")
            yield
        finally:
            os.close(lock)

    def _read(self) -> tuple[TokensText, Fingerprint]:
        """The file's text, known to be whole, and what the file looked like at that moment."""
        for _ in range(LOOKS - 1):
            tokens, seen = self._look()
            if not seen or _is_whole(tokens):
                return tokens, seen
            self.sleep(PAUSE)
        tokens, seen = self._look()
        tokens.check()
        return tokens, seen

    def _look(self) -> tuple[TokensText, Fingerprint]:
        try:
            data, found = read_regular_file(self.path, LARGEST_FILE)
            return TokensText(data.decode(), str(self.path)), fingerprint_of(found)
        except (FileNotFoundError, NotADirectoryError):
            return TokensText("", str(self.path)), ()
        except UnicodeDecodeError as error:
            line = 1 + data[: error.start].count(b"\n")
            what = f"{self.path}: line {line} is not UTF-8 text"
            raise TokenStoreError(what, "correct the file, or move it away") from None
        except OSError as error:
            raise self._unusable("read", error) from error

    def _unusable(self, done: str, error: OSError) -> TokenStoreError:
        reason = (error.strerror or type(error).__name__).lower()
        hint = f"check the permissions of {self.path.parent}, or name another file with {PATH_VARIABLE}"
        return TokenStoreError(f"{self.path} cannot be {done}: {reason}", hint)


def _is_whole(tokens: TokensText) -> bool:
    try:
        tokens.check()
    except TokenStoreError:
        return False
    return bool(tokens.text)


def _try_to_lock(descriptor: int) -> bool:
    """Take the lock if nobody has it; where there are no locks at all, go on without."""
    try:
        if sys.platform == "win32":
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in _NO_LOCKS_HERE
    return True
