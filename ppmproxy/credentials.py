"""What a credential is, and the order in which sources are asked.

To change what is known of a token, or who is asked for it first, open this file.

A source (`CredentialSource`) looks in one place and either finds a `Credential`, has nothing and says why
(`NothingFound`), or is broken (`SourceBroken`, reported and skipped). Adding a source is one class in
`credential_sources` and one word in `STANDARD_CHAIN` or in a ``[[credentials]]`` table.
"""

from __future__ import annotations

import base64
import binascii
import enum
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Protocol
from urllib.parse import quote

MASK = "****"
VARIABLE = "environment variable "  # how the name of a source begins that is one
NOT_SET = "not set"


class Secret:
    """A value that prints as ``****``; the one way to read it is `reveal`.

    Not a `str`: it cannot be formatted, joined, logged or serialised by accident.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself: for the wire, and for masking it elsewhere."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> str | tuple[object, ...]:
        msg = "a Secret is not pickled"
        raise TypeError(msg)


class Use(enum.Enum):
    """What a credential is for; reading and uploading commonly need different tokens."""

    READ = "read"
    UPLOAD = "upload"
    ANY = "any"


@dataclass(frozen=True, slots=True)
class Claims:
    """What a JWT says of itself, unverified: the server decides, these only explain (RFC 7519)."""

    expires_at: float | None = None  # seconds since the epoch
    issued_at: float | None = None
    scopes: tuple[str, ...] = ()
    subject: str = ""

    @property
    def expiry(self) -> str | None:
        """The moment when it says it is over, for people and programs; None when it does not say."""
        return None if self.expires_at is None else moment(self.expires_at)


@dataclass(frozen=True, slots=True)
class Credential:
    """A token, where it came from and what it says of itself."""

    secret: Secret
    source: str  # for people: 'environment variable PPMPROXY_TOKEN', '.netrc entry for pm.example.com'
    claims: Claims = field(default_factory=Claims)
    user: str = "__token__"  # the user name for Basic; a .netrc entry may name another
    remedy: str = ""  # the command that replaces it, where there is one
    remarks: tuple[str, ...] = ()  # what the person should know of where it was found

    @property
    def identity(self) -> str:
        """Whose token it is, as far as it says so: connections are not shared between identities."""
        import hashlib  # noqa: PLC0415 - takes a tenth of the time that `ppmproxy env` has, which never asks

        return self.claims.subject or hashlib.sha256(self.secret.reveal().encode()).hexdigest()

    @classmethod
    def of_token(cls, token: str, source: str, user: str = "__token__") -> Credential:
        """A credential of a raw token; its claims are read when it is a JWT."""
        return cls(Secret(token), source, claims_of(token), user)

    def has_expired(self, now: float) -> bool:
        """Whether it says itself that it is over; an unknown expiry is no expiry."""
        return self.claims.expires_at is not None and self.claims.expires_at <= now

    def is_in(self, text: str) -> bool:
        """Whether a text has the token in it, in any of its forms; one that is a mere word may be there by chance."""
        forms = encoded_forms(self.secret.reveal(), self.user)
        return any(form in text for form in forms if len(form) >= MASKED_PART_LENGTH)


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


Finding = Credential | NothingFound | SourceBroken


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a credential is looked up for."""

    url: str  # the upstream's base URL
    repo: str = ""  # the first path segment below the base, "" when there is none
    use: Use = Use.READ


def missing_scope(claims: Claims, use: Use) -> str:
    """The scope that a token would need for a use and does not name; "" when it does, or names none at all."""
    needed = _SCOPE_FOR.get(use, "")
    kind, _, _ = needed.partition(":")
    enough = {needed, f"{kind}:*", "global:admin", "*"}
    if not needed or not claims.scopes or any(s in enough or s.startswith(f"{needed}:") for s in claims.scopes):
        return ""
    return needed


_SCOPE_FOR = {Use.READ: "repos:read", Use.UPLOAD: "sources:write"}


