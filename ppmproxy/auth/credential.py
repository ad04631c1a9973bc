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
from dataclasses import dataclass, field
from datetime import datetime, timezone

from ppmproxy.auth.secret import Secret
from ppmproxy.errors import one_line


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
    audience: tuple[str, ...] = ()

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
        return cls.of_secret(Secret(token), source, user)

    @classmethod
    def of_secret(cls, secret: Secret, source: str, user: str = "__token__") -> Credential:
        """The same, of a token that nobody reads by accident any more."""
        return cls(secret, source, claims_of(secret), user)

    def has_expired(self, now: float) -> bool:
        """Whether it says itself that it is over; an unknown expiry is no expiry."""
        return self.claims.expires_at is not None and self.claims.expires_at <= now


def missing_scope(claims: Claims, use: Use) -> str:
    """The scope that a token would need for a use and does not name; "" when it does, or names none at all."""
    needed = _SCOPE_FOR.get(use, "")
    kind, _, _ = needed.partition(":")
    enough = {needed, f"{kind}:*", "global:admin", "*"}
    if not needed or not claims.scopes or any(s in enough or s.startswith(f"{needed}:") for s in claims.scopes):
        return ""
    return needed


_SCOPE_FOR = {Use.READ: "repos:read", Use.UPLOAD: "sources:write"}


def moment(seconds: float) -> str:
    """A moment in UTC (RFC 3339)."""
    try:
        return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")
    except (OverflowError, OSError, ValueError):
        return "unknown"  # a JWT may claim any number


def token_problem(secret: Secret) -> str:
    """Why a value cannot be sent as a token, or "" when it can.

    A control character would end the header line (RFC 9110 section 5.5) or hide a second line of a file.
    """
    token = secret.reveal()
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


def claims_of(token: Secret) -> Claims:
    """The claims of a JWT, read without verifying; no claims at all for anything that is not one."""
    parts = token.reveal().split(".")
    if len(parts) != 3:  # noqa: PLR2004 - header.payload.signature, RFC 7515 section 3.1
        return Claims()
    try:
        payload = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return Claims()
    return _claims_from(payload) if isinstance(payload, dict) else Claims()


def _claims_from(payload: dict[str, object]) -> Claims:
    scopes, subject = payload.get("scopes", payload.get("scope")), payload.get("sub")
    audience = payload.get("aud", [])
    if isinstance(scopes, str):
        scopes = scopes.split()
    return Claims(
        expires_at=_moment(payload.get("exp")),
        issued_at=_moment(payload.get("iat")),
        scopes=_texts(scopes),
        subject=subject if isinstance(subject, str) else "",
        audience=_texts(audience if isinstance(audience, list) else [audience]),
    )


def _texts(values: object) -> tuple[str, ...]:
    """The strings of a list, printable: the server writes these claims, and people read them."""
    return tuple(one_line(value) for value in values if isinstance(value, str)) if isinstance(values, list) else ()


def _moment(value: object) -> float | None:
    """A NumericDate (RFC 7519 section 2); None for anything that is no moment at all."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    return float(value) if 0 <= value < LATEST else None


_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

LATEST = 1e11  # seconds since the epoch: the year 5138; beyond it the claim is nonsense
