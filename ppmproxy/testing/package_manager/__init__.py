"""A fake Package Manager on loopback: start it, add packages and faults, and read which requests it received.

    async with FakePackageManager(base_path="/rspm") as package_manager:
        package_manager.add(wheel("hello"))
        package_manager.add_fault("*/simple/*", Status(503), times=2)
        ...  # package_manager.index_url(), package_manager.token, package_manager.ca_pem
        assert package_manager.requests[0].authorization

Its TLS certificate is by a private authority, and it demands a token that it generates when it starts.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import web

from ppmproxy.testing.package_manager.catalog import Catalog, Distribution, RPackage
from ppmproxy.testing.package_manager.content import Pattern
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
    RequestFilter,
    Rule,
    Stall,
    Status,
    Trickle,
    Unsized,
    WrongEncoding,
)
from ppmproxy.testing.package_manager.handler import handle
from ppmproxy.testing.package_manager.options import Accepts, IdentityProviderTrust, LinkStyle, ServerOptions
from ppmproxy.testing.package_manager.packages import wheel
from ppmproxy.testing.package_manager.received import ReceivedRequest, received_request
from ppmproxy.testing.package_manager.sending import Exchange
from ppmproxy.testing.package_manager.server_state import ServerState
from ppmproxy.testing.package_manager.sign_in import DeviceFlow, DeviceFlows, FlowState
from ppmproxy.testing.package_manager.tls import CertificateAuthority
from ppmproxy.testing.package_manager.tokens import IssuedTokens, TokenPermissions, claims_of, jwt

if TYPE_CHECKING:
    import ssl
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

__all__ = [
    "Accepts",
    "BrokenJson",
    "CertificateAuthority",
    "CloseBeforeHead",
    "Cut",
    "Delay",
    "Distribution",
    "ExpiredToken",
    "FakePackageManager",
    "Fault",
    "IdentityProviderTrust",
    "LinkStyle",
    "LoginPage",
    "LoginRedirect",
    "NoAnswer",
    "Pattern",
    "RPackage",
    "ReceivedRequest",
    "RedirectLoop",
    "RedirectTo",
    "Stall",
    "Status",
    "Trickle",
    "Unsized",
    "WrongEncoding",
    "claims_of",
    "jwt",
    "wheel",
]

READS = ("repos:read",)
SHUTDOWN = 0.1  # seconds that running responses get once the server stops


class _Server(web.Server):
    """aiohttp's server, without the connections whose TLS handshake ends after the server."""

    is_closed = False

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if self.is_closed:
            transport.abort()


