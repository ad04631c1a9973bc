"""Tokens that lie somewhere: in an environment variable, a file, a .netrc, the shared tokens.toml.

To change how such a place is read, open this file. They cost nothing to look at, so they are looked at for every
request: a token that somebody replaces is used from the next request on, a mounted secret that is swapped (Kubernetes'
symlinks included) too.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import netrc
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from ppmproxy.auth.credential import Credential, token_problem
from ppmproxy.credentials.lookup import NOT_SET, VARIABLE, NothingFound, SourceBroken, SourceResult, TokenRequest
from ppmproxy.credentials.token_file import TokenStore
from ppmproxy.errors import TokenStoreError
from ppmproxy.files import Fingerprint, fingerprint_of, open_nonblocking

FILE_TIMEOUT = 5.0  # seconds; a dead network drive must not hold requests up
LARGEST_FILE = 1 << 20


class UnreadableError(Exception):
    """A file that cannot be read, and why."""


@dataclass(slots=True)
class WatchedFile:
    """A file that is read again when it has changed: another inode, size or time of change."""

    path: Path
    _fingerprint: Fingerprint | None = field(default=None, repr=False)
    _text: str = field(default="", repr=False)
    _finding: tuple[Fingerprint | None, SourceResult] | None = field(default=None, repr=False)

    def exists(self) -> bool:
        """Whether there is such a file at all; one that may not be looked at counts as there."""
        try:
            self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True
        return True

    async def text(self) -> str:
        """What the file holds now; `UnreadableError`."""
        with _told():
            seen = fingerprint_of(self.path.stat())
            if seen != self._fingerprint:
                self._text = await asyncio.wait_for(asyncio.to_thread(_read, self.path), FILE_TIMEOUT)
                self._fingerprint = seen
        return self._text

    async def finding(self, understood: Callable[[], SourceResult]) -> SourceResult:
        """What is found in the file, which takes a moment to understand: in a thread, and once for each change.

        A broken file is understood once, too: requests that find their token elsewhere must not wait for it each time.
        Raises `UnreadableError`.
        """
        await self.text()  # within the time limit, and text at all
        if self._finding is None or self._finding[0] != self._fingerprint:
            seen = self._fingerprint
            with _told():
                said = await asyncio.wait_for(asyncio.to_thread(understood), FILE_TIMEOUT)
            self._finding = (seen, said)
        return self._finding[1]

    def remarks(self) -> tuple[str, ...]:
        """What should be told about the file: that others can read it."""
        try:
            mode = self.path.stat().st_mode
        except OSError:
            return ()
        if sys.platform != "win32" and mode & stat.S_IROTH:
            return (f"{self.path} can be read by every user of this machine; chmod 600 it",)
        return ()


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Have whatever keeps a file from being read raised as `UnreadableError`."""
    try:
        yield
    except asyncio.TimeoutError:
        raise UnreadableError(f"reading took more than {FILE_TIMEOUT:g} s") from None
    except UnicodeDecodeError:
        raise UnreadableError("is not text") from None
    except OSError as error:
        raise UnreadableError(f"cannot be read: {(error.strerror or str(error)).lower()}") from error


def _read(path: Path) -> str:
    with open(path, "rb", opener=open_nonblocking) as file:
        content: bytes | None = file.read(LARGEST_FILE)
        if content is None:
            raise OSError(errno.EAGAIN, "a pipe into which nobody has written yet")
        return content.decode()


def checked(token: str, source: str, user: str = "__token__") -> SourceResult:
    """A credential of a raw value, or why the value cannot be one."""
    problem = token_problem(token)
    if problem:
        return SourceBroken(source, f"the value {problem}")
    return Credential.of_token(token, source, user)


@dataclass(frozen=True, slots=True)
class EnvSource:
    """An environment variable that holds the token."""

    variable: str
    environ: Mapping[str, str] = field(repr=False)

    @property
    def name(self) -> str:
        return VARIABLE + self.variable

    async def find(self, _wanted: TokenRequest, /) -> SourceResult:
        value = self.environ.get(self.variable)
        if value is None:
            return NothingFound(self.name, NOT_SET)
        return checked(value.strip(), self.name)


