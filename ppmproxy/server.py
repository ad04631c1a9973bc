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

from ppmproxy import proxy
from ppmproxy.connections import ClientServer, check_connection, is_cut
from ppmproxy.credential_sources import Surroundings
from ppmproxy.errors import ConfigError, PpmProxyError
from ppmproxy.guard import Guard
from ppmproxy.headers import AGAINST_BROWSERS, ON_OWN_PAGES
from ppmproxy.identity_proof import ACTING_HEADER, place_of
from ppmproxy.listeners import BACKLOG, Shortage, open_listeners, url_of
from ppmproxy.local_access import allowed_hosts, check_client
from ppmproxy.logs import Mask
from ppmproxy.lookout import Lookout
from ppmproxy.own_pages import READY, OwnPages, OwnRequest
from ppmproxy.problem import Answer, Asked, answer_to
from ppmproxy.proxy import Services
from ppmproxy.routing import Kind, OwnPage, Target, checked_target, target_of
from ppmproxy.settings import Settings, Upstream, is_loopback_host
from ppmproxy.status import CLIENT_LEFT, DRAIN_TIMEOUT, Account, Tally
from ppmproxy.succession import Retirement, taking_over
from ppmproxy.systemd import listening_on
from ppmproxy.ways import Person, ways_to


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
    lookout: Lookout
    log: structlog.stdlib.BoundLogger = field(default_factory=lambda: structlog.get_logger("ppmproxy"))

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, whatever happens, and write its one log line."""
        with self.services.tenure.serving():
            return await self._answer(request, self.services)

    async def _answer(self, request: web.BaseRequest, services: Services) -> web.StreamResponse:
        account = Account(request.method, _path_for_log(request))
        started = time.perf_counter()
        services.tally.in_flight += 1
        asked = Asked(None, request.headers.get("User-Agent", ""))
        try:
            check_connection(request)
            checked_target(request.raw_path)  # what is malformed is told so, whichever Host it names
            check_client(list(request.headers.items()), request.raw_path, services.allowed_hosts)
            target = target_of(request.method, request.raw_path, services.settings.upstreams)
            if isinstance(target, OwnPage):
                return self._response(self._own_page(request, target), account)
            account.upstream, account.kind = target.upstream.name, target.kind.value
            asked = Asked(target.kind, asked.user_agent)
            return await self._forwarded(services, request, target, account)
        except PpmProxyError as error:
            return self._told(error, asked, account)
        except (ConnectionError, asyncio.CancelledError):
            account.code = account.code or (DRAIN_TIMEOUT if is_cut(request) else CLIENT_LEFT)
            raise
        except Exception as error:
            self.log.exception("request_failed", path=account.path, exc_info=error)
            if account.status:  # the head is out, so only the connection's end can tell
                account.code = InternalError.code
                proxy.cut(request)
                raise ConnectionResetError from error
            return self._told(InternalError("an unforeseen error", "see the log, and report it"), asked, account)
        finally:
            services.tally.in_flight -= 1
            services.tally.add(account)
            self._log_request(account, time.perf_counter() - started)

    def _log_request(self, account: Account, seconds: float) -> None:
        log = self.log.warning if account.has_failed else self.log.info
        if account.is_own_page and account.status < 400:  # noqa: PLR2004
            log = self.log.debug  # health checks come every few seconds, and say nothing as long as they succeed
        log("request", **account.fields(seconds))

    async def _forwarded(
        self, services: Services, request: web.BaseRequest, target: Target, account: Account
    ) -> web.StreamResponse:
        tally = services.tally
        tally.forwarding += 1
        try:
            response = await proxy.handle(services, request, target, account)
            if response.prepared and target.kind is not Kind.UPLOAD:
                await _finish(response)
        finally:
            tally.forwarding -= 1
            tally.used_at = time.monotonic()
        if not response.prepared:
            response.headers.update(AGAINST_BROWSERS)
        return response

    def _told(self, error: PpmProxyError, asked: Asked, account: Account) -> web.Response:
        account.code, account.detail = error.code, str(error)
        return self._response(answer_to(error, asked), account)

    def refusal(self, error: PpmProxyError) -> Answer:
        """What is said to a client whose request never became one; counted and logged like any other."""
        account = Account("", "", code=error.code, detail=str(error))
        answer = self._finished(answer_to(error, Asked()), account)
        self.services.tally.add(account)
        self._log_request(account, 0)
        return answer

    def _own_page(self, request: web.BaseRequest, page: OwnPage) -> Answer:
        query = request.raw_path.partition("?")[2]
        place = place_of(request.transport.get_extra_info("sockname")) if request.transport else ""
        if page.path == READY:
            self.lookout.look(self.services.ways)
        return self.pages.answer(
            OwnRequest(request.method, page.path, query, place, request.headers.get(ACTING_HEADER))
        )

    def _response(self, answer: Answer, account: Account) -> web.Response:
        told = self._finished(answer, account)
        return web.Response(status=told.status, reason=told.reason, headers=CIMultiDict(told.headers), body=told.body)

    def _finished(self, answer: Answer, account: Account) -> Answer:
        """An answer of our own as it goes out: no secret, and nothing that a browser could make use of."""
        account.status = answer.status
        mask = self.services.mask
        headers = {name: mask.text(value) for name, value in answer.headers.items()} | dict(ON_OWN_PAGES)
        return Answer(answer.status, mask.text(answer.reason), headers, mask.text(answer.body.decode()).encode())


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
    for_a_while: bool = False  # what this user's other commands are told, see `Notice`


@dataclass(frozen=True, slots=True)
class _Making:
    """What services are made of besides the settings."""

    around: Surroundings
    mask: Mask
    person: Person

    def services(self, settings: Settings, tally: Tally) -> Services:
        """`ConfigError` when a certificate cannot be used."""
        ways = ways_to(settings.upstreams, self.around, self.mask, self.person, tally)
        return Services(settings, ways, allowed_hosts(settings), self.mask, tally)


class Daemon:
    """The proxy, listening; `start` makes one, `reload` gives it new settings, `stop` ends it in an orderly way."""

    def __init__(self, services: Services, making: _Making, guard: Guard, listeners: list[socket.socket]) -> None:
        self.services = services
        self.told_to_end = asyncio.Event()  # by a request; whoever started the daemon waits for this, and stops it
        self.urls = [url_of(listener) for listener in listeners]
        self._making = making
        self._guard = guard
        self._listeners = listeners
        self._lookout = Lookout(services.tally)
        self._front = Front(services, self._own_pages(services), self._lookout)
        self._retirement = Retirement()
        self._runner: web.ServerRunner | None = None

    @property
    def url(self) -> str:
        """The first address, without a trailing slash."""
        return self.urls[0]

    @classmethod
    async def start(
        cls,
        settings: Settings,
        around: Surroundings,
        mask: Mask | None = None,
        person: Person | None = None,
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
            guard = Guard.on(listeners, settings, around)
            guard.for_a_while = launch.for_a_while
            undo.callback(guard.close)
            making = _Making(around, mask or Mask(), person or Person())
            services = making.services(settings, Tally(started_at=time.time(), used_at=time.monotonic()))
            undo.pop_all()
        daemon = cls(services, making, guard, listeners)
        await daemon._serve()
        return daemon

    def _own_pages(self, services: Services) -> OwnPages:
        guard, end = self._guard, self.told_to_end.set
        return OwnPages(services.settings, services.tally, guard.key, guard.access, end, guard.announce_again)

    async def _serve(self) -> None:
        settings, tally, front = self.services.settings, self.services.tally, self._front
        asyncio.get_running_loop().set_exception_handler(Shortage(front.log))
        server = ClientServer(front, self._guard.door)
        self._runner = web.ServerRunner(server, shutdown_timeout=settings.drain_timeout)
        await self._runner.setup()
        for listener in self._listeners:
            await web.SockSite(self._runner, listener, backlog=BACKLOG).start()
        tally.listening = True
        self._guard.announce(self.urls, front.log)  # first: who reads "listening" may ask for the proof at once
        upstreams = {upstream.mount: upstream.url for upstream in settings.upstreams}
        front.log.info("listening", urls=self.urls, upstreams=upstreams)

    async def look_around(self) -> None:
        """Look for each upstream's credential before anybody needs it, so that it can be said which there is."""
        services = self.services
        with services.tenure.serving():
            for way in services.ways.values():
                await way.look_around()

    def reload(self, settings: Settings) -> None:
        """Have new settings hold for new requests; `ConfigError`, and then everything stays as it was.

        Requests under way finish on what they began with, which is closed after the last of them.
        """
        old, tally = self.services, self.services.tally
        settings, _ = taking_over(old.settings, settings)
        _refuse_to_lead_to_itself(settings.upstreams, self._listeners)
        fresh = Tally(tally.started_at)
        services = self._making.services(settings, fresh)
        tally.standings = fresh.standings
        unchanged = {upstream.name for upstream in settings.upstreams if upstream in old.settings.upstreams}
        tally.answered_at = {name: at for name, at in tally.answered_at.items() if name in unchanged}
        tally.silences = {name: silence for name, silence in tally.silences.items() if name in unchanged}
        self.services = self._front.services = replace(services, tally=tally)
        self._front.pages = self._own_pages(self.services)
        self._retirement.add(old.tenure, old.close)

    async def stop(self) -> None:
        """Take no more requests, finish those under way within `drain_timeout`, close everything."""
        self.services.tally.draining = True
        if self._runner is not None:
            await self._runner.cleanup()
        await self._lookout.close()
        self._guard.close()
        await self._retirement.close()
        await self.services.close()


def _refuse_to_lead_to_itself(upstreams: Sequence[Upstream], listeners: Sequence[socket.socket]) -> None:
    """An upstream that is this very proxy, as when somebody pastes the local URL, would answer nobody, ever."""
    ports = {listener.getsockname()[1] for listener in listeners if listener.family != getattr(socket, "AF_UNIX", None)}
    for upstream in upstreams:
        if is_loopback_host(upstream.origin.host) and upstream.origin.port in ports:
            what = f"the upstream {upstream.url} is this proxy itself"
            raise ConfigError(what, "name your Package Manager as the upstream: https://packagemanager.example.com")