@dataclass(kw_only=True, eq=False)
class FakePackageManager(ServerOptions):
    """A server in the caller's event loop, from `async with` until its end."""

    catalog: Catalog = field(default_factory=Catalog, repr=False)  # share another server's to offer the same packages
    requests: list[ReceivedRequest] = field(default_factory=list, init=False, repr=False)
    tokens: IssuedTokens = field(init=False, repr=False)
    sign_in: DeviceFlows = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.tokens = IssuedTokens(self.now)
        self.sign_in = DeviceFlows(self, self.tokens)
        self._authority = self.authority = self.authority or CertificateAuthority()
        self._state = ServerState(self, self.catalog, self.tokens, self.sign_in)
        self._rules: list[Rule] = []
        self._released = asyncio.Event()
        self._runner: web.ServerRunner | None = None
        self._port = self.port
        if self.token:
            self.accept_token(self.token, self.scopes)
        else:
            self.token = self.tokens.issue(self.scopes, None)

    # Start and stop

    async def start(self) -> None:
        """Start to listen."""
        self._runner = web.ServerRunner(_Server(self._handle, access_log=None), shutdown_timeout=SHUTDOWN)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, self._port, ssl_context=self._server_context())
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def close(self) -> None:
        """Stop listening, release the requests that wait, and drop every connection."""
        if self._runner is None or self._runner.server is None:
            return
        self.release()
        self.sign_in.close()
        transports = [connection.transport for connection in self._runner.server.connections]
        if isinstance(self._runner.server, _Server):
            self._runner.server.is_closed = True
        await self._runner.cleanup()
        self._runner = None
        for transport in transports:
            if transport is not None:
                with contextlib.suppress(AttributeError):  # Python 3.11.2 forgets a transport that is closed
                    transport.abort()  # TLS would go on closing after the event loop has ended
        for _ in range(3):
            await asyncio.sleep(0)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # Addresses and trust

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
        """TLS for a client that trusts this server's authority and no other."""
        return self._authority.client_context()

    def write_client_identity(self, folder: Path) -> tuple[Path, Path]:
        """Write a client certificate that this server accepts, and its key; returns both files."""
        return self._authority.write_client_identity(folder)

    # Packages

    def add(self, distribution: Distribution, repo: str = "pypi", project: str | None = None) -> Distribution:
        """Offer a file; returns it."""
        self.catalog.add(distribution, repo, project)
        return distribution

    def add_large(self, filename: str, size: int, repo: str = "pypi") -> Distribution:
        """Offer a file of any size, generated while it is sent; the index shows no digest of it."""
        return self.add(Distribution(filename, Pattern(size), hashed=False), repo)

    def add_r(self, package: RPackage, repo: str = "cran") -> RPackage:
        """Offer an R package; returns it."""
        self.catalog.add_r(package, repo)
        return package

    # Tokens and sign-ins

    def accept_token(self, token: str, scopes: tuple[str, ...] = READS, expires_at: float | None = None) -> str:
        """Accept a token; without `expires_at` a JWT's own `exp` counts. Returns the token."""
        self.tokens.accept(token, TokenPermissions(scopes, expires_at))
        return token

    def issue_token(self, scopes: tuple[str, ...] = READS, lifetime: float | None = None) -> str:
        """Make a JWT that expires after so many seconds, and accept it."""
        return self.tokens.issue(scopes, lifetime)

    def revoke(self, token: str) -> None:
        """Stop accepting a token."""
        self.tokens.revoke(token)

    @property
    def pending_sign_ins(self) -> list[DeviceFlow]:
        """Device flows that their user has not decided yet."""
        return self.sign_in.pending

    async def next_sign_in(self) -> DeviceFlow:
        """The first pending flow, as soon as there is one."""
        return await self.sign_in.first_pending()

    def approve(self, user_code: str | None = None, subject: str = "someone@example.com") -> None:
        """Sign in the user of a pending flow (None: the only one); raises LookupError."""
        self.sign_in.finish_flow(FlowState.APPROVED, user_code, subject)

    def deny(self, user_code: str | None = None) -> None:
        """Refuse a pending flow (None: the only one); raises LookupError."""
        self.sign_in.finish_flow(FlowState.DENIED, user_code)

    # Requests received

    def requests_for(self, path: str, method: str | None = None) -> list[ReceivedRequest]:
        """Requests whose raw path fits a shell pattern."""
        rule = Rule(path, NoAnswer())
        return [
            received for received in self.requests if rule.applies_to(received) and method in (None, received.method)
        ]

    @property
    def admin_requests(self) -> list[ReceivedRequest]:
        """Requests to the administration API, allowed or not."""
        return self._state.admin_requests

    @property
    def admin_changes(self) -> list[ReceivedRequest]:
        """Requests to the administration API that were allowed, and changed the server."""
        return self._state.admin_changes

    def clear(self) -> None:
        """Forget the requests so far."""
        self.requests.clear()
        self._state.admin_requests.clear()
        self._state.admin_changes.clear()

    # Faults

    def add_fault(self, where: RequestFilter, fault: Fault, times: int | None = None) -> None:
        """Fail where a shell pattern matches the raw path, or a predicate the request; the latest fault wins."""
        self._rules.insert(0, Rule(where, fault, times))

    def clear_faults(self) -> None:
        """Remove all faults, and release the requests that wait."""
        self._rules.clear()
        self.release()

    def release(self) -> None:
        """Send the responses, or the rest of them, that `NoAnswer`, `Delay` and `Stall` hold back."""
        self._released.set()
        self._released = asyncio.Event()

    def drop_connections(self) -> None:
        """Reset every connection; a request that waits gets no response."""
        for connection in self._runner.server.connections if self._runner and self._runner.server else ():
            if connection.transport is not None:
                connection.transport.abort()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        received = received_request(request, asyncio.get_running_loop().time())
        self.requests.append(received)
        return await handle(self._state, Exchange(request, received, self._released), self._fault_for(received))

    def _fault_for(self, received: ReceivedRequest) -> Fault | None:
        rule = next((rule for rule in self._rules if rule.applies_to(received)), None)
        return rule.use() if rule else None

    def _server_context(self) -> ssl.SSLContext | None:
        if not self.tls:
            return None
        return self._authority.server_context(self.certificate_for, demands_client=self.demands_client_certificate)
