"""The credential chain of an upstream: its sources in their order, and the look-up through them.

A new source is one class (in `static_sources` or `dynamic_sources`) and one case in `_source_of`; a source of the
standard chain also has an entry in `STANDARD_CHAIN` and in `_standard_source`.

A source returns a credential, the reason why it has none, or the reason why it is broken. It never raises for what a
person, a file or a clock can cause, and never prints a value.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from ppmproxy.auth.child_env import (
    AUDIENCE_VARIABLE,
    CREDENTIALS_VARIABLE,
    FILE_VARIABLES,
    GITHUB_ADDRESS,
    IDENTITY_VARIABLE,
    TOKEN_VARIABLES,
)
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
from ppmproxy.credentials.sign_in_token import SignInTokenStore
from ppmproxy.credentials.static_sources import (
    EnvSource,
    FileSource,
    NetrcSource,
    NoSource,
    TokensTomlSource,
    WatchedFile,
)
from ppmproxy.credentials.token_file import token_file_path
from ppmproxy.environment import Environment

MAX_REMEMBERED = 20  # tokens that were logged


@dataclass(frozen=True, slots=True)
class SourceServices:
    """What sources need besides settings and environment: network calls, the redactor, the last sign-in's token."""

    exchange: Callable[[Secret], Awaitable[Secret]] = field(repr=False)  # identity token → access token
    github: Callable[[str], Awaitable[Secret]] = field(repr=False)  # audience → identity token
    register: Callable[[Secret], None] = field(repr=False)  # with the redactor, before any other use
    sign_in_token: SignInTokenStore


@dataclass(frozen=True, slots=True)
class ChainEntry:
    """One source of the chain, with the uses and repositories that it serves."""

    source: CredentialSource
    use: Use = Use.ANY
    repos: tuple[str, ...] = ()
    ends_search: bool = False

    def serves(self, token_request: TokenRequest) -> bool:
        """Whether the source is for this use and this repository."""
        fits_use = self.use is Use.ANY or self.use is token_request.use
        return fits_use and (not self.repos or token_request.repo in self.repos)


def build_chain(
    upstream: Upstream, environment: Environment, services: SourceServices, child_environ: Mapping[str, str]
) -> list[ChainEntry]:
    """The sources that an upstream's settings describe, in their order; commands run with `child_environ`.

    The public default has none: a token must never reach a server that nobody configured.
    """
    if not upstream.configured:
        return []
    if upstream.credentials is None:
        return [ChainEntry(_standard_source(word, environment, services)) for word in STANDARD_CHAIN]
    return [
        ChainEntry(
            RefreshingSource(_command(spec, child_environ))
            if spec.source == "command"
            else _source_of(spec, environment, services),
            spec.use,
            spec.repos,
            ends_search=spec.source == "none",
        )
        for spec in upstream.credentials
    ]


def _standard_source(word: str, environment: Environment, services: SourceServices) -> CredentialSource:
    """A source of the standard chain; one that only gives the reason where the environment does not name it."""
    environ = environment.environ
    if word in TOKEN_VARIABLES:
        return EnvSource(word, environ)
    if word == "github-actions":
        return _standard_github_source(environment, services)
    if word in {*FILE_VARIABLES, CREDENTIALS_VARIABLE} and not environ.get(word):
        return NoSource(f"{VARIABLE}{word}", NOT_SET)
    if word == "PPMPROXY_TOKEN_FILE":
        return FileSource(environment.expand(environ[word]), word)
    if word == CREDENTIALS_VARIABLE:
        source = FileSource(Path(environ[word]) / "token", "systemd credential")
        return source if source.file.exists() else NoSource(source.name, "no such file")
    return _source_of(CredentialSpec(_SPEC_OF.get(word, word)), environment, services)


_SPEC_OF = {IDENTITY_VARIABLE: "identity-token"}


def _standard_github_source(environment: Environment, services: SourceServices) -> CredentialSource:
    """GitHub Actions where an audience is set; elsewhere only the reason why it is not used."""
    source = _source_of(CredentialSpec("github-actions"), environment, services)
    if not environment.environ.get(AUDIENCE_VARIABLE):
        return NoSource(f"{VARIABLE}{AUDIENCE_VARIABLE}", NOT_SET)
    # Without the job's permission GitHub sets neither of the two variables of its token server.
    is_job = environment.environ.get("GITHUB_ACTIONS") == "true" or environment.environ.get(GITHUB_ADDRESS)
    return source if is_job else NoSource(source.name, "this is no job of GitHub Actions")


def _source_of(spec: CredentialSpec, environment: Environment, services: SourceServices) -> CredentialSource:
    """The source that a ``[[credentials]]`` table describes, with its defaults."""
    environ, home = environment.environ, environment.home
    match spec.source:
        case "env":
            return EnvSource(spec.variable or "PPMPROXY_TOKEN", environ)
        case "file":
            return FileSource(spec.path or home / ".config" / "ppmproxy" / "token")
        case "netrc":
            if spec.path or environ.get("NETRC"):
                return NetrcSource(spec.path or environment.expand(environ["NETRC"]))
            return NetrcSource(home / ".netrc", home / "_netrc")
        case "tokens":
            return TokensTomlSource(spec.path or token_file_path(environment), services.sign_in_token)
        case "keyring":
            return RefreshingSource(KeyringSource(spec.timeout))
        case "identity-token":
            if spec.path is None and not environ.get(IDENTITY_VARIABLE):
                return NoSource(f"{VARIABLE}{IDENTITY_VARIABLE}", NOT_SET)
            path = spec.path or environment.expand(environ[IDENTITY_VARIABLE])
            return RefreshingSource(IdentityTokenSource(WatchedFile(path), services.exchange, services.register))
        case "github-actions":
            audience = spec.audience or environ.get(AUDIENCE_VARIABLE, "")
            return RefreshingSource(
                GitHubActionsSource(lambda: services.github(audience), services.exchange, services.register)
            )
        case _:
            return NoSource()


