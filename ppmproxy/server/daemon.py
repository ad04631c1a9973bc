"""The wiring: which objects exist, which checks every request passes, start and stop.

To change what lives as long as the daemon, open this file.

Two things hold for every request, those with a target that makes no sense included: it is answered and written to the
log once (`Front.answer`), and its client is admitted first (`local_access`). aiohttp's low-level server is used,
without a router, because the raw target decides and a router would parse it first.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import structlog
from aiohttp import web
from multidict import CIMultiDict

from ppmproxy.access.access_control import AccessControl
from ppmproxy.access.daemon_identity import ADMIN_HEADER, place_of
from ppmproxy.access.listeners import BACKLOG, Shortage, open_listeners, url_of
from ppmproxy.access.policy import allowed_hosts, check_client
from ppmproxy.auth.paths import checked_target
from ppmproxy.auth.redaction import Redactor
from ppmproxy.config.local_address import is_loopback_host
from ppmproxy.config.model import Settings, Upstream
from ppmproxy.environment import Environment
from ppmproxy.errors import ConfigError, PpmProxyError
from ppmproxy.index.routing import OwnPage, ResourceKind, Target, target_of
from ppmproxy.server import handler
from ppmproxy.server.admin.routes import READY, OwnPages, OwnRequest
from ppmproxy.server.connection import ClientServer, check_connection, is_cut
from ppmproxy.server.error_responses import ClientContext, ErrorResponse, render_error
from ppmproxy.server.handler import Services
from ppmproxy.server.headers import AGAINST_BROWSERS, ON_OWN_PAGES
from ppmproxy.server.probe import UpstreamProbe
from ppmproxy.server.reload import Draining, merge_reloadable
from ppmproxy.server.sd_notify import listening_on
from ppmproxy.server.state import CLIENT_LEFT, DRAIN_TIMEOUT, Metrics, RequestRecord
from ppmproxy.server.wiring import SignInUi, build_sessions


class InternalError(PpmProxyError):
    """A mistake in this program; the log has the traceback, the client does not."""

    code = "internal"
    status = 500
    title = "ppmproxy made a mistake"


@dataclass(slots=True)
class Front:
    """What every request meets first and last."""

    services: Services
    pages: OwnPages
    probe: UpstreamProbe
    log: structlog.stdlib.BoundLogger = field(default_factory=lambda: structlog.get_logger("ppmproxy"))

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, whatever happens, and write its one log line."""
        with self.services.in_flight_requests.serving():
            return await self._answer(request, self.services)

    async def _answer(self, request: web.BaseRequest, services: Services) -> web.StreamResponse:
        record = RequestRecord(request.method, _path_for_log(request))
        started = time.perf_counter()
        services.metrics.in_flight += 1
        asked = ClientContext(None, request.headers.get("User-Agent", ""))
        try:
            check_connection(request)
            checked_target(request.raw_path)  # what is malformed is told so, whichever Host it names
            check_client(list(request.headers.items()), request.raw_path, services.allowed_hosts)
            target = target_of(request.method, request.raw_path, services.settings.upstreams)
            if isinstance(target, OwnPage):
                return self._response(self._own_page(request, target), record)
            record.upstream, record.kind = target.upstream.name, target.kind.value
            asked = ClientContext(target.kind, asked.user_agent)
            return await self._forwarded(services, request, target, record)
        except PpmProxyError as error:
            return self._told(error, asked, record)
        except (ConnectionError, asyncio.CancelledError):
            record.code = record.code or (DRAIN_TIMEOUT if is_cut(request) else CLIENT_LEFT)
            raise
        except Exception as error:
            self.log.exception("request_failed", path=record.path, exc_info=error)
            if record.status:  # the head is out, so only the connection's end can tell
                record.code = InternalError.code
                handler.cut(request)
                raise ConnectionResetError from error
            return self._told(InternalError("an unforeseen error", "see the log, and report it"), asked, record)
        finally:
            services.metrics.in_flight -= 1
            services.metrics.add(record)
            self._log_request(record, time.perf_counter() - started)

    def _log_request(self, record: RequestRecord, seconds: float) -> None:
        log = self.log.warning if record.has_failed else self.log.info
        if record.is_own_page and record.status < 400:  # noqa: PLR2004
            log = self.log.debug  # health checks come every few seconds, and say nothing as long as they succeed
        log("request", **record.fields(seconds))

    async def _forwarded(
        self, services: Services, request: web.BaseRequest, target: Target, record: RequestRecord
    ) -> web.StreamResponse:
        metrics = services.metrics
        metrics.forwarding += 1
        try:
            response = await handler.handle(services, request, target, record)
            if response.prepared and target.kind is not ResourceKind.UPLOAD:
                await _finish(response)
        finally:
            metrics.forwarding -= 1
            metrics.used_at = time.monotonic()
        if not response.prepared:
            response.headers.update(AGAINST_BROWSERS)
        return response

    def _told(self, error: PpmProxyError, asked: ClientContext, record: RequestRecord) -> web.Response:
        record.code, record.detail = error.code, str(error)
        return self._response(render_error(error, asked), record)

    def refusal(self, error: PpmProxyError) -> ErrorResponse:
        """What is said to a client whose request never became one; counted and logged like any other."""
        record = RequestRecord("", "", code=error.code, detail=str(error))
        answer = self._finished(render_error(error, ClientContext()), record)
        self.services.metrics.add(record)
        self._log_request(record, 0)
        return answer

    def _own_page(self, request: web.BaseRequest, page: OwnPage) -> ErrorResponse:
        query = request.raw_path.partition("?")[2]
        place = place_of(request.transport.get_extra_info("sockname")) if request.transport else ""
        if page.path == READY:
            self.probe.look(self.services.sessions)
        return self.pages.answer(OwnRequest(request.method, page.path, query, place, request.headers.get(ADMIN_HEADER)))

    def _response(self, answer: ErrorResponse, record: RequestRecord) -> web.Response:
        told = self._finished(answer, record)
        return web.Response(status=told.status, reason=told.reason, headers=CIMultiDict(told.headers), body=told.body)

    def _finished(self, answer: ErrorResponse, record: RequestRecord) -> ErrorResponse:
        """An answer of our own as it goes out: no secret, and nothing that a browser could make use of."""
        record.status = answer.status
        redactor = self.services.redactor
        headers = {name: redactor.text(value) for name, value in answer.headers.items()} | dict(ON_OWN_PAGES)
        return ErrorResponse(
            answer.status, redactor.text(answer.reason), headers, redactor.text(answer.body.decode()).encode()
        )


