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

from ppmproxy.asked_tokens import (
    CommandSource,
    GitHubActionsSource,
    IdentityTokenSource,
    KeyringSource,
    Renewing,
)
from ppmproxy.credentials import (
    NOT_SET,
    STANDARD_CHAIN,
    VARIABLE,
    Credential,
    CredentialSource,
    NothingFound,
    Search,
    Secret,
    SourceBroken,
    Use,
    Wanted,
)
from ppmproxy.kept_tokens import EnvSource, FileSource, NetrcSource, NoSource, TokensTomlSource, WatchedFile
from ppmproxy.renewal import Rejection
from ppmproxy.settings import CredentialSpec, Upstream
from ppmproxy.token_store import token_file

IDENTITY_VARIABLE = "PACKAGEMANAGER_IDENTITY_TOKEN_FILE"
TOKEN_VARIABLES = frozenset({"PPMPROXY_TOKEN", "PACKAGEMANAGER_TOKEN"})  # which hold a token themselves
FILE_VARIABLES = frozenset({"PPMPROXY_TOKEN_FILE", "CREDENTIALS_DIRECTORY", IDENTITY_VARIABLE})  # name where one is
MOST_TOLD = 20  # tokens that are remembered as told, and purposes that are told of


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What sources look at besides their own settings."""

    environ: Mapping[str, str] = field(repr=False)
    home: Path


@dataclass(frozen=True, slots=True)
class Network:
    """How the sources that need the network reach it, and who hears of every secret first."""

    exchange: Callable[[Secret], Awaitable[Secret]] = field(repr=False)  # identity token → access token
    github: Callable[[str], Awaitable[Secret]] = field(repr=False)  # audience → identity token
    found: Callable[[Secret], None] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Link:
    """A source with what it may be asked for."""

    source: CredentialSource
    use: Use = Use.ANY
    repos: tuple[str, ...] = ()
    ends_search: bool = False

    def answers(self, wanted: Wanted) -> bool:
        """Whether the source is for this use and this repository."""
        fits_use = self.use is Use.ANY or self.use is wanted.use
        return fits_use and (not self.repos or wanted.repo in self.repos)


def links_of(upstream: Upstream, around: Surroundings, network: Network) -> list[Link]:
    """The sources that the settings of an upstream describe, in their order.

    None at all for an upstream that nobody configured: a token must never reach the public default.
    """
    if not upstream.configured:
        return []
    if upstream.credentials is None:
        return [Link(_standard(word, around, network)) for word in STANDARD_CHAIN]
    return [
        Link(
            _of_spec(spec, _seen_by(spec, around, upstream), network),
            spec.use,
            spec.repos,
            ends_search=spec.source == "none",
        )
        for spec in upstream.credentials
    ]


def _seen_by(spec: CredentialSpec, around: Surroundings, upstream: Upstream) -> Surroundings:
    """What a source sees of the surroundings: a command all but the tokens of other sources, which go to nobody."""
    if spec.source != "command":
        return around
    own = {other.variable for other in upstream.credentials or () if other.source == "env"}
    kept = {name: value for name, value in around.environ.items() if name not in own | TOKEN_VARIABLES}
    return Surroundings(kept, around.home)


def _standard(word: str, around: Surroundings, network: Network) -> CredentialSource:
    """A source of the standard chain by its word; one that says so when nothing in the environment speaks of it."""
    environ = around.environ
    if word in TOKEN_VARIABLES:
        return EnvSource(word, environ)
    if word == "github-actions":
        return _standard_github(around, network)
    if word in FILE_VARIABLES and not environ.get(word):
        return NoSource(f"{VARIABLE}{word}", NOT_SET)
    if word == "PPMPROXY_TOKEN_FILE":
        return FileSource(_expanded(environ[word], around.home), word)
    if word == "CREDENTIALS_DIRECTORY":
        source = FileSource(Path(environ[word]) / "token", "systemd credential")
        return source if source.file.exists() else NoSource(source.name, "no such file")
    return _of_spec(CredentialSpec(_SPEC_OF.get(word, word)), around, network)


_SPEC_OF = {IDENTITY_VARIABLE: "identity-token"}


def _standard_github(around: Surroundings, network: Network) -> CredentialSource:
    """GitHub Actions, where somebody has named an audience; elsewhere it has nothing to say, and why."""
    source = _of_spec(CredentialSpec("github-actions"), around, network)
    if not around.environ.get("PPMPROXY_AUDIENCE"):
        return NoSource(f"{VARIABLE}PPMPROXY_AUDIENCE", NOT_SET)
    # Without the job's permission GitHub sets neither of the two variables that a token is asked for with.
    is_job = around.environ.get("GITHUB_ACTIONS") == "true" or around.environ.get("ACTIONS_ID_TOKEN_REQUEST_URL")
    return source if is_job else NoSource(source.name, "this is no job of GitHub Actions")


def _of_spec(spec: CredentialSpec, around: Surroundings, network: Network) -> CredentialSource:
    """The source that a ``[[credentials]]`` table describes, with its defaults filled in."""
    environ, home = around.environ, around.home
    match spec.source:
        case "env":
            return EnvSource(spec.variable or "PPMPROXY_TOKEN", environ)
        case "file":
            return FileSource(spec.path or home / ".config" / "ppmproxy" / "token")
        case "netrc":
            return NetrcSource(spec.path or _expanded(environ.get("NETRC") or "~/.netrc", home))
        case "tokens":
            return TokensTomlSource(spec.path or token_file(environ, home))
        case "command":
            return Renewing(_command(spec, environ))
        case "keyring":
            return Renewing(KeyringSource(spec.timeout))
        case "identity-token":
            if spec.path is None and not environ.get(IDENTITY_VARIABLE):
                return NoSource(f"{VARIABLE}{IDENTITY_VARIABLE}", NOT_SET)
            path = spec.path or _expanded(environ[IDENTITY_VARIABLE], home)
            return Renewing(IdentityTokenSource(WatchedFile(path), network.exchange, network.found))
        case "github-actions":
            audience = spec.audience or environ.get("PPMPROXY_AUDIENCE", "")
            return Renewing(GitHubActionsSource(lambda: network.github(audience), network.exchange, network.found))
        case _:
            return NoSource()


def _command(spec: CredentialSpec, environ: Mapping[str, str]) -> CommandSource:
    argv = spec.argv or ()
    return CommandSource(argv, environ, spec.timeout) if spec.timeout else CommandSource(argv, environ)


def _expanded(path: str, home: Path) -> Path:
    return home / path[2:] if path.startswith("~/") else Path(path)


class CredentialChain:
    """The sources of one upstream, asked in their order; one look-up at a time for each purpose, shared by all."""

    def __init__(
        self,
        links: Sequence[Link],
        found: Callable[[Credential], None],
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`found` hears of every credential before anyone else does: to have it masked."""
        self._links = tuple(links)
        self._found = found
        self._now = now
        self._running: dict[Wanted, asyncio.Task[Search]] = {}
        self._rejected: dict[tuple[Secret, Wanted], Rejection] = {}
        self._told: set[tuple[str, ...]] = set()
        self._in_use: dict[Secret, None] = {}  # told of already, in their order
        self.searches: dict[Wanted, Search] = {}  # the last one for each purpose, for those who ask how things are

    def takes_sign_in(self, wanted: Wanted) -> bool:
        """Whether a token that a sign-in stores would be found here for this purpose."""
        asked = [link for link in self._links if link.answers(wanted)]
        end = next((index for index, link in enumerate(asked) if link.ends_search), len(asked))
        return any(isinstance(link.source, TokensTomlSource) for link in asked[:end])

    @property
    def troubles(self) -> tuple[str, ...]:
        """Renewals that failed while an older token is still in use."""
        sources = (link.source for link in self._links)
        return tuple(source.trouble for source in sources if isinstance(source, Renewing) and source.trouble)

    async def find(self, wanted: Wanted) -> Search:
        """The first credential that is of use, and what the sources before it said.

        One that says itself that it has expired is passed over as long as there is another; if there is none it is
        offered all the same, because this machine's clock may be the one that is wrong.
        """
        task = self._running.get(wanted)
        if task is None:
            task = self._running[wanted] = asyncio.create_task(self._shared_search(wanted))
        return await asyncio.shield(task)

    async def _shared_search(self, wanted: Wanted) -> Search:
        try:
            return await self._search(wanted)
        finally:
            # At once, not by a callback a little later: who comes in between may just have rejected what was found.
            del self._running[wanted]

    def reject(self, credential: Credential, wanted: Wanted) -> None:
        """The upstream refused this one: look again, and do not offer it for this purpose for a while.

        It may be good for another: some servers say 401, not 403, to a token that lacks a repository's scope.
        """
        now, key = self._now(), (credential.secret, wanted)
        before = self._rejected.get(key)
        self._rejected[key] = Rejection(now) if before is None else before.again(now)
        for link in self._links:
            if isinstance(link.source, Renewing):
                link.source.forget(credential.secret)

    def _rests_until(self, credential: Credential, wanted: Wanted) -> float:
        """Until when a refused credential is not offered for this purpose; 0 when it may be."""
        rejection = self._rejected.get((credential.secret, wanted))
        return rejection.until if rejection is not None and rejection.rests(self._now()) else 0.0

    async def _search(self, wanted: Wanted) -> Search:
        passed_over: list[NothingFound | SourceBroken] = []
        expired: Credential | None = None
        rejected: Credential | None = None
        rests_until = 0.0
        for link in self._links:
            if not link.answers(wanted):
                continue
            said = await link.source.find(wanted)
            if not isinstance(said, Credential):
                passed_over.append(said)
                self._tell_if_broken(said)
            else:
                self._found(said)
                self._tell_remarks(said)
                if until := self._rests_until(said, wanted):
                    rejected, rests_until = (rejected, rests_until) if rejected else (said, until)
                    passed_over.append(SourceBroken(said.source, "refused by the Package Manager a moment ago"))
                elif said.has_expired(self._now()):
                    expired = expired or said
                    passed_over.append(SourceBroken(said.source, "has expired"))
                else:
                    self._tell_found(said)
                    return self._ended(wanted, Search(said, tuple(passed_over), rejected, rests_until))
            if link.ends_search:
                break
        return self._ended(wanted, Search(expired, tuple(passed_over), rejected, rests_until))

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

    def _ended(self, wanted: Wanted, search: Search) -> Search:
        self.searches.pop(wanted, None)  # the one used last at the end
        self.searches[wanted] = search
        if len(self.searches) > MOST_TOLD:
            del self.searches[next(iter(self.searches))]
        return search
