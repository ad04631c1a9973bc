"""The Package Manager's responses to a sign-in, parsed: a code to confirm, a token, not yet, or an error.

A server's text is checked before a person sees it: addresses must be http(s), codes printable, error texts short and
without a secret that was sent to the server.
"""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ppmproxy.auth.credential import claims_of, token_problem
from ppmproxy.auth.redaction import Redactor, ServerText
from ppmproxy.auth.secret import Secret
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
MIN_INTERVAL = 1.0
DEFAULT_LIFETIME = 300.0  # seconds; Package Manager's own default
MAX_ERROR_TEXT = 300  # characters
MAX_USER_CODE = 64
MAX_ADDRESS = 2000
MAX_SECONDS = 24 * 3600.0  # of a lifetime or an interval; servers grant minutes

_OK = 200
_TOO_MANY = 429
_MISSING = frozenset({404, 405, 501})
_TEMPORARY = frozenset({408, 425, _TOO_MANY})  # besides 5xx: from an ingress with a shorter timeout than the server's
_OTHER_TOKEN = "set PPMPROXY_TOKEN, or PPMPROXY_TOKEN_FILE to a file with a token"  # noqa: S105


@dataclass(frozen=True, slots=True)
class DeviceGrant:
    """A device flow that waits for the person (RFC 8628)."""

    base_url: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str  # "" when the server has none
    interval: float  # seconds between two polls
    expires_at: float  # seconds, by the clock of `DeviceRequest.sent_at`
    device_code: Secret = field(repr=False)
    code_verifier: Secret = field(repr=False)

    @property
    def page(self) -> str:
        """The page to open: the one with the code filled in, where there is one."""
        return self.verification_uri_complete or self.verification_uri


@dataclass(frozen=True, slots=True)
class DeviceRequest:
    """A request for a device flow; `sent_at` is in seconds, by any clock."""

    base_url: str
    code_verifier: Secret
    sent_at: float


class NotYet(enum.Enum):
    """No token yet: poll again after the interval, or after a longer one from now on (RFC 8628 section 3.5)."""

    PENDING = "pending"
    SLOW_DOWN = "slow-down"


