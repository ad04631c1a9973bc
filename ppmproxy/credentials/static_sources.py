"""Sources that hold a token: an environment variable, a file, a .netrc, the shared tokens.toml.

They cost little, so every request reads them: a replaced token is used from the next request on, also where Kubernetes
swaps a mounted secret by its symbolic links.
"""

from __future__ import annotations

from collections.abc import Mapping
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
from ppmproxy.credentials.watched_file import UnreadableError, WatchedFile
from ppmproxy.errors import TokenFileError

_LOGIN = "run `ppmproxy login`"


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
        return self.file.with_remarks(credential_of(Secret(text.strip()), self.name))


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
    result = credential_of(entry.password or Secret(""), f"{name}, entry for {host}", entry.login or "__token__")
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
