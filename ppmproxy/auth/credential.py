"""Credentials: a token with its source, and the claims of a JWT.

A claim is read without verifying it: the server decides, and a claim only explains what the server says.
"""

from __future__ import annotations

import base64
import binascii
import enum
import json
import re
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import lru_cache

from ppmproxy.auth.secret import Secret, jwt_parts
from ppmproxy.errors import one_line


class Use(enum.Enum):
    """What a credential is for; reading and uploading commonly need different tokens."""

    READ = "read"
    UPLOAD = "upload"
    ANY = "any"


@dataclass(frozen=True, slots=True)
class Claims:
    """The claims of a JWT, unverified (RFC 7519)."""

    expires_at: float | None = None  # seconds since the epoch
    issued_at: float | None = None
    scopes: tuple[str, ...] = ()
    subject: str = ""
    audience: tuple[str, ...] = ()

    @property
    def expiry(self) -> str | None:
        """When the token expires (RFC 3339); None when it does not say."""
        return None if self.expires_at is None else moment(self.expires_at)


@dataclass(frozen=True, slots=True)
class Credential:
    """A token with its source and its claims."""

    secret: Secret
    source: str  # for people: 'environment variable PPMPROXY_TOKEN', '.netrc entry for pm.example.com'
    claims: Claims = field(default_factory=Claims)
    user: str = "__token__"  # the user name for Basic; a .netrc entry may name another
    remedy: str = ""  # the command that replaces it, where there is one
    remarks: tuple[str, ...] = ()  # warnings about the place where it was found

    @property
    def identity(self) -> str:
        """The owner, or a digest of the token where it names none: connections are not shared between identities."""
        return self.claims.subject or _digest(self.secret)

    @classmethod
    def of_secret(cls, secret: Secret, source: str, user: str = "__token__") -> Credential:
        """The credential of a secret, with its claims where it is a JWT."""
        return cls(secret, source, claims_of(secret), user)

    def has_expired(self, now: float) -> bool:
        """Whether the token's own expiry has passed; False where it names none."""
        return self.claims.expires_at is not None and self.claims.expires_at <= now


@lru_cache(maxsize=8)  # each request asks for it
def _digest(secret: Secret) -> str:
    import hashlib  # noqa: PLC0415 - a tenth of the time of `ppmproxy env`, which does not need it

    return hashlib.sha256(secret.reveal().encode()).hexdigest()


def missing_scope(claims: Claims, use: Use) -> str:
    """The scope that a use needs and the token does not have; "" when it has it, or names no scopes."""
    needed = _SCOPE_FOR.get(use, "")
    kind, _, _ = needed.partition(":")
    enough = {needed, f"{kind}:*", "global:admin", "*"}
    if not needed or not claims.scopes or any(s in enough or s.startswith(f"{needed}:") for s in claims.scopes):
        return ""
    return needed


_SCOPE_FOR = {Use.READ: "repos:read", Use.UPLOAD: "sources:write"}


def moment(seconds: float) -> str:
    """A local time with its offset (RFC 3339)."""
    try:
        return datetime.fromtimestamp(seconds, timezone.utc).astimezone().isoformat(timespec="seconds")
    except (OverflowError, OSError, ValueError):
        return "unknown"  # a JWT may claim any number


def token_problem(secret: Secret) -> str:
    """The reason why a value cannot be sent as a token, "" when it can.

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
    """The claims of a JWT, unverified; none for any other token."""
    parts = jwt_parts(token.reveal())
    if not parts:
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
    """A NumericDate (RFC 7519 section 2); None for anything else."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    return float(value) if 0 <= value < LATEST else None


_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

LATEST = 1e11  # seconds since the epoch: the year 5138; beyond it the claim is nonsense
