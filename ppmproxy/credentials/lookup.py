"""The look-up of a credential: what is asked of a source, what it answers, and the result of asking a chain."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ppmproxy.auth.credential import Credential, Use

VARIABLE = "environment variable "  # how the name of a source begins that is one
NOT_SET = "not set"


@dataclass(frozen=True, slots=True)
class NothingFound:
    """A source that has no token, and why."""

    source: str
    why: str


@dataclass(frozen=True, slots=True)
class SourceBroken:
    """A source that should have a token and could not be read."""

    source: str
    why: str


SourceResult = Credential | NothingFound | SourceBroken


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """What a credential is looked up for."""

    url: str  # the upstream's base URL
    repo: str = ""  # the first path segment below the base, "" when there is none
    use: Use = Use.READ


class CredentialSource(Protocol):
    """One place where a token may be kept."""

    @property
    def name(self) -> str: ...

    async def find(self, token_request: TokenRequest, /) -> SourceResult:
        """Look now; never raise for what a person or a file can cause, never print the value."""
        ...


STANDARD_CHAIN: Sequence[str] = (
    "PPMPROXY_TOKEN",
    "PPMPROXY_TOKEN_FILE",
    "CREDENTIALS_DIRECTORY",
    "PACKAGEMANAGER_TOKEN",
    "PACKAGEMANAGER_IDENTITY_TOKEN_FILE",
    "github-actions",
    "tokens",
    "netrc",
    "keyring",
)


@dataclass(frozen=True, slots=True)
class LookupResult:
    """The outcome of asking a chain: the credential, if any, and what every earlier source said."""

    credential: Credential | None
    skipped: tuple[NothingFound | SourceBroken, ...] = ()
    rejected: Credential | None = None  # one that the upstream did not accept a moment ago, and so is not offered again
    retry_at: float = 0.0  # seconds since the epoch: when that one is offered again

    @property
    def broken(self) -> str:
        """What should have had a token and could not be read, for people: each source with its reason."""
        return _told_of(said for said in self.skipped if isinstance(said, SourceBroken))

    @property
    def nothing(self) -> str:
        """What has no token, for people, likewise."""
        return _told_of(said for said in self.skipped if isinstance(said, NothingFound))

    def explanation(self) -> str:
        """Why there is nothing, for people: each source with its reason, what is broken first."""
        return "; ".join(filter(None, (self.broken, self.nothing)))


def _told_of(said: Iterable[NothingFound | SourceBroken]) -> str:
    """Each source with its reason; variables that are not set all at once, or they would hide the rest."""
    told: dict[str, str] = {}
    unset: list[str] = []
    for one in said:
        if one.why == NOT_SET and one.source.startswith(VARIABLE):
            unset.append(one.source.removeprefix(VARIABLE))
            told[NOT_SET] = f"{VARIABLE.strip()}{'s' * (len(unset) > 1)} {', '.join(unset)}: {NOT_SET}"
        else:
            told[f"{one.source}: {one.why}"] = f"{one.source}: {one.why}"
    return "; ".join(told.values())
