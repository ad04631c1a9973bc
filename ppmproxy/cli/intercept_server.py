"""The server of `ppmproxy exec --intercept`: an event loop with the CONNECT proxy and the relay to the daemon."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

import structlog

from ppmproxy.access.access_control import AccessControl
from ppmproxy.auth.redaction import Redactor
from ppmproxy.cli import event_loop
from ppmproxy.cli.intercept_run import InterceptRun
from ppmproxy.config.local_address import TcpAddress
from ppmproxy.errors import UpstreamError
from ppmproxy.server.intercept.connect_proxy import ConnectProxy
from ppmproxy.server.intercept.connect_request import (
    Authority,
    ConnectRefusedError,
    ConnectRules,
    authority_of_upstream,
)
from ppmproxy.server.intercept.relay import DaemonAddress, InterceptRelay
from ppmproxy.server.logs import set_up_logs
from ppmproxy.upstream.forward_proxy import proxy_for


def serve(run: InterceptRun) -> None:
    """Serve until the command has ended; raises the error that keeps it from serving."""
    if not structlog.is_configured():  # beside a daemon in another process
        set_up_logs(Redactor(), run.settings.log_level, run.settings.log_format, run.context.err)
    event_loop.run(_serve(run))


async def _serve(run: InterceptRun) -> None:
    relay = InterceptRelay(DaemonAddress(run.daemon_url, run.daemon_key, run.find_daemon_key), run.upstreams, run.asked)
    control = AccessControl.on([run.listener], run.settings, run.context.environment)
    rules = ConnectRules(frozenset(map(authority_of_upstream, run.upstreams)), _own_ports(run), run.password)
    proxy = ConnectProxy(rules, run.authority, control.admission, relay.handler_for, _forward_proxy)
    server = await asyncio.get_running_loop().create_server(proxy, sock=run.listener)
    try:
        await asyncio.to_thread(run.ended.wait)
    finally:
        server.close()
        proxy.close()
        await relay.close()
        control.close()


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
