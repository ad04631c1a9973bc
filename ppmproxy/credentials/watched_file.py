"""A small file of text that every request needs: read again when it has changed, with a time limit."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import stat
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from ppmproxy.auth.credential import Credential
from ppmproxy.credentials.lookup import NothingFound, SourceBroken, SourceResult
from ppmproxy.files import Fingerprint, fingerprint_of, open_nonblocking

FILE_TIMEOUT = 5.0  # seconds; a dead network drive must not hold requests up
MAX_FILE_SIZE = 1 << 20  # bytes
COARSEST_TICK = 2.0  # seconds; FAT's


class UnreadableError(Exception):
    """A file cannot be read; the message is the reason."""


@dataclass(slots=True)
class WatchedFile:
    """A text file, in UTF-8, that is read again when its fingerprint has changed; a byte-order mark is skipped.

    A fingerprint counts only once it is older than the coarsest clock of a file system: a second change within one
    tick of that clock would leave it the same.
    """

    path: Path
    errors: str = "strict"  # as for `bytes.decode`
    now: Callable[[], float] = time.time
    _fingerprint: Fingerprint | None = field(default=None, repr=False)
    _text: str = field(default="", repr=False)
    _result: tuple[str, SourceResult] | None = field(default=None, repr=False)

    def exists(self) -> bool:
        """Whether the file exists. One in a folder that may not be searched counts as existing."""
        try:
            self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True
        return True

    def text_now(self) -> str | None:
        """The file's present text, or None where it has to be read; `UnreadableError`."""
        with _unreadable_errors():
            return self._text if fingerprint_of(self.path.stat()) == self._fingerprint else None

    async def text(self) -> str:
        """The file's present text; `UnreadableError`."""
        with _unreadable_errors():
            found = self.path.stat()
            if self._fingerprint is None or self._fingerprint != fingerprint_of(found):
                self._text = await asyncio.wait_for(asyncio.to_thread(self._read), FILE_TIMEOUT)
                is_settled = self.now() - max(found.st_mtime, found.st_ctime) > COARSEST_TICK
                self._fingerprint = fingerprint_of(found) if is_settled else None
        return self._text

    def _read(self) -> str:
        with open(self.path, "rb", opener=open_nonblocking) as file:
            content: bytes | None = file.read(MAX_FILE_SIZE + 1)
            if content is None:
                raise OSError(errno.EAGAIN, "a pipe into which nobody has written yet")
            if len(content) > MAX_FILE_SIZE:  # a token that is cut would be sent, and rejected
                raise UnreadableError(f"is larger than {MAX_FILE_SIZE >> 20} MiB")
            return content.decode("utf-8-sig", self.errors)

    def found_now(self) -> SourceResult | None:
        """What `found` returned last where the file has not changed since, else None."""
        if not self.exists():
            return NothingFound(str(self.path), "no such file")
        try:
            text = self.text_now()
        except UnreadableError as error:
            return SourceBroken(str(self.path), str(error))
        if self._result is None or self._result[0] != text:
            return None
        return self.with_remarks(self._result[1])

    async def found(self, parse: Callable[[str], SourceResult]) -> SourceResult:
        """What `parse` finds in the file's text, or why there is nothing.

        It runs in a thread, and once for each change of the file. That holds for a broken file too: requests that find
        their token elsewhere do not wait for it again.
        """
        if not self.exists():
            return NothingFound(str(self.path), "no such file")
        try:
            result = await self._parsed(parse)
        except UnreadableError as error:
            return SourceBroken(str(self.path), str(error))
        return self.with_remarks(result)

    async def _parsed(self, parse: Callable[[str], SourceResult]) -> SourceResult:
        text = await self.text()
        if self._result is None or self._result[0] != text:
            with _unreadable_errors():
                result = await asyncio.wait_for(asyncio.to_thread(parse, text), FILE_TIMEOUT)
            self._result = (text, result)
        return self._result[1]

    def with_remarks(self, found: SourceResult) -> SourceResult:
        """What was found in the file; a token with a warning when every user of the machine can read the file."""
        if isinstance(found, Credential) and self._is_open_to_all():
            remark = f"{self.path} can be read by every user of this machine; chmod 600 it"
            return replace(found, remarks=(*found.remarks, remark))
        return found

    def _is_open_to_all(self) -> bool:
        try:
            mode = self.path.stat().st_mode
        except OSError:
            return False
        return sys.platform != "win32" and bool(mode & stat.S_IROTH)


@contextlib.contextmanager
def _unreadable_errors() -> Iterator[None]:
    """Translate the exceptions of reading a file into `UnreadableError`."""
    try:
        yield
    except asyncio.TimeoutError:
        raise UnreadableError(f"reading took more than {FILE_TIMEOUT:g} s") from None
    except UnicodeDecodeError:
        raise UnreadableError("is not text") from None
    except FileNotFoundError:
        raise UnreadableError("no such file") from None  # short: clients show little of a message
    except OSError as error:
        raise UnreadableError(f"cannot be read: {(error.strerror or str(error)).lower()}") from error
