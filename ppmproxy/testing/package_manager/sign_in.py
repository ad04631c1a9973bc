"""How people and machines sign in to the stand-in: device flow, and exchange of identity tokens."""

from __future__ import annotations

import asyncio
import enum
import hmac
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ppmproxy.testing.package_manager.answers import FakeResponse, json_answer
from ppmproxy.testing.package_manager.tokens import challenge, claims_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ppmproxy.testing.package_manager.behaviour import Behaviour, IdentityProviderTrust
    from ppmproxy.testing.package_manager.tokens import Claims, IssuedTokens

TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105  RFC 8693
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"  # noqa: S105
ID_TOKEN_AUDIENCE = "packagemanager-sign-in"  # noqa: S105
CODE_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"  # RFC 8628 6.1: no vowels, no words


class FlowState(enum.Enum):
    """Where a device flow stands."""

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    USED = "used"


@dataclass(eq=False)
class Flow:
    """One device flow."""

    device_code: str
    user_code: str
    code_challenge: str
    interval: float
    expires_at: float
    state: FlowState = FlowState.PENDING
    subject: str = ""
    polls: list[float] = field(default_factory=list)  # when the client asked, by the stand-in's clock
    finished: asyncio.Event = field(default_factory=asyncio.Event)

    def finish(self, state: FlowState, subject: str = "") -> None:
        """The user has decided."""
        self.state, self.subject = state, subject
        self.finished.set()


