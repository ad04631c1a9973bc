"""Which sources an upstream's token is looked for in, and the search through them.

To change who is asked, open this file. A new source is one class (in `kept_tokens` where a token lies, in
`asked_tokens` where somebody has to be asked for it), one word in `_of_spec`, and one in `STANDARD_CHAIN` and
`_standard` when it belongs there.

Each source answers with what it found, with why it has nothing, or with why it is broken; it never raises for what a
person, a file or a clock can cause, and never prints a value.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from ppmproxy.auth.credential import Credential, Use
from ppmproxy.auth.secret import Secret
from ppmproxy.config.model import CredentialSpec, Upstream
from ppmproxy.credentials.dynamic_sources import (
    CommandSource,
    GitHubActionsSource,
    IdentityTokenSource,
    KeyringSource,
    RefreshingSource,
)
from ppmproxy.credentials.lookup import (
    NOT_SET,
    STANDARD_CHAIN,
    VARIABLE,
    CredentialSource,
    LookupResult,
    NothingFound,
    SourceBroken,
    TokenRequest,
)
from ppmproxy.credentials.refresh import BackOff
from ppmproxy.credentials.static_sources import (
    EnvSource,
    FileSource,
    NetrcSource,
    NoSource,
    TokensTomlSource,
    WatchedFile,
)
from ppmproxy.credentials.token_file import token_file
from ppmproxy.environment import Environment

IDENTITY_VARIABLE = "PACKAGEMANAGER_IDENTITY_TOKEN_FILE"
TOKEN_VARIABLES = frozenset({"PPMPROXY_TOKEN", "PACKAGEMANAGER_TOKEN"})  # which hold a token themselves
FILE_VARIABLES = frozenset({"PPMPROXY_TOKEN_FILE", "CREDENTIALS_DIRECTORY", IDENTITY_VARIABLE})  # name where one is
MOST_TOLD = 20  # tokens that are remembered as told, and purposes that are told of


@dataclass(frozen=True, slots=True)
class Network:
    """How the sources that need the network reach it, and who hears of every secret first."""

    exchange: Callable[[Secret], Awaitable[Secret]] = field(repr=False)  # identity token → access token
    github: Callable[[str], Awaitable[Secret]] = field(repr=False)  # audience → identity token
    found: Callable[[Secret], None] = field(repr=False)


@dataclass(frozen=True, slots=True)
class ChainEntry:
    """A source with what it may be asked for."""

    source: CredentialSource
    use: Use = Use.ANY
    repos: tuple[str, ...] = ()
    ends_search: bool = False

    def answers(self, token_request: TokenRequest) -> bool:
        """Whether the source is for this use and this repository."""
        fits_use = self.use is Use.ANY or self.use is token_request.use
        return fits_use and (not self.repos or token_request.repo in self.repos)


def build_chain(upstream: Upstream, environment: Environment, network: Network) -> list[ChainEntry]:
    """The sources that the settings of an upstream describe, in their order.

    None at all for an upstream that nobody configured: a token must never reach the public default.
    """
    if not upstream.configured:
        return []
    if upstream.credentials is None:
        return [ChainEntry(_standard(word, environment, network)) for word in STANDARD_CHAIN]
    return [
        ChainEntry(
            _of_spec(spec, _seen_by(spec, environment, upstream), network),
            spec.use,
            spec.repos,
            ends_search=spec.source == "none",
        )
        for spec in upstream.credentials
    ]


def _seen_by(spec: CredentialSpec, environment: Environment, upstream: Upstream) -> Environment:
    """What a source sees of the surroundings: a command all but the tokens of other sources, which go to nobody."""
    if spec.source != "command":
        return environment
    own = {other.variable for other in upstream.credentials or () if other.source == "env"}
    kept = {name: value for name, value in environment.environ.items() if name not in own | TOKEN_VARIABLES}
    return Environment(kept, environment.home)


def _standard(word: str, environment: Environment, network: Network) -> CredentialSource:
    """A source of the standard chain by its word; one that says so when nothing in the environment speaks of it."""
    environ = environment.environ
    if word in TOKEN_VARIABLES:
        return EnvSource(word, environ)
    if word == "github-actions":
        return _standard_github(environment, network)
    if word in FILE_VARIABLES and not environ.get(word):
        return NoSource(f"{VARIABLE}{word}", NOT_SET)
    if word == "PPMPROXY_TOKEN_FILE":
        return FileSource(environment.expand(environ[word]), word)
    if word == "CREDENTIALS_DIRECTORY":
        source = FileSource(Path(environ[word]) / "token", "systemd credential")
        return source if source.file.exists() else NoSource(source.name, "no such file")
    return _of_spec(CredentialSpec(_SPEC_OF.get(word, word)), environment, network)


_SPEC_OF = {IDENTITY_VARIABLE: "identity-token"}


def _standard_github(environment: Environment, network: Network) -> CredentialSource:
    """GitHub Actions, where somebody has named an audience; elsewhere it has nothing to say, and why."""
    source = _of_spec(CredentialSpec("github-actions"), environment, network)
    if not environment.environ.get("PPMPROXY_AUDIENCE"):
        return NoSource(f"{VARIABLE}PPMPROXY_AUDIENCE", NOT_SET)
    # Without the job's permission GitHub sets neither of the two variables that a token is asked for with.
    is_job = environment.environ.get("GITHUB_ACTIONS") == "true" or environment.environ.get(
        "ACTIONS_ID_TOKEN_REQUEST_URL"
    )
    return source if is_job else NoSource(source.name, "this is no job of GitHub Actions")


def _of_spec(spec: CredentialSpec, environment: Environment, network: Network) -> CredentialSource:
    """The source that a ``[[credentials]]`` table describes, with its defaults filled in."""
    environ, home = environment.environ, environment.home
    match spec.source:
        case "env":
            return EnvSource(spec.variable or "PPMPROXY_TOKEN", environ)
        case "file":
            return FileSource(spec.path or home / ".config" / "ppmproxy" / "token")
        case "netrc":
            return NetrcSource(spec.path or environment.expand(environ.get("NETRC") or "~/.netrc"))
        case "tokens":
            return TokensTomlSource(spec.path or token_file(environ, home))
        case "command":
            return RefreshingSource(_command(spec, environ))
        case "keyring":
            return RefreshingSource(KeyringSource(spec.timeout))
        case "identity-token":
            if spec.path is None and not environ.get(IDENTITY_VARIABLE):
                return NoSource(f"{VARIABLE}{IDENTITY_VARIABLE}", NOT_SET)
            path = spec.path or environment.expand(environ[IDENTITY_VARIABLE])
            return RefreshingSource(IdentityTokenSource(WatchedFile(path), network.exchange, network.found))
        case "github-actions":
            audience = spec.audience or environ.get("PPMPROXY_AUDIENCE", "")
            return RefreshingSource(
                GitHubActionsSource(lambda: network.github(audience), network.exchange, network.found)
            )
        case _:
            return NoSource()


def _command(spec: CredentialSpec, environ: Mapping[str, str]) -> CommandSource:
    argv = spec.argv or ()
    return CommandSource(argv, environ, spec.timeout) if spec.timeout else CommandSource(argv, environ)


class CredentialChain:
    """The sources of one upstream, asked in their order; one look-up at a time for each purpose, shared by all."""

    def __init__(
        self,
        entries: Sequence[ChainEntry],
        found: Callable[[Credential], None],
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`found` hears of every credential before anyone else does: to have it masked."""
        self._entries = tuple(entries)
        self._found = found
        self._now = now
        self._running: dict[TokenRequest, asyncio.Task[LookupResult]] = {}
        self._rejected: dict[tuple[Secret, TokenRequest], BackOff] = {}
        self._told: set[tuple[str, ...]] = set()
        self._in_use: dict[Secret, None] = {}  # told of already, in their order
        self.lookups: dict[
            TokenRequest, LookupResult
        ] = {}  # the last one for each purpose, for those who ask how things are

    def takes_sign_in(self, token_request: TokenRequest) -> bool:
        """Whether a token that a sign-in stores would be found here for this purpose."""
        asked = [entry for entry in self._entries if entry.answers(token_request)]
        end = next((index for index, entry in enumerate(asked) if entry.ends_search), len(asked))
        return any(isinstance(entry.source, TokensTomlSource) for entry in asked[:end])

    @property
    def troubles(self) -> tuple[str, ...]:
        """Renewals that failed while an older token is still in use."""
        sources = (entry.source for entry in self._entries)
        return tuple(source.trouble for source in sources if isinstance(source, RefreshingSource) and source.trouble)

    async def find(self, token_request: TokenRequest) -> LookupResult:
        """The first credential that is of use, and what the sources before it said.

        One that says itself that it has expired is passed over as long as there is another; if there is none it is
        offered all the same, because this machine's clock may be the one that is wrong.
        """
        task = self._running.get(token_request)
        if task is None:
            task = self._running[token_request] = asyncio.create_task(self._shared_search(token_request))
        return await asyncio.shield(task)

    async def _shared_search(self, token_request: TokenRequest) -> LookupResult:
        try:
            return await self._search(token_request)
        finally:
            # At once, not by a callback a little later: who comes in between may just have rejected what was found.
            del self._running[token_request]

    def reject(self, credential: Credential, token_request: TokenRequest) -> None:
        """The upstream refused this one: look again, and do not offer it for this purpose for a while.

        It may be good for another: some servers say 401, not 403, to a token that lacks a repository's scope.
        """
        now, key = self._now(), (credential.secret, token_request)
        before = self._rejected.get(key)
        self._rejected[key] = BackOff(now) if before is None else before.again(now)
        for entry in self._entries:
            if isinstance(entry.source, RefreshingSource):
                entry.source.forget(credential.secret)

    def _retry_at(self, credential: Credential, token_request: TokenRequest) -> float:
        """Until when a refused credential is not offered for this purpose; 0 when it may be."""
        rejection = self._rejected.get((credential.secret, token_request))
        return rejection.until if rejection is not None and rejection.is_backing_off(self._now()) else 0.0

    async def _search(self, token_request: TokenRequest) -> LookupResult:
        skipped: list[NothingFound | SourceBroken] = []
        expired: Credential | None = None
        rejected: Credential | None = None
        retry_at = 0.0
        for entry in self._entries:
            if not entry.answers(token_request):
                continue
            said = await entry.source.find(token_request)
            if not isinstance(said, Credential):
                skipped.append(said)
                self._tell_if_broken(said)
            else:
                self._found(said)
                self._tell_remarks(said)
                if until := self._retry_at(said, token_request):
                    rejected, retry_at = (rejected, retry_at) if rejected else (said, until)
                    skipped.append(SourceBroken(said.source, "refused by the Package Manager a moment ago"))
                elif said.has_expired(self._now()):
                    expired = expired or said
                    skipped.append(SourceBroken(said.source, "has expired"))
                else:
                    self._tell_found(said)
                    return self._ended(token_request, LookupResult(said, tuple(skipped), rejected, retry_at))
            if entry.ends_search:
                break
        return self._ended(token_request, LookupResult(expired, tuple(skipped), rejected, retry_at))

    def _tell_found(self, credential: Credential) -> None:
        """Once for each token, by what is no secret."""
        if credential.secret not in self._in_use:
            self._in_use[credential.secret] = None
            if len(self._in_use) > MOST_TOLD:
                del self._in_use[next(iter(self._in_use))]
            log = structlog.get_logger("ppmproxy")
            claims = credential.claims
            log.info("credential_found", source=credential.source, expires_at=claims.expiry, scopes=claims.scopes)

    def _tell_if_broken(self, said: NothingFound | SourceBroken) -> None:
        if isinstance(said, SourceBroken):
            self._tell_once("credential_source_broken", said.source, why=said.why)

    def _tell_remarks(self, credential: Credential) -> None:
        for remark in credential.remarks:
            self._tell_once("credential_remark", credential.source, remark=remark)

    def _tell_once(self, event: str, source: str, **said: str) -> None:
        key = (source, *said.values())
        if key not in self._told:
            self._told.add(key)
            structlog.get_logger("ppmproxy").warning(event, source=source, **said)

    def _ended(self, token_request: TokenRequest, lookup: LookupResult) -> LookupResult:
        self.lookups.pop(token_request, None)  # the one used last at the end
        self.lookups[token_request] = lookup
        if len(self.lookups) > MOST_TOLD:
            del self.lookups[next(iter(self.lookups))]
        return lookup
