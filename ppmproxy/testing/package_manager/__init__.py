"""A small, honest Package Manager on loopback: start it, fill it, ask what it saw, make it misbehave.

    async with StandIn(base_path="/rspm") as stand_in:
        stand_in.add(wheel("hello"))
        stand_in.misbehave("*/simple/*", Status(503), times=2)
        ...  # stand_in.index_url(), stand_in.token, stand_in.ca_pem
        assert stand_in.requests[0].authorization

It speaks TLS by a certificate authority nobody knows, and demands a token that it made up.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import web

from ppmproxy.testing.package_manager.behaviour import Accepts, Behaviour, IdentityProviderTrust, Links
from ppmproxy.testing.package_manager.content import Pattern
from ppmproxy.testing.package_manager.exchange import reply
from ppmproxy.testing.package_manager.faults import (
    BrokenJson,
    CloseBeforeHead,
    Cut,
    Delay,
    ExpiredToken,
    Fault,
    LoginPage,
    LoginRedirect,
    NoAnswer,
    RedirectLoop,
    RedirectTo,
    Rule,
    Stall,
    Status,
    Trickle,
    Unsized,
    Where,
    WrongEncoding,
)
from ppmproxy.testing.package_manager.packages import wheel
from ppmproxy.testing.package_manager.seen import ReceivedRequest, seen_of
from ppmproxy.testing.package_manager.sign_in import DeviceFlows, Flow, FlowState
from ppmproxy.testing.package_manager.site import Site
from ppmproxy.testing.package_manager.stock import Distribution, RPackage, Stock
from ppmproxy.testing.package_manager.tls import Authority
from ppmproxy.testing.package_manager.tokens import IssuedTokens, Permit, claims_of, jwt
from ppmproxy.testing.package_manager.wire import Wire

if TYPE_CHECKING:
    import ssl
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

__all__ = [
    "Accepts",
    "Authority",
    "Behaviour",
    "BrokenJson",
    "CloseBeforeHead",
    "Cut",
    "Delay",
    "Distribution",
    "ExpiredToken",
    "FakePackageManager",
    "Fault",
    "Flow",
    "IdentityProviderTrust",
    "Links",
    "LoginPage",
    "LoginRedirect",
    "NoAnswer",
    "Pattern",
    "Permit",
    "RPackage",
    "ReceivedRequest",
    "RedirectLoop",
    "RedirectTo",
    "Stall",
    "Status",
    "Stock",
    "Trickle",
    "Unsized",
    "WrongEncoding",
    "claims_of",
    "jwt",
    "wheel",
]

READS = ("repos:read",)
SHUTDOWN = 0.1  # seconds that running answers get once the stand-in stops


@dataclass(kw_only=True, eq=False)
class FakePackageManager(Behaviour):
    """A server in the caller's event loop, from `async with` until its end."""

    stock: Stock = field(default_factory=Stock, repr=False)  # share another one's to offer the same
    requests: list[ReceivedRequest] = field(default_factory=list, init=False, repr=False)
    tokens: IssuedTokens = field(init=False, repr=False)
    sign_in: DeviceFlows = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.tokens = IssuedTokens(self.now)
        self.sign_in = DeviceFlows(self, self.tokens)
        self._authority = self.authority = self.authority or Authority()
        self._site = Site(self, self.stock, self.tokens, self.sign_in)
        self._rules: list[Rule] = []
        self._released = asyncio.Event()
        self._runner: web.ServerRunner | None = None
        self._port = self.port
        if self.token:
            self.accept_token(self.token, self.scopes)
        else:
            self.token = self.tokens.issue(self.scopes, None)

    # Life

    async def start(self) -> None:
        """Listen."""
        server = web.Server(self._handle, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=SHUTDOWN)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, self._port, ssl_context=self._server_context())
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def close(self) -> None:
        """Stop listening, let go of all who wait, and drop every connection."""
        if self._runner is None or self._runner.server is None:
            return
        self.release()
        self.sign_in.close()
        transports = [connection.transport for connection in self._runner.server.connections]
        await self._runner.cleanup()
        self._runner = None
        for transport in transports:
            if transport is not None:
                with contextlib.suppress(AttributeError):  # Python 3.11.2 has let go of one that is closed
                    transport.abort()  # the farewell of TLS would outlive us
        for _ in range(3):
            await asyncio.sleep(0)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # Where it is, and how to trust it

    @property
    def origin(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self._port}"

    @property
    def url(self) -> str:
        """The base URL, without a trailing slash."""
        return self.origin + self.base_path

    def index_url(self, repo: str = "pypi", snapshot: str = "latest") -> str:
        """The URL a client is configured with."""
        return f"{self.url}/{repo}/{snapshot}/simple/"

    def upload_url(self, source: str = "internal") -> str:
        return f"{self.url}/upload/pypi/{source}"

    def file_url(self, distribution: Distribution, repo: str = "pypi", snapshot: str = "latest") -> str:
        return f"{self.url}/{repo}/{snapshot}/packages/{distribution.id}/{distribution.filename}"

    @property
    def ca_pem(self) -> bytes:
        """The certificate to trust."""
        return self._authority.pem

    def write_ca(self, path: Path) -> Path:
        """Write the certificate to trust to a file."""
        return self._authority.write_pem(path)

    def client_context(self) -> ssl.SSLContext:
        """TLS for a client that trusts this stand-in and nobody else."""
        return self._authority.client_context()

    def write_client_identity(self, folder: Path) -> tuple[Path, Path]:
        """Write a client certificate that this stand-in takes, and its key; returns both files."""
        return self._authority.write_client_identity(folder)

    # What it offers

    def add(self, distribution: Distribution, repo: str = "pypi", project: str | None = None) -> Distribution:
        """Offer a file; returns it."""
        self.stock.add(distribution, repo, project)
        return distribution

    def add_large(self, filename: str, size: int, repo: str = "pypi") -> Distribution:
        """Offer a file of any size that is made while it is sent; the index shows no digest of it."""
        return self.add(Distribution(filename, Pattern(size), hashed=False), repo)

    def add_r(self, package: RPackage, repo: str = "cran") -> RPackage:
        """Offer an R package; returns it."""
        self.stock.add_r(package, repo)
        return package

    # Who may

    def accept_token(self, token: str, scopes: tuple[str, ...] = READS, expires_at: float | None = None) -> str:
        """Honour a token; without `expires_at` a JWT's own `exp` counts. Returns the token."""
        self.tokens.accept(token, Permit(scopes, expires_at))
        return token

    def issue_token(self, scopes: tuple[str, ...] = READS, lifetime: float | None = None) -> str:
        """Make a JWT that expires after so many seconds, and honour it."""
        return self.tokens.issue(scopes, lifetime)

    def revoke(self, token: str) -> None:
        """Stop honouring a token."""
        self.tokens.revoke(token)

    @property
    def pending_sign_ins(self) -> list[Flow]:
        """Device flows that wait for their user."""
        return self.sign_in.pending

    async def next_sign_in(self) -> Flow:
        """The first pending flow, as soon as there is one."""
        return await self.sign_in.first_pending()

    def approve(self, user_code: str | None = None, subject: str = "someone@example.com") -> None:
        """Sign in the user of a pending flow (None: the only one); raises LookupError."""
        self.sign_in.decide(FlowState.APPROVED, user_code, subject)

    def deny(self, user_code: str | None = None) -> None:
        """Refuse a pending flow (None: the only one); raises LookupError."""
        self.sign_in.decide(FlowState.DENIED, user_code)

    # What it was asked

    def requests_for(self, path: str, method: str | None = None) -> list[ReceivedRequest]:
        """Requests whose raw path fits a shell pattern."""
        rule = Rule(path, NoAnswer())
        return [seen for seen in self.requests if rule.applies_to(seen) and method in (None, seen.method)]

    @property
    def admin_requests(self) -> list[ReceivedRequest]:
        """Requests that reached the administration, allowed or not."""
        return self._site.admin_requests

    @property
    def admin_changes(self) -> list[ReceivedRequest]:
        """Requests to the administration that were allowed, and changed the server."""
        return self._site.admin_changes

    def clear(self) -> None:
        """Forget the requests so far."""
        self.requests.clear()
        self._site.admin_requests.clear()
        self._site.admin_changes.clear()

    # How it misbehaves

    def add_fault(self, where: Where, how: Fault, times: int | None = None) -> None:
        """Misbehave where a shell pattern fits the raw path, or a predicate the request; the latest rule wins."""
        self._rules.insert(0, Rule(where, how, times))

    def clear_faults(self) -> None:
        """Forget all misbehaviour, and let go of all who wait."""
        self._rules.clear()
        self.release()

    def release(self) -> None:
        """Let go of all who wait for an answer, or for the rest of one."""
        self._released.set()
        self._released = asyncio.Event()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        seen = seen_of(request, asyncio.get_running_loop().time())
        self.requests.append(seen)
        return await reply(self._site, Wire(request, seen, self._released), self._rule(seen))

    def _rule(self, seen: ReceivedRequest) -> Fault | None:
        rule = next((rule for rule in self._rules if rule.applies_to(seen)), None)
        return rule.use() if rule else None

    def _server_context(self) -> ssl.SSLContext | None:
        if not self.tls:
            return None
        return self._authority.server_context(self.certificate_for, demands_client=self.demands_client_certificate)
