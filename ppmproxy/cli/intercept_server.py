"""The server of `ppmproxy exec --intercept`: the CONNECT proxy, and who answers for the upstreams.

Beside the user's running daemon it has an event loop of its own, and asks that daemon. The daemon of the same `exec`
answers in its own event loop: what arrives is fed to it. A log, and what speaks HTTP to other servers, are imported
when they are needed: a command that has just been started is waiting for this.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import sslproto
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ppmproxy.access.access_control import AccessControl
from ppmproxy.cli import event_loop
from ppmproxy.cli.intercept_run import InterceptRun
from ppmproxy.config.local_address import TcpAddress
from ppmproxy.config.model import LogLevel, Upstream
from ppmproxy.errors import UpstreamError
from ppmproxy.server.intercept.connect_proxy import ConnectProxy
from ppmproxy.server.intercept.connect_request import (
    Authority,
    ConnectRefusedError,
    ConnectRules,
    authority_of_upstream,
)
from ppmproxy.server.intercept.daemon_connection import DaemonAddress
from ppmproxy.server.intercept.daemon_link import DaemonLink
from ppmproxy.server.intercept.handler_answerer import HandlerAnswerer
from ppmproxy.server.intercept.intercepted_connection import InterceptedConnection, Interceptor, RequestAnswerer
from ppmproxy.server.intercept.intercepted_request import InterceptedRequest
from ppmproxy.upstream.forward_proxy import proxy_for

if TYPE_CHECKING:
    import structlog

    from ppmproxy.server.daemon import Daemon
    from ppmproxy.server.intercept.host_relay import HostRelay


READ_AT_ONCE = 1 << 16  # bytes; for each tunnel asyncio would clear 256 KiB, and a client sends little but heads
READY_CONNECTIONS = 32  # to the daemon, made while the command starts: uv opens as many tunnels at once
TIMES = 2  # once it has the pages, uv opens as many tunnels again for the files

DaemonFor = Callable[[Upstream, InterceptedConnection], RequestAnswerer]


def serve(run: InterceptRun) -> None:
    """Serve beside the running daemon until the command has ended; raises the error that keeps it from serving."""
    event_loop.run(_serve_beside(run))


async def _serve_beside(run: InterceptRun) -> None:
    if sys.version_info >= (3, 11):
        sslproto.SSLProtocol.max_size = READ_AT_ONCE
    address = DaemonAddress(run.daemon_url, run.daemon_key, run.find_daemon_key)
    preparing = asyncio.create_task(address.keep_ready(READY_CONNECTIONS, TIMES))
    try:
        await _serve(run, lambda upstream, client: DaemonLink(address, upstream.origin, client), LateLog(run))
    finally:
        preparing.cancel()
        address.close()


async def serve_with(run: InterceptRun, daemon: Daemon) -> None:
    """Serve in the event loop of this process's own daemon, which answers, until the command has ended."""

    def answerer(upstream: Upstream, client: InterceptedConnection) -> RequestAnswerer:
        def for_daemon(request: InterceptedRequest) -> bytes:
            proof = daemon.key.intercept_header(str(upstream.origin), request.method, request.target)
            return request.for_daemon(urlsplit(daemon.url).netloc, proof)

        return HandlerAnswerer(daemon.connection(), client.connected, for_daemon)

    await _serve(run, answerer, LateLog(run))


async def _serve(run: InterceptRun, daemon_for: DaemonFor, log: LateLog) -> None:
    control = AccessControl.on([run.listener], run.settings, run.context.environment)
    hosts = Hosts(control)
    upstreams: dict[Authority, list[Upstream]] = {}
    for upstream in run.upstreams:
        upstreams.setdefault(authority_of_upstream(upstream), []).append(upstream)
    interceptor = Interceptor(upstreams, daemon_for, hosts.answerer, run.asked, control.admission.limits)
    rules = ConnectRules(frozenset(upstreams), _own_ports(run), run.password)
    handler_for = interceptor.connection_for
    proxy = ConnectProxy(rules, run.authority, control.admission, handler_for, _forward_proxy, log)
    server = await asyncio.get_running_loop().create_server(proxy, sock=run.listener)
    for authority in upstreams:
        run.authority.context_for(authority.host)  # made while the command starts, and not while it waits
    try:
        await asyncio.to_thread(run.ended.wait)
    finally:
        server.close()
        proxy.close()
        await hosts.close()
        control.close()


class Hosts:
    """What else lives on the upstreams' hosts, asked by the client of HTTP that is imported then; to be closed."""

    def __init__(self, control: AccessControl) -> None:
        self._limits = control.admission.limits
        self._relays: dict[str, HostRelay] = {}

    def answerer(self, upstream: Upstream, client: InterceptedConnection) -> RequestAnswerer:
        """What answers for the upstream's host, outside every base path."""
        from ppmproxy.server.intercept.host_relay import HostRelay  # noqa: PLC0415 - seldom asked for

        if upstream.name not in self._relays:
            self._relays[upstream.name] = HostRelay(upstream, self._limits)
        relay = self._relays[upstream.name]
        return HandlerAnswerer(relay.connection(), client.connected, InterceptedRequest.for_host)

    async def close(self) -> None:
        """Close all connections to them."""
        for relay in self._relays.values():
            await relay.close()


class LateLog:
    """The log, which is set up with its first event, unless this process has one already."""

    def __init__(self, run: InterceptRun) -> None:
        self._run = run

    def debug(self, event: str, **fields: object) -> None:
        """Of no use but for debugging."""
        if self._run.settings.log_level is LogLevel.DEBUG:
            self._log().debug(event, **fields)

    def exception(self, event: str, **fields: object) -> None:
        """A mistake, with its traceback."""
        self._log().exception(event, **fields)

    def _log(self) -> structlog.stdlib.BoundLogger:
        import structlog  # noqa: PLC0415 - seldom needed

        from ppmproxy.auth.redaction import Redactor  # noqa: PLC0415
        from ppmproxy.server.logs import line_style, set_up_logs  # noqa: PLC0415

        if not structlog.is_configured():  # beside a daemon in another process
            settings, context = self._run.settings, self._run.context
            style = line_style(context.environ)
            set_up_logs(Redactor(), settings.log_level, settings.log_format, context.err, style)
        log: structlog.stdlib.BoundLogger = structlog.get_logger("ppmproxy")
        return log


def _own_ports(run: InterceptRun) -> frozenset[int]:
    """The ports of the proxy and the daemon, to which no tunnel may lead."""
    ports = {address.port for address in run.settings.listen if isinstance(address, TcpAddress)}
    return frozenset({int(run.listener.getsockname()[1]), *ports} - {0})


def _forward_proxy(authority: Authority) -> str | None:
    """The forward proxy that the environment names for a host, as the client itself would have used it."""
    try:
        return proxy_for(f"https://{authority}", "environment")
    except UpstreamError as error:
        raise ConnectRefusedError(HTTPStatus.BAD_GATEWAY, str(error)) from error