@dataclass(frozen=True, slots=True)
class ServerResponse:
    """One response with its whole body."""

    status: int
    content_type: str
    body: bytes = field(repr=False)  # may hold a token
    redactor: Redactor = field(default_factory=Redactor, repr=False)  # for what people are to see of it

    @property
    def document(self) -> dict[str, object]:
        """The body as a JSON object; empty when it is none."""
        try:
            document = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return document if isinstance(document, dict) else {}

    @property
    def is_missing_endpoint(self) -> bool:
        """Whether the server has no such endpoint, or shows an HTML page in its place."""
        is_page = "html" in self.content_type.lower() or self.body.lstrip().startswith(b"<")
        return self.status in _MISSING or (is_page and not self.is_temporary)

    @property
    def is_temporary(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status in _TEMPORARY or (self.status >= 500 and self.status not in _MISSING)  # noqa: PLR2004

    def text(self, name: str) -> str:
        """A string of the document; "" when there is none with this name."""
        value = self.document.get(name)
        return value if isinstance(value, str) else ""

    def server_text(self, name: str) -> ServerText:
        """The same, with every known secret masked: for people."""
        return self.redactor.server_text(self.text(name))


def offers_sso(response: ServerResponse) -> bool:
    """Whether the status endpoint allows a sign-in: only an explicit false counts as no."""
    return response.status != _OK or response.document.get("sso_enabled") is not False


def parse_grant(response: ServerResponse, request: DeviceRequest) -> DeviceGrant:
    """The grant of a device flow that was requested."""
    if response.is_missing_endpoint:
        raise not_offered(request.base_url)
    if response.is_temporary:
        raise _later(request.base_url, response)
    if response.status != _OK:
        raise _refused(request.base_url, error_text(response))
    uri, complete = (_address(response.server_text(name)) for name in ("verification_uri", "verification_uri_complete"))
    device_code, user_code = response.text("device_code"), response.server_text("user_code")
    has_code = _is_sendable(device_code) and user_code.isprintable() and len(user_code) <= MAX_USER_CODE
    if not has_code or not (uri or complete):
        raise _unexpected(request.base_url, "started a sign-in without a page that can be opened, or without a code")
    return DeviceGrant(
        base_url=request.base_url,
        user_code=user_code,
        verification_uri=uri or complete,
        verification_uri_complete=complete,
        interval=max(_seconds(response.document.get("interval"), DEFAULT_INTERVAL), MIN_INTERVAL),
        expires_at=request.sent_at + _seconds(response.document.get("expires_in"), DEFAULT_LIFETIME),
        device_code=Secret(device_code),
        code_verifier=request.code_verifier,
    )


def parse_identity(response: ServerResponse, grant: DeviceGrant) -> Secret | NotYet:
    """The identity token, or that the person has not confirmed yet."""
    if response.status == _OK and (token := response.text("id_token")):
        if not _is_sendable(token):
            raise _unexpected(grant.base_url, "gave an identity token with characters that no token has")
        return Secret(token)
    match response.text("error"):
        case "authorization_pending":
            return NotYet.PENDING
        case "slow_down":
            return NotYet.SLOW_DOWN
        case "access_denied":
            raise _refused(grant.base_url, error_text(response))
        case "expired_token":
            raise expired(grant.base_url)
    if response.is_temporary:
        return NotYet.SLOW_DOWN if response.status == _TOO_MANY else NotYet.PENDING
    if response.text("error"):
        raise _refused(grant.base_url, error_text(response))
    raise _unexpected(grant.base_url, f"answered a sign-in under way with {response.status} and no token")


def parse_token(response: ServerResponse, base_url: str, subject_token: Secret) -> Secret:
    """The Package Manager's token for an identity token."""
    if response.is_missing_endpoint:
        raise SignInNotOfferedError(f"{base_url} does not accept identity tokens", _OTHER_TOKEN)
    if response.is_temporary:
        raise _later(base_url, response)
    if response.status != _OK:
        audience = audience_of(subject_token)
        raise IdentityRefusedError(
            f"{base_url} rejects the identity token ({audience}): {error_text(response)}",
            "ask its administrator to trust this audience, issuer and subject",
        )
    token = Secret(response.text("access_token"))
    problem = token_problem(token)
    if problem:
        raise _unexpected(base_url, f"gave a token that {problem}")
    return token


def audience_of(token: Secret) -> str:
    """The audience that an identity token names, unverified, as text for people (RFC 7519 section 4.1.3)."""
    if not token.has_parts:
        return "it is not a JWT"
    audience = claims_of(token).audience
    return f"audience {', '.join(map(_plain, audience))}" if audience else "it names no audience"


def error_text(response: ServerResponse) -> str:
    """The server's error text, with every known secret masked."""
    text = ": ".join(filter(None, (response.server_text("error"), response.server_text("error_description"))))
    return _plain(text) or f"status {response.status}"


def not_offered(base_url: str) -> SignInNotOfferedError:
    """The error for a server without single sign-on."""
    return SignInNotOfferedError(f"{base_url} offers no sign-in through the browser", _OTHER_TOKEN)


def expired(base_url: str) -> SignInExpiredError:
    """The error for a sign-in that nobody confirmed in time."""
    what = f"the sign-in to {base_url} expired before anybody confirmed it"
    return SignInExpiredError(what, "run `ppmproxy login` and confirm the new code")


def _refused(base_url: str, text: str) -> SignInRefusedError:
    what = f"the sign-in to {base_url} was refused: {text}"
    return SignInRefusedError(what, "run `ppmproxy login` to try again, or ask its administrator for access")


def _later(base_url: str, response: ServerResponse) -> UpstreamError:
    what = f"{base_url} cannot sign anybody in now: it answered {response.status}"
    return UpstreamUnreachableError(what, "try again in a minute")


def _unexpected(base_url: str, what: str) -> UpstreamError:
    return UpstreamUnexpectedError(f"{base_url} {what}", "correct the upstream's url, or tell its administrator")


def _plain(text: str) -> str:
    """One printable line, shortened."""
    line = "".join(char if char.isprintable() else " " for char in text).strip()
    return line if len(line) <= MAX_ERROR_TEXT else f"{line[:MAX_ERROR_TEXT]}…"


def _address(uri: str) -> str:
    """A web page's address that may be shown and opened; "" for anything else."""
    try:
        parts = urlsplit(uri)
        is_page = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.username is None
    except ValueError:
        return ""
    return uri if is_page and uri.isprintable() and " " not in uri and len(uri) <= MAX_ADDRESS else ""


def _is_sendable(code: str) -> bool:
    """Whether a server's value can be sent back to it: printable ASCII (RFC 6749 appendix A)."""
    return bool(code) and code.isascii() and code.isprintable()


def _seconds(value: object, default: float) -> float:
    """A number of seconds; the default for anything that no server means."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= MAX_SECONDS:  # nor NaN
        return default
    return float(value)