async def _finish(response: web.StreamResponse) -> None:
    """Send the end of the body while the request still counts as running."""
    await response.write_eof()


def _path_for_log(request: web.BaseRequest) -> str:
    """Without the query, where signatures stand; and short, whatever was sent."""
    path = request.raw_path.partition("?")[0]
    return path.encode("utf-8", "backslashreplace").decode()[:512]


# --- start and stop ---


@dataclass(frozen=True, slots=True)
class Launch:
    """How a daemon was started: with sockets that listen already, or without; to stay, or with one command."""

    passed: tuple[socket.socket, ...] = ()  # listened on instead of the settings' addresses
    ephemeral: bool = False  # what this user's other commands are told, see `Notice`


@dataclass(frozen=True, slots=True)
class _Making:
    """What services are made of besides the settings."""

    environment: Environment
    redactor: Redactor
    person: SignInUi

    def services(self, settings: Settings, metrics: Metrics) -> Services:
        """`ConfigError` when a certificate cannot be used."""
        sessions = build_sessions(settings.upstreams, self.environment, self.redactor, self.person, metrics)
        return Services(settings, sessions, allowed_hosts(settings), self.redactor, metrics)


class Daemon:
    """The proxy, listening; `start` makes one, `reload` gives it new settings, `stop` ends it in an orderly way."""

    def __init__(
        self, services: Services, making: _Making, access_control: AccessControl, listeners: list[socket.socket]
    ) -> None:
        self.services = services
        self.told_to_end = asyncio.Event()  # by a request; whoever started the daemon waits for this, and stops it
        self.urls = [url_of(listener) for listener in listeners]
        self._making = making
        self._access_control = access_control
        self._listeners = listeners
        self._probe = UpstreamProbe(services.metrics)
        self._front = Front(services, self._own_pages(services), self._probe)
        self._retirement = Draining()
        self._runner: web.ServerRunner | None = None

    @property
    def url(self) -> str:
        """The first address, without a trailing slash."""
        return self.urls[0]

    @classmethod
    async def start(
        cls,
        settings: Settings,
        environment: Environment,
        redactor: Redactor | None = None,
        person: SignInUi | None = None,
        launch: Launch | None = None,
    ) -> Daemon:
        """Bind, wire, and take requests; raises `CannotListenError` or `ConfigError`, and then leaves nothing open."""
        launch = launch or Launch()
        with contextlib.ExitStack() as undo:
            listeners = list(launch.passed) or open_listeners(settings.listen)
            for listener in listeners:
                undo.callback(listener.close)
            settings = listening_on(settings, launch.passed)
            _refuse_to_lead_to_itself(settings.upstreams, listeners)
            access_control = AccessControl.on(listeners, settings, environment)
            access_control.ephemeral = launch.ephemeral
            undo.callback(access_control.close)
            making = _Making(environment, redactor or Redactor(), person or SignInUi())
            services = making.services(settings, Metrics(started_at=time.time(), used_at=time.monotonic()))
            undo.pop_all()
        daemon = cls(services, making, access_control, listeners)
        await daemon._serve()
        return daemon

    def _own_pages(self, services: Services) -> OwnPages:
        access_control, end = self._access_control, self.told_to_end.set
        return OwnPages(
            services.settings,
            services.metrics,
            access_control.key,
            access_control.access,
            end,
            access_control.announce_again,
        )

    async def _serve(self) -> None:
        settings, metrics, front = self.services.settings, self.services.metrics, self._front
        asyncio.get_running_loop().set_exception_handler(Shortage(front.log))
        server = ClientServer(front, self._access_control.admission)
        self._runner = web.ServerRunner(server, shutdown_timeout=settings.drain_timeout)
        await self._runner.setup()
        for listener in self._listeners:
            await web.SockSite(self._runner, listener, backlog=BACKLOG).start()
        metrics.listening = True
        self._access_control.announce(
            self.urls, front.log
        )  # first: who reads "listening" may ask for the proof at once
        upstreams = {upstream.mount: upstream.url for upstream in settings.upstreams}
        front.log.info("listening", urls=self.urls, upstreams=upstreams)

    async def look_around(self) -> None:
        """Look for each upstream's credential before anybody needs it, so that it can be said which there is."""
        services = self.services
        with services.in_flight_requests.serving():
            for session in services.sessions.values():
                await session.look_around()

    def reload(self, settings: Settings) -> None:
        """Have new settings hold for new requests; `ConfigError`, and then everything stays as it was.

        Requests under way finish on what they began with, which is closed after the last of them.
        """
        old, metrics = self.services, self.services.metrics
        settings, _ = merge_reloadable(old.settings, settings)
        _refuse_to_lead_to_itself(settings.upstreams, self._listeners)
        fresh = Metrics(metrics.started_at)
        services = self._making.services(settings, fresh)
        metrics.upstreams = fresh.upstreams
        unchanged = {upstream.name for upstream in settings.upstreams if upstream in old.settings.upstreams}
        metrics.answered_at = {name: at for name, at in metrics.answered_at.items() if name in unchanged}
        metrics.outages = {name: outage for name, outage in metrics.outages.items() if name in unchanged}
        self.services = self._front.services = replace(services, metrics=metrics)
        self._front.pages = self._own_pages(self.services)
        self._retirement.add(old.in_flight_requests, old.close)

    async def stop(self) -> None:
        """Take no more requests, finish those under way within `drain_timeout`, close everything."""
        self.services.metrics.draining = True
        if self._runner is not None:
            await self._runner.cleanup()
        await self._probe.close()
        self._access_control.close()
        await self._retirement.close()
        await self.services.close()


def _refuse_to_lead_to_itself(upstreams: Sequence[Upstream], listeners: Sequence[socket.socket]) -> None:
    """An upstream that is this very proxy, as when somebody pastes the local URL, would answer nobody, ever."""
    ports = {listener.getsockname()[1] for listener in listeners if listener.family != getattr(socket, "AF_UNIX", None)}
    for upstream in upstreams:
        if is_loopback_host(upstream.origin.host) and upstream.origin.port in ports:
            what = f"the upstream {upstream.url} is this proxy itself"
            raise ConfigError(what, "name your Package Manager as the upstream: https://packagemanager.example.com")
