"""Sign-in at the fake Package Manager: device flow (RFC 8628) and token exchange (RFC 8693)."""

from __future__ import annotations

import asyncio
import enum
import hmac
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ppmproxy.testing.package_manager.responses import FakeResponse, json_response
from ppmproxy.testing.package_manager.tokens import challenge, claims_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ppmproxy.testing.package_manager.options import IdentityProviderTrust, ServerOptions
    from ppmproxy.testing.package_manager.tokens import Claims, IssuedTokens

TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105  RFC 8693
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"  # noqa: S105
ID_TOKEN_AUDIENCE = "packagemanager-sign-in"  # noqa: S105
CODE_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"  # RFC 8628 6.1: no vowels, no words


class FlowState(enum.Enum):
    """The state of a device flow."""

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    USED = "used"


@dataclass(eq=False)
class DeviceFlow:
    """One device flow."""

    device_code: str
    user_code: str
    code_challenge: str
    interval: float
    expires_at: float
    state: FlowState = FlowState.PENDING
    subject: str = ""
    polls: list[float] = field(default_factory=list)  # when the client polled, by the server's clock
    finished: asyncio.Event = field(default_factory=asyncio.Event)

    def finish(self, state: FlowState, subject: str = "") -> None:
        """Record the decision of the user."""
        self.state, self.subject = state, subject
        self.finished.set()


