"""The look-up of a credential: the request, what one source returns, and the result of a whole chain."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ppmproxy.auth.credential import Credential, Use

VARIABLE = "environment variable "  # the start of the name of a source that is a variable
NOT_SET = "not set"


@dataclass(frozen=True, slots=True)
class NothingFound:
    """A source without a token, and the reason."""

    source: str
    why: str


@dataclass(frozen=True, slots=True)
class SourceBroken:
    """A source that should have a token and cannot be read, and the reason."""

    source: str
    why: str


SourceResult = Credential | NothingFound | SourceBroken


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """The purpose for which a credential is looked up."""

    url: str  # the upstream's base URL
    repo: str = ""  # the first path segment below the base; "" when there is none
    use: Use = Use.READ

    def __str__(self) -> str:
        return f"{self.use.value} {self.repo}".rstrip()  # for people: "read pypi"


class TokenFetcher(Protocol):
    """One place from which a token can be had."""

    @property
    def name(self) -> str: ...

    async def find(self, token_request: TokenRequest, /) -> SourceResult:
        """Search the place. Never raises for what a person or a file can cause, and never prints the value."""
        ...


class CredentialSource(TokenFetcher, Protocol):
    """A source of the chain."""

    def find_now(self, token_request: TokenRequest, /) -> SourceResult | None:
        """The result where it is known without waiting, as for most requests; None where `find` has to be awaited."""
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
    """The credential that a chain found, if any, and the results of the sources before it."""

    credential: Credential | None
    skipped: tuple[NothingFound | SourceBroken, ...] = ()
    rejected: Credential | None = None  # rejected by the upstream a moment ago, and not offered before `retry_at`
    retry_at: float = 0.0  # seconds since the epoch

    @property
    def identity(self) -> str:
        """Whose credential it is; "" without one."""
        return self.credential.identity if self.credential else ""

    @property
    def broken_source(self) -> SourceBroken | None:
        """The first source that is broken."""
        return next((result for result in self.skipped if isinstance(result, SourceBroken)), None)

    @property
    def first_source(self) -> NothingFound | SourceBroken | None:
        """The first source that was asked and has no token."""
        return next(iter(self.skipped), None)

    @property
    def broken(self) -> str:
        """The broken sources with their reasons, as text for people."""
        return _reasons(result for result in self.skipped if isinstance(result, SourceBroken))

    @property
    def nothing(self) -> str:
        """The sources without a token with their reasons, as text for people."""
        return _reasons(result for result in self.skipped if isinstance(result, NothingFound))

    def explanation(self) -> str:
        """The reason of every skipped source, broken ones first, as text for people."""
        return "; ".join(filter(None, (self.broken, self.nothing)))


def _reasons(results: Iterable[NothingFound | SourceBroken]) -> str:
    """Each source with its reason. All unset variables share one entry, because a list of them would hide the rest."""
    reasons: dict[str, str] = {}
    unset: list[str] = []
    for result in results:
        if result.why == NOT_SET and result.source.startswith(VARIABLE):
            unset.append(result.source.removeprefix(VARIABLE))
            reasons[NOT_SET] = f"{VARIABLE.strip()}{'s' * (len(unset) > 1)} {', '.join(unset)}: {NOT_SET}"
        else:
            reasons[f"{result.source}: {result.why}"] = f"{result.source}: {result.why}"
    return "; ".join(reasons.values())
