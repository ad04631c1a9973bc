"""What `ppmproxy exec --intercept` adds to a command: a CONNECT proxy beside it, and the variables that lead there."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from pathlib import Path

import structlog

from ppmproxy.access.access_control import AccessControl
from ppmproxy.access.daemon_identity import verify_daemon
from ppmproxy.access.runtime_dir import runtime_folders
from ppmproxy.auth.redaction import Redactor
from ppmproxy.cli import event_loop
from ppmproxy.cli.context import Context, current_folder
from ppmproxy.clients.index_url import Index
from ppmproxy.clients.intercepting import Interception, intercept_variables
from ppmproxy.clients.overruling import overruling_settings
from ppmproxy.clients.survey import survey
from ppmproxy.clients.trust_bundle import trust_files
from ppmproxy.config.model import Settings, Upstream
from ppmproxy.environment import Environment
from ppmproxy.errors import CannotListenError, ConfigError, UpstreamError, UsageError
from ppmproxy.server.intercept.authority import RunAuthority
from ppmproxy.server.intercept.connect_proxy import ConnectProxy
from ppmproxy.server.intercept.connect_request import USER, Authority, ConnectRefusedError, ConnectRules
from ppmproxy.server.intercept.relay import DaemonAddress, Relay, authority_of_upstream
from ppmproxy.server.logs import set_up_logs
from ppmproxy.upstream.forward_proxy import proxy_for

START_TIMEOUT = 10.0  # seconds
STOP_TIMEOUT = 10.0  # seconds
PASSWORD_BYTES = 24


@contextlib.contextmanager
def intercepting(settings: Settings, index: Index, context: Context) -> Iterator[dict[str, str]]:
    """The variables for a command, whose https requests to the upstreams are answered while this lasts."""
    environment = replace(context.environment, cwd=current_folder())
    upstreams = _interceptable(settings)
    for setting in overruling_settings(environment):
        context.print_err(f"ppmproxy: {setting}, and so may not come through this proxy")
    if not structlog.is_configured():  # beside a daemon in another process
        set_up_logs(Redactor(), settings.log_level, settings.log_format, context.err)
    thread = InterceptThread(settings, _daemon(index, context), environment)
    thread.start()
    try:
        with _files(thread.certificate, settings, context) as (bundle, wgetrc):
            found = survey(environment)
            interception = Interception(thread.proxy_url, bundle, wgetrc, frozenset(_hosts(upstreams)), index.real_url)
            yield intercept_variables(interception, found.settings, context.environ, str(index.origin))
        _note_what_was_not_asked(thread.asked, upstreams, context)
    finally:
        thread.stop()


def _interceptable(settings: Settings) -> list[Upstream]:
    found = [upstream for upstream in settings.upstreams if upstream.url.startswith("https:")]
    if not found:
        raise UsageError("exec: --intercept is for https upstreams, and there is none", "run it without --intercept")
    return found


def _hosts(upstreams: list[Upstream]) -> set[str]:
    return {authority_of_upstream(upstream).host for upstream in upstreams}


def _daemon(index: Index, context: Context) -> DaemonAddress:
    """The daemon that answers, and the key by which it knows this user's commands."""
    url = str(index.origin)
    with verify_daemon(url, runtime_folders(context.environment)) as found:
        if found.record is None:
            what = f"the proxy at {url} cannot prove to be yours: {found.verdict.value}"
            raise ConfigError(what, found.verdict.remedy)
        return DaemonAddress(url, found.record.key)


@contextlib.contextmanager
def _files(certificate: str, settings: Settings, context: Context) -> Iterator[tuple[Path, Path]]:
    further = [upstream.ca_file for upstream in settings.upstreams if upstream.ca_file is not None]
    with contextlib.ExitStack() as stack:
        try:
            files = stack.enter_context(trust_files(certificate, context.environ, further))
        except OSError as error:
            what = f"the certificates for the command cannot be written: {(error.strerror or str(error)).lower()}"
            raise ConfigError(what, "free some space in the folder for temporary files, or set TMPDIR") from error
        yield files.bundle, files.wgetrc


def _note_what_was_not_asked(asked: set[Authority], upstreams: list[Upstream], context: Context) -> None:
    missed = sorted({str(upstream.origin) for upstream in upstreams if authority_of_upstream(upstream) not in asked})
    if missed:
        context.print_err(f"ppmproxy: the command asked nothing of {', '.join(missed)}")


@dataclass(slots=True)
class InterceptThread:
    """A CONNECT proxy in a thread; `start` returns when it listens, `stop` ends it with all its tunnels."""

    settings: Settings
    daemon: DaemonAddress
    environment: Environment
    certificate: str = ""  # of the run's authority, in PEM
    proxy_url: str = field(default="", repr=False)
    asked: set[Authority] = field(default_factory=set)  # upstreams of which something was asked
    _up: threading.Event = field(default_factory=threading.Event, repr=False)
    _failure: BaseException | None = None
    _loop: asyncio.AbstractEventLoop | None = field(default=None, repr=False)
    _stop: asyncio.Event | None = field(default=None, repr=False)
    _thread: threading.Thread | None = field(default=None, repr=False)

    def start(self) -> None:
        """Raises what keeps it from listening."""
        self._thread = threading.Thread(target=self._run, name="ppmproxy-intercept", daemon=True)
        self._thread.start()
        self._up.wait()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """End it, whatever is still open."""
        if self._loop is not None and self._stop is not None and self._thread is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(STOP_TIMEOUT)

    def _run(self) -> None:
        try:
            event_loop.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - handed over to whoever started the thread
            self._failure = error
        finally:
            self._up.set()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        upstreams = _interceptable(self.settings)
        authorities = frozenset(map(authority_of_upstream, upstreams))
        authority = RunAuthority(_hosts(upstreams))
        relay = Relay(self.daemon, upstreams)
        self.asked = relay.asked
        listener = _listener()
        control = AccessControl.on([listener], self.settings, self.environment)
        password = secrets.token_urlsafe(PASSWORD_BYTES)
        rules = ConnectRules(authorities, _own_ports(listener, self.settings), password)
        proxy = ConnectProxy(rules, authority, control.admission, relay.handler_for, _forward_proxy)
        server = await self._loop.create_server(proxy, sock=listener)
        self.certificate = authority.pem
        self.proxy_url = f"http://{USER}:{password}@127.0.0.1:{listener.getsockname()[1]}"
        self._up.set()
        try:
            await self._stop.wait()
        finally:
            server.close()
            proxy.close()
            await relay.close()
            control.close()


def _listener() -> socket.socket:
    try:
        return socket.create_server(("127.0.0.1", 0), backlog=512)
    except OSError as error:
        raise CannotListenError(f"no port is free: {(error.strerror or str(error)).lower()}", "try again") from error


def _own_ports(listener: socket.socket, settings: Settings) -> frozenset[int]:
    ports = (getattr(address, "port", 0) for address in settings.listen)
    return frozenset({int(listener.getsockname()[1]), *ports} - {0})


def _forward_proxy(authority: Authority) -> str | None:
    """What the environment names for another host; tunnels go where the client's own requests would have gone."""
    try:
        return proxy_for(f"https://{authority}", "environment")
    except UpstreamError as error:
        raise ConnectRefusedError(HTTPStatus.BAD_GATEWAY, str(error)) from error
