"""What the Package Manager's answers to a sign-in mean: a code to confirm, wait, a token, or a refusal and its words.

To change how an answer to a sign-in is understood or worded, open this file; the asking is in `sign_in`.

Nothing that a server says reaches a person unchecked: addresses must be http(s), codes printable, and its words are cut
short and never hold a secret that was sent to it.
"""

from __future__ import annotations

import base64
import binascii
import enum
import json
import math
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ppmproxy.auth.credential import token_problem
from ppmproxy.auth.secret import MASK, Secret, encoded_forms
from ppmproxy.errors import (
    IdentityRefusedError,
    SignInExpiredError,
    SignInNotOfferedError,
    SignInRefusedError,
    UpstreamError,
    UpstreamUnexpectedError,
    UpstreamUnreachableError,
)

DEFAULT_INTERVAL = 5.0  # seconds, RFC 8628 section 3.2
SHORTEST_INTERVAL = 1.0
DEFAULT_LIFETIME = 300.0  # seconds; what Package Manager grants when it does not say
LONGEST_WORDS = 300  # characters of a server's own words
LONGEST_CODE = 64

_OK = 200
_TOO_MANY = 429
_NOT_THERE = frozenset({404, 405, 501})
_FOR_NOW = frozenset(
    {408, 425, _TOO_MANY}
)  # besides 5xx: an ingress that does not hold a request as long as the server
_OTHER_TOKEN = "set PPMPROXY_TOKEN, or name a file with a token in PPMPROXY_TOKEN_FILE"  # noqa: S105


@dataclass(frozen=True, slots=True)
class DeviceGrant:
    """A sign-in that waits for its person (RFC 8628)."""

    base_url: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str  # "" when the server has none
    interval: float  # seconds between two questions
    expires_at: float  # seconds, by the clock of `TokenAnswer.at`
    device_code: Secret = field(repr=False)
    code_verifier: Secret = field(repr=False)

    @property
    def page(self) -> str:
        """The page to open: the one with the code filled in, where there is one."""
        return self.verification_uri_complete or self.verification_uri


@dataclass(frozen=True, slots=True)
class TokenAnswer:
    """A device flow that was just asked for: where, by whose verifier, and when (seconds, by any clock)."""

    base_url: str
    code_verifier: Secret
    at: float


class Wait(enum.Enum):
    """Not yet: ask again after the interval, or after a longer one from now on (RFC 8628 section 3.5)."""

    PENDING = "pending"
    SLOW_DOWN = "slow-down"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, whole."""

    status: int
    content_type: str
    body: bytes = field(repr=False)  # may be a token

    @property
    def document(self) -> dict[str, object]:
        """The JSON object that it is; empty when it is none."""
        try:
            document = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return document if isinstance(document, dict) else {}

    @property
    def says_not_here(self) -> bool:
        """Whether nobody answers at this address: no such route, or an HTML page in its place."""
        is_page = "html" in self.content_type.lower() or self.body.lstrip().startswith(b"<")
        return self.status in _NOT_THERE or (is_page and not self.is_for_now)

    @property
    def is_for_now(self) -> bool:
        """Whether the same question may be answered later."""
        return self.status in _FOR_NOW or (self.status >= 500 and self.status not in _NOT_THERE)  # noqa: PLR2004

    def text(self, name: str) -> str:
        """A string of the document; "" when there is none of this name."""
        value = self.document.get(name)
        return value if isinstance(value, str) else ""


def offers_sso(answer: Answer) -> bool:
    """Whether a status page leaves room for a sign-in: only a plain no counts."""
    return answer.status != _OK or answer.document.get("sso_enabled") is not False


def grant_in(answer: Answer, asked: TokenAnswer) -> DeviceGrant:
    """The grant that a device flow starts with."""
    if answer.says_not_here:
        raise not_offered(asked.base_url)
    if answer.is_for_now:
        raise _later(asked.base_url, answer)
    if answer.status != _OK:
        raise _refused(asked.base_url, said_in(answer, asked.code_verifier))
    uri, complete = _address(answer.text("verification_uri")), _address(answer.text("verification_uri_complete"))
    device_code, user_code = answer.text("device_code"), answer.text("user_code")
    if not device_code or not (uri or complete) or not user_code.isprintable() or len(user_code) > LONGEST_CODE:
        raise _unexpected(asked.base_url, "started a sign-in without a page that can be opened, or without a code")
    return DeviceGrant(
        base_url=asked.base_url,
        user_code=user_code,
        verification_uri=uri or complete,
        verification_uri_complete=complete,
        interval=max(_seconds(answer.document.get("interval"), DEFAULT_INTERVAL), SHORTEST_INTERVAL),
        expires_at=asked.at + _seconds(answer.document.get("expires_in"), DEFAULT_LIFETIME),
        device_code=Secret(device_code),
        code_verifier=asked.code_verifier,
    )


def identity_in(answer: Answer, grant: DeviceGrant) -> Secret | Wait:
    """The identity token of the person who confirmed, or that it is too early."""
    if answer.status == _OK and (token := answer.text("id_token")):
        return Secret(token)
    match answer.text("error"):
        case "authorization_pending":
            return Wait.PENDING
        case "slow_down":
            return Wait.SLOW_DOWN
        case "access_denied":
            raise _refused(grant.base_url, said_in(answer, grant.device_code, grant.code_verifier))
        case "expired_token":
            raise expired(grant.base_url)
    if answer.is_for_now:
        return Wait.SLOW_DOWN if answer.status == _TOO_MANY else Wait.PENDING
    if answer.text("error"):
        raise _refused(grant.base_url, said_in(answer, grant.device_code, grant.code_verifier))
    raise _unexpected(grant.base_url, f"answered a sign-in under way with {answer.status} and no token")


def token_in(answer: Answer, base_url: str, subject_token: Secret) -> Secret:
    """The Package Manager's token, given for an identity token."""
    if answer.says_not_here:
        raise SignInNotOfferedError(f"{base_url} takes no identity tokens", _OTHER_TOKEN)
    if answer.is_for_now:
        raise _later(base_url, answer)
    if answer.status != _OK:
        audience = audience_of(subject_token)
        raise IdentityRefusedError(
            f"{base_url} does not accept the identity token ({audience}): {said_in(answer, subject_token)}",
            "ask its administrator which audience, issuer and subject it trusts",
        )
    token = answer.text("access_token")
    problem = token_problem(token)
    if problem:
        raise _unexpected(base_url, f"gave a token that {problem}")
    return Secret(token)


