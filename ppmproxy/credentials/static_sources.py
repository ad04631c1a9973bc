"""Sources that hold a token: an environment variable, a file, a .netrc, the shared tokens.toml.

They cost little, so every request reads them: a replaced token is used from the next request on, also where Kubernetes
swaps a mounted secret by its symbolic links.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from urllib.parse import urlsplit

from ppmproxy.auth.credential import Credential, token_problem
from ppmproxy.auth.secret import Secret
from ppmproxy.credentials.lookup import NOT_SET, VARIABLE, NothingFound, SourceBroken, SourceResult, TokenRequest
from ppmproxy.credentials.netrc_file import parse_netrc
from ppmproxy.credentials.sign_in_token import SignInTokenStore
from ppmproxy.credentials.token_file import TokenFile
from ppmproxy.errors import TokenFileError
from ppmproxy.files import Fingerprint, fingerprint_of, open_nonblocking

FILE_TIMEOUT = 5.0  # seconds; a dead network drive must not hold requests up
MAX_FILE_SIZE = 1 << 20
COARSEST_TICK = 2.0  # seconds; FAT's

_LOGIN = "run `ppmproxy login`"


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
            content: bytes | None = file.read(MAX_FILE_SIZE)
            if content is None:
                raise OSError(errno.EAGAIN, "a pipe into which nobody has written yet")
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
        return _with_remarks(self._result[1], self)

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
        return _with_remarks(result, self)

    async def _parsed(self, parse: Callable[[str], SourceResult]) -> SourceResult:
        text = await self.text()
        if self._result is None or self._result[0] != text:
            with _unreadable_errors():
                result = await asyncio.wait_for(asyncio.to_thread(parse, text), FILE_TIMEOUT)
            self._result = (text, result)
        return self._result[1]

    def remarks(self) -> tuple[str, ...]:
        """A warning when every user of the machine can read the file."""
        try:
            mode = self.path.stat().st_mode
        except OSError:
            return ()
        if sys.platform != "win32" and mode & stat.S_IROTH:
            return (f"{self.path} can be read by every user of this machine; chmod 600 it",)
        return ()


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


@lru_cache(maxsize=8)  # each request reads its token again, and taking a JWT apart takes longer than that
def credential_of(token: Secret, source: str, user: str = "__token__") -> SourceResult:
    """The credential of a value, or the reason why the value cannot be a token."""
    problem = token_problem(token)
    if problem:
        return SourceBroken(source, f"the value {problem}")
    return Credential.of_secret(token, source, user)


@dataclass(frozen=True, slots=True)
class EnvSource:
    """An environment variable that holds the token."""

    variable: str
    environ: Mapping[str, str] = field(repr=False)

    @property
    def name(self) -> str:
        return VARIABLE + self.variable

    def find_now(self, _request: TokenRequest, /) -> SourceResult:
        value = self.environ.get(self.variable)
        if value is None:
            return NothingFound(self.name, NOT_SET)
        return credential_of(Secret(value.strip()), self.name)

    async def find(self, token_request: TokenRequest, /) -> SourceResult:
        return self.find_now(token_request)


@dataclass(frozen=True, slots=True)
class FileSource:
    """A file that holds the token on its one line; `label` names what refers to the file."""

    path: Path
    label: str = ""
    file: WatchedFile = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "file", WatchedFile(self.path))

    @property
    def name(self) -> str:
        return f"file {self.path}" + (f" ({self.label})" if self.label else "")

    def find_now(self, _request: TokenRequest, /) -> SourceResult | None:
        try:
            text = self.file.text_now()
        except UnreadableError as error:
            return SourceBroken(self.name, str(error))
        return None if text is None else self._credential(text)

    async def find(self, _request: TokenRequest, /) -> SourceResult:
        try:
            return self._credential(await self.file.text())
        except UnreadableError as error:
            return SourceBroken(self.name, str(error))

    def _credential(self, text: str) -> SourceResult:
        return _with_remarks(credential_of(Secret(text.strip()), self.name), self.file)


@dataclass(frozen=True, slots=True)
class NetrcSource:
    """A .netrc file: the entry for the upstream's host, or the default entry. `fallback` is searched after it."""

    path: Path
    fallback: Path | None = None
    files: tuple[WatchedFile, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        paths = (self.path,) if self.fallback is None else (self.path, self.fallback)
        # Another entry may hold bytes that are not UTF-8.
        object.__setattr__(self, "files", tuple(WatchedFile(path, errors="surrogateescape") for path in paths))

    @property
    def name(self) -> str:
        return str(self.path)

    def find_now(self, _request: TokenRequest, /) -> SourceResult | None:
        first, *others = self.files
        result = first.found_now()
        for file in others:
            if isinstance(result, NothingFound) and file.exists():
                result = file.found_now()
        return result

    async def find(self, token_request: TokenRequest, /) -> SourceResult:
        host = urlsplit(token_request.url).hostname or ""
        first, *others = self.files
        result = await first.found(partial(_netrc_credential, path=first.path, host=host))
        for file in others:
            if isinstance(result, NothingFound) and file.exists():
                result = await file.found(partial(_netrc_credential, path=file.path, host=host))
        return result


def _netrc_credential(text: str, path: Path, host: str) -> SourceResult:
    """The credential for a host in a .netrc; lines that cannot be read are a remark, or the reason without one."""
    name = str(path)
    if not path.is_file():
        return SourceBroken(name, "is not a file")  # a named pipe without a writer reads as empty
    parsed = parse_netrc(text)
    entry = parsed.entry_for(host)
    lines = ", ".join(map(str, parsed.unreadable))
    if entry is None and not lines:
        return NothingFound(name, f"no entry for {host}")
    if entry is None:
        return SourceBroken(name, f"line {lines} cannot be read as netrc")
    result = credential_of(Secret(entry.password), f"{name}, entry for {host}", entry.login or "__token__")
    if lines and isinstance(result, Credential):
        return replace(result, remarks=(f"{name}, line {lines} cannot be read as netrc; correct or remove it",))
    return result


@dataclass(frozen=True, slots=True)
class TokensTomlSource:
    """The upstream's entry in the token file that posit-keyring, pak and `ppmproxy login` share.

    A sign-in's token that could not be written to the file yet comes first.
    """

    path: Path
    sign_in_token: SignInTokenStore
    file: WatchedFile = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "file", WatchedFile(self.path))

    @property
    def name(self) -> str:
        return str(self.path)

    @property
    def warning(self) -> str:
        """Why a sign-in's token is not in the file; "" when it is."""
        return self.sign_in_token.warning

    def find_now(self, _request: TokenRequest, /) -> SourceResult | None:
        stored = self.file.found_now()
        return None if stored is None else self._latest(stored)

    async def find(self, token_request: TokenRequest, /) -> SourceResult:
        return self._latest(await self.file.found(lambda _text: self._entry_for(token_request.url)))

    def _latest(self, stored: SourceResult) -> SourceResult:
        """What is in the file, or the newer token of a sign-in."""
        unsaved = self.sign_in_token.unsaved
        if unsaved is None:
            return stored
        secret = stored.secret if isinstance(stored, Credential) else None
        if not isinstance(stored, SourceBroken) and unsaved.is_superseded_by(secret):
            return stored
        found = credential_of(unsaved.token, f"{self.name} (only in memory)")
        return replace(found, remedy=_LOGIN) if isinstance(found, Credential) else found

    def _entry_for(self, url: str) -> SourceResult:
        try:
            token = TokenFile(self.path).find(url)
        except TokenFileError as error:
            what = str(error).removeprefix(f"{self.name}: ")
            return SourceBroken(self.name, what)  # `doctor` has the hint, which a CI job could not follow
        if token is None:
            return NothingFound(self.name, f"no entry for {url}")
        found = credential_of(token, self.name)
        return replace(found, remedy=_LOGIN) if isinstance(found, Credential) else found


@dataclass(frozen=True, slots=True)
class NoSource:
    """A source without a token, and the reason: ``from = "none"``, or a variable that is not set."""

    name: str = "none"
    why: str = "the settings say so"

    def find_now(self, _request: TokenRequest, /) -> SourceResult:
        return NothingFound(self.name, self.why)

    async def find(self, token_request: TokenRequest, /) -> SourceResult:
        return self.find_now(token_request)


def _with_remarks(found: SourceResult, file: WatchedFile) -> SourceResult:
    if not isinstance(found, Credential):
        return found
    return replace(found, remarks=(*found.remarks, *file.remarks()))