class CredentialSource(Protocol):
    """One place where a token may be kept."""

    @property
    def name(self) -> str: ...

    async def find(self, wanted: Wanted, /) -> Finding:
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
class Search:
    """The outcome of asking a chain: the credential, if any, and what every earlier source said."""

    credential: Credential | None
    passed_over: tuple[NothingFound | SourceBroken, ...] = ()
    rejected: Credential | None = None  # one that the upstream did not accept a moment ago, and so is not offered again
    rests_until: float = 0.0  # seconds since the epoch: when that one is offered again

    @property
    def broken(self) -> str:
        """What should have had a token and could not be read, for people: each source with its reason."""
        return _told_of(said for said in self.passed_over if isinstance(said, SourceBroken))

    @property
    def nothing(self) -> str:
        """What has no token, for people, likewise."""
        return _told_of(said for said in self.passed_over if isinstance(said, NothingFound))

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


def moment(seconds: float) -> str:
    """A moment in UTC (RFC 3339)."""
    try:
        return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")
    except (OverflowError, OSError, ValueError):
        return "unknown"  # a JWT may claim any number


def token_problem(token: str) -> str:
    """Why a value cannot be sent as a token, or "" when it can.

    A control character would end the header line (RFC 9110 section 5.5) or hide a second line of a file.
    """
    if not token:
        return "is empty"
    if _CONTROL.search(token):
        return "has a line break or another control character in it; only one line with the token is expected"
    if not token.isascii():
        return "has characters beyond ASCII, which no token has"
    if token[0] == token[-1] and token[0] in "'\"":
        return "has quotes around it; leave them out"
    if " " in token:
        return "has a space in it, which no token has"
    return ""


def claims_of(token: str) -> Claims:
    """The claims of a JWT, read without verifying; no claims at all for anything that is not one."""
    parts = token.split(".")
    if len(parts) != 3:  # noqa: PLR2004 - header.payload.signature, RFC 7515 section 3.1
        return Claims()
    try:
        payload = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return Claims()
    return _claims_from(payload) if isinstance(payload, dict) else Claims()


def _claims_from(payload: dict[str, object]) -> Claims:
    scopes, subject = payload.get("scopes", payload.get("scope")), payload.get("sub")
    if isinstance(scopes, str):
        scopes = scopes.split()
    return Claims(
        expires_at=_moment(payload.get("exp")),
        issued_at=_moment(payload.get("iat")),
        scopes=tuple(str(scope) for scope in scopes) if isinstance(scopes, list) else (),
        subject=subject if isinstance(subject, str) else "",
    )


def _moment(value: object) -> float | None:
    """A NumericDate (RFC 7519 section 2); None for anything that is no moment at all."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    return float(value) if 0 <= value < LATEST else None


def encoded_forms(token: str, user: str = "__token__") -> frozenset[str]:
    """Every form in which a token could show up in a text: what is to be masked.

    Raw, in lower case as a host's name is written, as ``user:token`` in base64 (the token in all three alignments too,
    whatever stands around it), each part of a JWT that is long enough to be one, and all of these percent-encoded.
    """
    forms = {token, token.lower()}
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        whole = [encode(text.encode()).decode() for text in (f"{user}:{token}", f"__token__:{token}", token)]
        forms.update(whole, (encoded.rstrip("=") for encoded in whole))
        forms.update(_within_base64(token.encode(), encode))
    parts = token.split(".")
    if len(parts) == 3:  # noqa: PLR2004 - a JWT; its header is the same for all and no secret
        forms.update(part for part in parts[1:] if len(part) >= MASKED_PART_LENGTH)
    quoted = [quote(form, safe) for form in forms for safe in ("", "/")]
    forms.update(quoted, (_ESCAPE.sub(lambda escape: escape[0].lower(), form) for form in quoted))
    return frozenset(form for form in forms if form)


def _within_base64(token: bytes, encode: Callable[[bytes], bytes]) -> Iterator[str]:
    """The base64 digits that depend on the token alone, for each of its places in a group of three bytes (RFC 4648)."""
    for before, undecided in ((0, 0), (1, 2), (2, 3)):  # bytes before it in the group; digits those have a part in
        padded = bytes(before) + token
        digits = encode(padded).decode()[undecided : 8 * len(padded) // 6]
        if len(digits) >= MASKED_PART_LENGTH:
            yield digits


_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ESCAPE = re.compile("%[0-9A-F]{2}")

MASKED_PART_LENGTH = 8
LATEST = 1e11  # seconds since the epoch: the year 5138; beyond it the claim is nonsense