def audience_of(token: Secret) -> str:
    """For whom a JWT is meant, as it says itself, unverified (RFC 7519 section 4.1.3): for people."""
    parts = token.reveal().split(".")
    try:
        payload = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        meant_for = payload["aud"]
    except IndexError:
        return "it is not a JWT"
    except (binascii.Error, ValueError, RecursionError, KeyError, TypeError):
        return "it names no audience"
    names = meant_for if isinstance(meant_for, list) else [meant_for]
    return f"audience {', '.join(_plain(str(name)) for name in names)}"


def said_in(answer: Answer, *sent: Secret) -> str:
    """The server's own words of refusal, with nothing in them that was sent to it in confidence."""
    words = ": ".join(filter(None, (answer.text("error"), answer.text("error_description"))))
    for form in sorted((form for secret in sent for form in encoded_forms(secret.reveal())), key=len, reverse=True):
        words = words.replace(form, MASK)
    return _plain(words) or f"status {answer.status}"


def not_offered(base_url: str) -> SignInNotOfferedError:
    """The error for a server without single sign-on."""
    return SignInNotOfferedError(f"{base_url} offers no sign-in through the browser", _OTHER_TOKEN)


def expired(base_url: str) -> SignInExpiredError:
    """The error for a sign-in that nobody finished."""
    what = f"nobody finished the sign-in to {base_url} in the time that it gives"
    return SignInExpiredError(what, "run `ppmproxy login` and confirm the new code")


def _refused(base_url: str, words: str) -> SignInRefusedError:
    what = f"the sign-in to {base_url} was refused: {words}"
    return SignInRefusedError(what, "run `ppmproxy login` to try again, or ask its administrator for access")


def _later(base_url: str, answer: Answer) -> UpstreamError:
    what = f"{base_url} signs nobody in right now: it answered {answer.status}"
    return UpstreamUnreachableError(what, "try again in a minute")


def _unexpected(base_url: str, what: str) -> UpstreamError:
    return UpstreamUnexpectedError(f"{base_url} {what}", "check that the upstream's url is the Package Manager's")


def _plain(words: str) -> str:
    """One printable line, cut short."""
    line = "".join(char if char.isprintable() else " " for char in words).strip()
    return line if len(line) <= LONGEST_WORDS else f"{line[:LONGEST_WORDS]}…"


def _address(uri: str) -> str:
    """A page that may be shown and opened; "" for anything else."""
    try:
        parts = urlsplit(uri)
        is_page = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.username is None
    except ValueError:
        return ""
    return uri if is_page and uri.isprintable() and " " not in uri else ""


def _seconds(value: object, default: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value <= 0:
        return default
    return float(value)
