"""Tokens that the fake Package Manager issues and accepts, and what each allows."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ppmproxy.testing.package_manager.options import Accepts

if TYPE_CHECKING:
    from collections.abc import Callable

Claims = Mapping[str, object]


@dataclass(frozen=True)
class TokenPermissions:
    """What one token allows, and until when (seconds since the epoch)."""

    scopes: tuple[str, ...]
    expires_at: float | None = None

    def allows(self, action: str, name: str) -> bool:
        """Whether a scope reads `action` or `action:*` (everything), or `action:name`; the real spelling is unknown."""
        return any(scope in self.scopes for scope in (action, f"{action}:*", f"{action}:{name}"))


class IssuedTokens:
    """Issues tokens, and says which are valid."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._key = secrets.token_bytes(32)
        self._permissions: dict[str, TokenPermissions] = {}

    def accept(self, token: str, permissions: TokenPermissions) -> None:
        """Accept a token; a JWT's own `exp` counts when the permissions have no end."""
        expires_at = _number(claims_of(token).get("exp")) if permissions.expires_at is None else permissions.expires_at
        self._permissions[token] = TokenPermissions(permissions.scopes, expires_at)

    def revoke(self, token: str) -> None:
        """Stop accepting a token before its `exp`."""
        self._permissions.pop(token, None)

    def issue(self, scopes: tuple[str, ...], lifetime: float | None, subject: str | None = None) -> str:
        """Make a token like the Package Manager's, and accept it."""
        now = int(self._now())
        claims: dict[str, object] = {"aud": "packagemanager", "iss": "packagemanager", "jti": secrets.token_hex(8)}
        claims |= {"iat": now, "scopes": list(scopes)}
        if lifetime is not None:
            claims["exp"] = now + lifetime
        if subject is not None:
            claims["sub"] = subject
        token = self.signed(claims)
        self.accept(token, TokenPermissions(scopes))
        return token

    def permissions(self, token: str) -> TokenPermissions | None:
        """What a token allows now; None when it is unknown, revoked or expired."""
        permissions = self._permissions.get(token)
        if permissions is None or (permissions.expires_at is not None and permissions.expires_at <= self._now()):
            return None
        return permissions

    def signed(self, claims: Claims) -> str:
        """A JWT with the signature of this server."""
        return jwt(claims, self._key)

    def signed_here(self, token: str) -> bool:
        """Whether a JWT has the signature of this server."""
        head_and_body, _, signature = token.rpartition(".")
        return hmac.compare_digest(signature.encode(), _signature(head_and_body, self._key))


def jwt(claims: Claims, key: bytes = b"the key of another issuer") -> str:
    """A JSON Web Token, HS256 (RFC 7519)."""
    parts = ({"alg": "HS256", "typ": "JWT"}, dict(claims))
    text = ".".join(_base64url(json.dumps(part, separators=(",", ":")).encode()).decode() for part in parts)
    return f"{text}.{_signature(text, key).decode()}"


def claims_of(token: str) -> Claims:
    """The claims of a JWT, unverified; none when it is not one."""
    parts = token.split(".")
    if len(parts) != 3:  # noqa: PLR2004  header, claims, signature
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, binascii.Error):
        return {}
    return claims if isinstance(claims, dict) else {}


def presented_token(authorization: str | None, accepts: Accepts) -> str | None:
    """The token in an Authorization header, if it is of an accepted kind: Basic with user `__token__`, or Bearer."""
    scheme, _, value = (authorization or "").partition(" ")
    if scheme.lower() == "bearer" and accepts is not Accepts.BASIC:
        return value.strip()
    if scheme.lower() == "basic" and accepts is not Accepts.BEARER:
        try:
            user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
        except (ValueError, binascii.Error):
            return None
        return password if user == "__token__" else None
    return None


def challenge(code_verifier: str) -> str:
    """The S256 code challenge of a verifier (RFC 7636)."""
    return _base64url(hashlib.sha256(code_verifier.encode()).digest()).decode()


def _signature(text: str, key: bytes) -> bytes:
    return _base64url(hmac.new(key, text.encode(), hashlib.sha256).digest())


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None