@dataclass(eq=False)
class DeviceFlows:
    """All device flows, and the exchange of identity tokens."""

    behaviour: Behaviour
    tokens: IssuedTokens
    flows: list[Flow] = field(default_factory=list)
    slow_downs: int = 0  # so many polls more are answered slow_down
    started: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def pending(self) -> list[Flow]:
        """Flows that wait for their user."""
        now = self.behaviour.now()
        return [flow for flow in self.flows if flow.state is FlowState.PENDING and flow.expires_at > now]

    async def first_pending(self) -> Flow:
        """The first flow that waits for its user, as soon as there is one."""
        while not self.pending:
            self.started.clear()
            await self.started.wait()
        return self.pending[0]

    def decide(self, state: FlowState, user_code: str | None, subject: str = "") -> None:
        """Finish the flow of this user code, or the only one that is pending; raises LookupError."""
        flows = [flow for flow in self.pending if user_code in (None, flow.user_code)]
        if len(flows) != 1:
            message = f"{len(flows)} pending sign-ins for user code {user_code}"
            raise LookupError(message)
        flows[0].finish(state, subject)

    def close(self) -> None:
        """Let go of all who wait for their user."""
        for flow in self.flows:
            flow.finished.set()

    def start(self, form: Mapping[str, str], url: str) -> FakeResponse:
        """Answer `/__api__/device`."""
        if form.get("code_challenge_method") != "S256" or len(form.get("code_challenge", "")) != 43:  # noqa: PLR2004
            return _refusal("invalid_request", "code_challenge with method S256 is required")
        flow = self._new_flow(form["code_challenge"])
        page = f"{url}/__device__"
        document = {
            "device_code": flow.device_code,
            "user_code": flow.user_code,
            "verification_uri": page,
            "expires_in": _number(self.behaviour.device_lifetime),
            "interval": _number(flow.interval),
        }
        if self.behaviour.offers_complete_uri:
            document["verification_uri_complete"] = f"{page}?user_code={flow.user_code}"
        return json_answer(document)

    async def access(self, form: Mapping[str, str]) -> FakeResponse:
        """Answer `/__api__/device_access`."""
        flow = next((flow for flow in self.flows if flow.device_code == form.get("device_code")), None)
        if flow is None or not hmac.compare_digest(challenge(form.get("code_verifier", "")), flow.code_challenge):
            return _refusal("invalid_grant", "unknown device_code, or code_verifier does not match")
        if self._too_early(flow):
            flow.interval += self.behaviour.slow_down_step
            return _refusal("slow_down")
        if self.behaviour.holds_device_access:
            await self._wait_for_user(flow)
        return self._state_answer(flow)

    def exchange(self, form: Mapping[str, str]) -> FakeResponse:
        """Answer `/__api__/token`."""
        if form.get("grant_type") != TOKEN_EXCHANGE or form.get("subject_token_type") != ID_TOKEN:
            return _refusal("invalid_request", "only the exchange of an id_token is offered")
        token = form.get("subject_token", "")
        claims = claims_of(token)
        refusal = self._objection(token, claims)
        if refusal is not None:
            return refusal
        subject = str(claims.get("sub", ""))
        lifetime = self.behaviour.access_token_lifetime
        return json_answer({"access_token": self.tokens.issue(self.behaviour.scopes, lifetime, subject)})

    def _new_flow(self, code_challenge: str) -> Flow:
        letters = "".join(secrets.choice(CODE_LETTERS) for _ in range(8))
        expires_at = self.behaviour.now() + self.behaviour.device_lifetime
        code = secrets.token_urlsafe(24)
        flow = Flow(code, f"{letters[:4]}-{letters[4:]}", code_challenge, self.behaviour.device_interval, expires_at)
        self.flows.append(flow)
        self.started.set()
        return flow

    def _too_early(self, flow: Flow) -> bool:
        now = self.behaviour.now()
        last = flow.polls[-1] if flow.polls else None
        flow.polls.append(now)
        if self.slow_downs > 0:
            self.slow_downs -= 1
            return True
        # A tenth of tolerance: the client's clock starts when the previous answer arrived, and timers are coarse.
        return self.behaviour.enforces_interval and last is not None and now - last < flow.interval * 0.9

    async def _wait_for_user(self, flow: Flow) -> None:
        try:
            await asyncio.wait_for(flow.finished.wait(), flow.expires_at - self.behaviour.now())
        except asyncio.TimeoutError:
            return
        flow.polls[-1] = self.behaviour.now()

    def _state_answer(self, flow: Flow) -> FakeResponse:
        if flow.state is FlowState.DENIED:
            return _refusal("access_denied", "the user refused")
        if flow.state is FlowState.USED or flow.expires_at <= self.behaviour.now():
            return _refusal("expired_token", "sign in again")
        if flow.state is FlowState.PENDING:
            return _refusal("authorization_pending")
        flow.state = FlowState.USED
        now = int(self.behaviour.now())
        claims = {"aud": ID_TOKEN_AUDIENCE, "sub": flow.subject, "email": flow.subject, "iat": now, "exp": now + 300}
        return json_answer({"id_token": self.tokens.signed(claims)})

    def _objection(self, token: str, claims: Claims) -> FakeResponse | None:
        """Why an identity token is not exchanged; None when it is."""
        expires_at = claims.get("exp")
        if not claims or not isinstance(expires_at, (int, float)):
            return _refusal("invalid_grant", "subject_token is not a JWT that ends")
        if expires_at <= self.behaviour.now():
            return _refusal("invalid_grant", "subject_token is expired")
        if claims.get("aud") == ID_TOKEN_AUDIENCE:
            return None if self.tokens.signed_here(token) else _refusal("invalid_grant", "bad signature")
        by_audience = [trust for trust in self.behaviour.trusts if _audience_fits(trust, claims)]
        if not by_audience:
            return _refusal("invalid_target", f"audience {claims.get('aud')} is not accepted")
        if all(trust.subject not in (None, claims.get("sub")) for trust in by_audience):
            return _refusal("invalid_grant", f"subject {claims.get('sub')} is not accepted")
        return None


def _audience_fits(trust: IdentityProviderTrust, claims: Claims) -> bool:
    audience = claims.get("aud")
    return trust.audience is None or trust.audience in (audience if isinstance(audience, list) else [audience])


def _refusal(error: str, description: str = "") -> FakeResponse:
    return json_answer({"error": error} | ({"error_description": description} if description else {}), 400)


def _number(value: float) -> float:
    """A whole number as JSON writes one: some clients read nothing else."""
    return int(value) if value == int(value) else value