@dataclass(eq=False)
class DeviceFlows:
    """All device flows of one server, and its token exchange."""

    options: ServerOptions
    tokens: IssuedTokens
    flows: list[DeviceFlow] = field(default_factory=list)
    slow_downs: int = 0  # the next so many polls get slow_down
    started: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def pending(self) -> list[DeviceFlow]:
        """Flows that their user has not decided yet."""
        now = self.options.now()
        return [flow for flow in self.flows if flow.state is FlowState.PENDING and flow.expires_at > now]

    async def first_pending(self) -> DeviceFlow:
        """The first pending flow, as soon as there is one."""
        while not self.pending:
            self.started.clear()
            await self.started.wait()
        return self.pending[0]

    def finish_flow(self, state: FlowState, user_code: str | None, subject: str = "") -> None:
        """Finish the flow of this user code, or the only one that is pending; raises LookupError."""
        flows = [flow for flow in self.pending if user_code in (None, flow.user_code)]
        if len(flows) != 1:
            message = f"{len(flows)} pending sign-ins for user code {user_code}"
            raise LookupError(message)
        flows[0].finish(state, subject)

    def close(self) -> None:
        """Release the requests that wait for a user."""
        for flow in self.flows:
            flow.finished.set()

    def start(self, form: Mapping[str, str], url: str) -> FakeResponse:
        """The response to `/__api__/device`."""
        if form.get("code_challenge_method") != "S256" or len(form.get("code_challenge", "")) != 43:  # noqa: PLR2004
            return _oauth_error("invalid_request", "code_challenge with method S256 is required")
        flow = self._new_flow(form["code_challenge"])
        page = f"{url}/__device__"
        document = {
            "device_code": flow.device_code,
            "user_code": flow.user_code,
            "verification_uri": page,
            "expires_in": _number(self.options.device_lifetime),
            "interval": _number(flow.interval),
        }
        if self.options.offers_complete_uri:
            document["verification_uri_complete"] = f"{page}?user_code={flow.user_code}"
        return json_response(document)

    async def access(self, form: Mapping[str, str]) -> FakeResponse:
        """The response to `/__api__/device_access`."""
        flow = next((flow for flow in self.flows if flow.device_code == form.get("device_code")), None)
        if flow is None or not hmac.compare_digest(challenge(form.get("code_verifier", "")), flow.code_challenge):
            return _oauth_error("invalid_grant", "unknown device_code, or code_verifier does not match")
        if self._too_early(flow):
            flow.interval += self.options.slow_down_step
            return _oauth_error("slow_down")
        if self.options.holds_device_access:
            await self._wait_for_user(flow)
        return self._state_response(flow)

    def exchange(self, form: Mapping[str, str]) -> FakeResponse:
        """The response to `/__api__/token`."""
        if form.get("grant_type") != TOKEN_EXCHANGE or form.get("subject_token_type") != ID_TOKEN:
            return _oauth_error("invalid_request", "only the exchange of an id_token is offered")
        token = form.get("subject_token", "")
        claims = claims_of(token)
        refused = self._refusal_for(token, claims)
        if refused is not None:
            return refused
        subject = str(claims.get("sub", ""))
        lifetime = self.options.access_token_lifetime
        return json_response({"access_token": self.tokens.issue(self.options.scopes, lifetime, subject)})

    def _new_flow(self, code_challenge: str) -> DeviceFlow:
        letters = "".join(secrets.choice(CODE_LETTERS) for _ in range(8))
        expires_at = self.options.now() + self.options.device_lifetime
        code = secrets.token_urlsafe(24)
        flow = DeviceFlow(
            code, f"{letters[:4]}-{letters[4:]}", code_challenge, self.options.device_interval, expires_at
        )
        self.flows.append(flow)
        self.started.set()
        return flow

    def _too_early(self, flow: DeviceFlow) -> bool:
        now = self.options.now()
        last = flow.polls[-1] if flow.polls else None
        flow.polls.append(now)
        if self.slow_downs > 0:
            self.slow_downs -= 1
            return True
        # A tenth of tolerance: the client's interval starts when the previous response arrived, and timers are coarse.
        return self.options.enforces_interval and last is not None and now - last < flow.interval * 0.9

    async def _wait_for_user(self, flow: DeviceFlow) -> None:
        try:
            await asyncio.wait_for(flow.finished.wait(), flow.expires_at - self.options.now())
        except asyncio.TimeoutError:
            return
        flow.polls[-1] = self.options.now()

    def _state_response(self, flow: DeviceFlow) -> FakeResponse:
        if flow.state is FlowState.DENIED:
            return _oauth_error("access_denied", "the user refused")
        if flow.state is FlowState.USED or flow.expires_at <= self.options.now():
            return _oauth_error("expired_token", "sign in again")
        if flow.state is FlowState.PENDING:
            return _oauth_error("authorization_pending")
        flow.state = FlowState.USED
        now = int(self.options.now())
        claims = {"aud": ID_TOKEN_AUDIENCE, "sub": flow.subject, "email": flow.subject, "iat": now, "exp": now + 300}
        return json_response({"id_token": self.tokens.signed(claims)})

    def _refusal_for(self, token: str, claims: Claims) -> FakeResponse | None:
        """Why an identity token is not exchanged; None when it is."""
        expires_at = claims.get("exp")
        if not claims or not isinstance(expires_at, (int, float)):
            return _oauth_error("invalid_grant", "subject_token is not a JWT that ends")
        if expires_at <= self.options.now():
            return _oauth_error("invalid_grant", "subject_token is expired")
        if claims.get("aud") == ID_TOKEN_AUDIENCE:
            return None if self.tokens.signed_here(token) else _oauth_error("invalid_grant", "bad signature")
        by_audience = [trust for trust in self.options.trusts if _audience_fits(trust, claims)]
        if not by_audience:
            return _oauth_error("invalid_target", f"audience {claims.get('aud')} is not accepted")
        if all(trust.subject not in (None, claims.get("sub")) for trust in by_audience):
            return _oauth_error("invalid_grant", f"subject {claims.get('sub')} is not accepted")
        return None


def _audience_fits(trust: IdentityProviderTrust, claims: Claims) -> bool:
    audience = claims.get("aud")
    return trust.audience is None or trust.audience in (audience if isinstance(audience, list) else [audience])


def _oauth_error(error: str, description: str = "") -> FakeResponse:
    return json_response({"error": error} | ({"error_description": description} if description else {}), 400)


def _number(value: float) -> float:
    """A whole number as JSON writes one: some clients read nothing else."""
    return int(value) if value == int(value) else value