def _command(spec: CredentialSpec, environ: Mapping[str, str]) -> CommandSource:
    argv = spec.argv or ()
    return CommandSource(argv, environ, spec.timeout) if spec.timeout else CommandSource(argv, environ)


class CredentialChain:
    """The look-up through an upstream's sources. Requests for the same purpose share one look-up."""

    def __init__(
        self,
        entries: Sequence[ChainEntry],
        register: Callable[[Credential], None],
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`register` is called with every credential before any other use, to have it masked."""
        self._entries = tuple(entries)
        self._register = register
        self._now = now
        self._running: dict[TokenRequest, asyncio.Task[LookupResult]] = {}
        self._back_offs: dict[tuple[Secret, TokenRequest], BackOff] = {}
        self._logged: set[tuple[str, ...]] = set()
        self._logged_secrets: dict[Secret, None] = {}  # a set in the order of insertion

    def finds_sign_in_token(self, token_request: TokenRequest) -> bool:
        """Whether the chain would find the token that a sign-in stores."""
        serving = [entry for entry in self._entries if entry.serves(token_request)]
        end = next((index for index, entry in enumerate(serving) if entry.ends_search), len(serving))
        return any(isinstance(entry.source, TokensTomlSource) for entry in serving[:end])

    @property
    def source_warnings(self) -> tuple[str, ...]:
        """Faults behind a token that is still in use: a failed refresh, a sign-in's token that cannot be written."""
        sources = (entry.source for entry in self._entries)
        warnings = [one.warning for one in sources if isinstance(one, (RefreshingSource, TokensTomlSource))]
        return tuple(dict.fromkeys(filter(None, warnings)))

    async def find(self, token_request: TokenRequest) -> LookupResult:
        """The first usable credential, and the results of the sources before it.

        A credential whose own expiry has passed is skipped while there is another. Without another it is offered all
        the same, because this machine's clock may be wrong.
        """
        task = self._running.get(token_request)
        if task is None:
            task = self._running[token_request] = asyncio.create_task(self._run_search(token_request))
        return await asyncio.shield(task)

    async def _run_search(self, token_request: TokenRequest) -> LookupResult:
        try:
            return await self._search(token_request)
        finally:
            # Not in a callback, which runs later: a request in between may just have rejected the result.
            del self._running[token_request]

    def reject(self, credential: Credential, token_request: TokenRequest) -> None:
        """Record that the upstream rejected a credential: it is refreshed, and not offered again during its back-off.

        Only for this purpose: some servers answer 401, not 403, to a token that lacks a repository's scope.
        """
        now, key = self._now(), (credential.secret, token_request)
        back_off = self._back_offs.get(key)
        self._back_offs[key] = BackOff(now) if back_off is None else back_off.after_rejection(now)
        for entry in self._entries:
            if isinstance(entry.source, RefreshingSource):
                entry.source.forget(credential.secret)

    def _retry_at(self, credential: Credential, token_request: TokenRequest) -> float:
        """When a rejected credential may be offered again; 0 when it may be offered now."""
        back_off = self._back_offs.get((credential.secret, token_request))
        return back_off.retry_at if back_off is not None and back_off.is_backing_off(self._now()) else 0.0

    async def _search(self, token_request: TokenRequest) -> LookupResult:
        skipped: list[NothingFound | SourceBroken] = []
        expired: Credential | None = None
        rejected: Credential | None = None
        retry_at = 0.0
        for entry in self._entries:
            if not entry.serves(token_request):
                continue
            result = await entry.source.find(token_request)
            if not isinstance(result, Credential):
                skipped.append(result)
                self._log_if_broken(result)
            else:
                self._register(result)
                self._log_remarks(result)
                if until := self._retry_at(result, token_request):
                    rejected, retry_at = (rejected, retry_at) if rejected else (result, until)
                    skipped.append(SourceBroken(result.source, "refused by the Package Manager a moment ago"))
                elif result.has_expired(self._now()):
                    expired = expired or result
                    skipped.append(SourceBroken(result.source, "has expired"))
                else:
                    self._log_found(result)
                    return LookupResult(result, tuple(skipped), rejected, retry_at)
            if entry.ends_search:
                break
        return LookupResult(expired, tuple(skipped), rejected, retry_at)

    def _log_found(self, credential: Credential) -> None:
        """Log each token once, without its value."""
        if credential.secret not in self._logged_secrets:
            self._logged_secrets[credential.secret] = None
            if len(self._logged_secrets) > MAX_REMEMBERED:
                del self._logged_secrets[next(iter(self._logged_secrets))]
            log = structlog.get_logger("ppmproxy")
            claims = credential.claims
            log.info("credential_found", source=credential.source, expires_at=claims.expiry, scopes=claims.scopes)

    def _log_if_broken(self, result: NothingFound | SourceBroken) -> None:
        if isinstance(result, SourceBroken):
            self._log_once("credential_source_broken", result.source, why=result.why)

    def _log_remarks(self, credential: Credential) -> None:
        for remark in credential.remarks:
            self._log_once("credential_warning", credential.source, why=remark)

    def _log_once(self, event: str, source: str, **fields: str) -> None:
        key = (source, *fields.values())
        if key not in self._logged:
            self._logged.add(key)
            structlog.get_logger("ppmproxy").warning(event, source=source, **fields)