@dataclass(frozen=True, slots=True)
class FileSource:
    """A file that holds the token on its one line; `label` says who named it."""

    path: Path
    label: str = ""
    file: WatchedFile = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "file", WatchedFile(self.path))

    @property
    def name(self) -> str:
        return f"file {self.path}" + (f" ({self.label})" if self.label else "")

    async def find(self, _wanted: TokenRequest, /) -> SourceResult:
        try:
            text = await self.file.text()
        except UnreadableError as error:
            return SourceBroken(self.name, str(error))
        return _with_remarks(checked(text.strip(), self.name), self.file)


@dataclass(frozen=True, slots=True)
class NetrcSource:
    """The entry for the upstream's host, or the default entry, of a .netrc file."""

    path: Path
    file: WatchedFile = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "file", WatchedFile(self.path))

    @property
    def name(self) -> str:
        return str(self.path)

    async def find(self, token_request: TokenRequest, /) -> SourceResult:
        if not self.file.exists():
            return NothingFound(self.name, "no such file")
        try:
            said = await self.file.finding(lambda: self._entry_for(urlsplit(token_request.url).hostname or ""))
        except UnreadableError as error:
            return SourceBroken(self.name, str(error))
        return _with_remarks(said, self.file)

    def _entry_for(self, host: str) -> SourceResult:
        if not self.path.is_file():
            return SourceBroken(self.name, "is not a file")  # netrc would wait for a named pipe's writer
        try:
            hosts = netrc.netrc(str(self.path)).hosts
        except netrc.NetrcParseError as error:
            return SourceBroken(self.name, f"line {error.lineno} cannot be read as netrc")
        # Names of hosts have no case (RFC 4343), and the host of a URL comes in lower case.
        entry = next((hosts[name] for name in hosts if name.lower() == host), hosts.get("default"))
        if entry is None:
            return NothingFound(self.name, f"no entry for {host}")
        login, _account, password = entry
        return checked(password or "", f"{self.name}, entry for {host}", login or "__token__")


@dataclass(frozen=True, slots=True)
class TokensTomlSource:
    """The entry for the upstream in the file that posit-keyring, pak and `ppmproxy login` share."""

    path: Path
    file: WatchedFile = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "file", WatchedFile(self.path))

    @property
    def name(self) -> str:
        return str(self.path)

    async def find(self, token_request: TokenRequest, /) -> SourceResult:
        if not self.file.exists():
            return NothingFound(self.name, "no such file")
        try:
            said = await self.file.finding(lambda: self._entry_for(token_request.url))
        except UnreadableError as error:
            return SourceBroken(self.name, str(error))
        return _with_remarks(said, self.file)

    def _entry_for(self, url: str) -> SourceResult:
        try:
            token = TokenStore(self.path).find(url)
        except TokenStoreError as error:
            what = str(error).removeprefix(f"{self.name}: ")
            return SourceBroken(self.name, f"{what}; {error.hint}" if error.hint else what)
        if token is None:
            return NothingFound(self.name, f"no entry for {url}")
        found = checked(token.reveal(), self.name)
        return replace(found, remedy="run `ppmproxy login`") if isinstance(found, Credential) else found


@dataclass(frozen=True, slots=True)
class NoSource:
    """A place that is known to hold nothing, and why: ``from = "none"``, or a variable that nobody has set."""

    name: str = "none"
    why: str = "the settings say so"

    async def find(self, _wanted: TokenRequest, /) -> SourceResult:
        return NothingFound(self.name, self.why)


def _with_remarks(found: SourceResult, file: WatchedFile) -> SourceResult:
    if not isinstance(found, Credential):
        return found
    remarks = file.remarks()
    return replace(found, remarks=remarks) if remarks else found
