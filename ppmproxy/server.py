"""The wiring: which objects exist, which checks every request passes, start and stop.

To change what lives as long as the daemon, open this file.

Two things hold for every request, those with a target that makes no sense included: it is answered and written to the
log once (`Front.answer`), and its client is admitted first (`local_access`). aiohttp's low-level server is used,
without a router, because the raw target decides and a router would parse it first.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
from dataclasses import dataclass, field
from importlib.metadata import version

import structlog
from aiohttp import web
from multidict import CIMultiDict

from ppmproxy import proxy, status
from ppmproxy.credential_sources import Surroundings
from ppmproxy.errors import PpmProxyError
from ppmproxy.listeners import open_listeners, url_of
from ppmproxy.local_access import allowed_hosts, check_client
from ppmproxy.logs import Mask
from ppmproxy.problem import Answer, Asked, answer_to
from ppmproxy.proxy import Services
from ppmproxy.routing import Kind, OwnPage, Target, target_of
from ppmproxy.settings import Settings
from ppmproxy.status import Account, Tally
from ppmproxy.ways import Person, way_to

MAX_REQUEST_LINE = 8190  # bytes
MAX_HEADERS = 100
IDLE_TIMEOUT = 75.0  # seconds a client's connection is kept without a request


class InternalError(PpmProxyError):
    """A mistake in this program; the log has the traceback, the client does not."""

    code = "internal"
    status = 500
    title = "ppmproxy made a mistake"


@dataclass(slots=True)
class Front:
    """What every request meets first and last."""

    services: Services
    log: structlog.stdlib.BoundLogger = field(default_factory=lambda: structlog.get_logger("ppmproxy"))

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, whatever happens, and write its one log line."""
        services = self.services
        account = Account(request.method, _path_for_log(request))
        started = time.perf_counter()
        services.tally.in_flight += 1
        asked = Asked(None, request.headers.get("User-Agent", ""))
        try:
            check_client(list(request.headers.items()), request.raw_path, services.allowed_hosts)
            target = target_of(request.method, request.raw_path, services.settings.upstreams)
            if isinstance(target, OwnPage):
                return self._own_page(request, target, account)
            account.upstream, account.kind = target.upstream.name, target.kind.value
            asked = Asked(target.kind, asked.user_agent)
            return await self._forwarded(request, target, account)
        except PpmProxyError as error:
            return self._told(error, asked, account)
        except (ConnectionError, asyncio.CancelledError):
            account.code = account.code or "client-left"  # unless it was we who cut the connection
            raise
        except Exception as error:
            self.log.exception("request_failed", path=account.path, exc_info=error)
            return self._told(InternalError("an unforeseen error", "see the log, and report it"), asked, account)
        finally:
            services.tally.in_flight -= 1
            services.tally.add(account)
            self.log.info("request", **account.fields(time.perf_counter() - started))

    async def _forwarded(self, request: web.BaseRequest, target: Target, account: Account) -> web.StreamResponse:
        response = await proxy.handle(self.services, request, target, account)
        if response.prepared and target.kind is not Kind.UPLOAD:
            await _finish(response)
        return response

    def _told(self, error: PpmProxyError, asked: Asked, account: Account) -> web.Response:
        account.code, account.detail = error.code, str(error)
        return self._response(answer_to(error, asked), account)

    def _own_page(self, request: web.BaseRequest, page: OwnPage, account: Account) -> web.Response:
        if request.method not in {"GET", "HEAD"}:
            return self._response(_text(405, "only GET and HEAD are answered here"), account)
        return self._response(own_page(page.path, self.services), account)

    def _response(self, answer: Answer, account: Account) -> web.Response:
        account.status = answer.status
        mask = self.services.mask
        headers = CIMultiDict({name: mask.text(value) for name, value in answer.headers.items()})
        body = mask.text(answer.body.decode()).encode()
        return web.Response(status=answer.status, reason=mask.text(answer.reason), headers=headers, body=body)


async def _finish(response: web.StreamResponse) -> None:
    """Send the end of the body while the request still counts as running."""
    await response.write_eof()


def _path_for_log(request: web.BaseRequest) -> str:
    """Without the query, where signatures stand; and short, whatever was sent."""
    path = request.raw_path.partition("?")[0]
    return path.encode("utf-8", "backslashreplace").decode()[:512]


def own_page(path: str, services: Services) -> Answer:
    """The proxy's own pages, which show no secret."""
    tally = services.tally
    if path == "/-/live":
        return _text(200, "alive")
    if path == "/-/startup":
        return _text(200, "started") if tally.listening else _text(503, "starting: not listening yet")
    if path == "/-/ready":
        why = status.readiness(tally)
        return _text(503, why) if why else _text(200, "ready")
    if path == "/-/status":
        document = status.report(tally, services.settings.upstreams, version("ppmproxy"))
        body = json.dumps(document, indent=2).encode() + b"\n"
        return Answer(200, "OK", {"Content-Type": "application/json", "Cache-Control": "no-store"}, body)
    return _text(404, "no such page of ppmproxy; there are /-/live, /-/ready, /-/startup and /-/status")


def _text(code: int, line: str) -> Answer:
    headers = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store"}
    return Answer(code, {200: "OK", 404: "Not Found", 405: "Method Not Allowed"}.get(code, "Service Unavailable"),
                  headers, line.encode() + b"\n")  # fmt: skip


# --- start and stop ---


class Daemon:
    """The proxy, listening; `start` makes one, `stop` ends it in an orderly way."""

    def __init__(self, services: Services, listeners: list[socket.socket]) -> None:
        self.services = services
        self.urls = [url_of(listener) for listener in listeners]
        self._listeners = listeners
        self._runner: web.ServerRunner | None = None

    @property
    def url(self) -> str:
        """The first address, without a trailing slash."""
        return self.urls[0]

    @classmethod
    async def start(
        cls, settings: Settings, around: Surroundings, mask: Mask | None = None, person: Person | None = None
    ) -> Daemon:
        """Bind, wire, and take requests; raises `CannotListenError` or `ConfigError`, and then leaves nothing open."""
        listeners = open_listeners(settings.listen)
        try:
            services = _services(settings, around, mask or Mask(), person or Person())
        except BaseException:
            for listener in listeners:
                listener.close()
            raise
        daemon = cls(services, listeners)
        await daemon._serve()
        return daemon

    async def _serve(self) -> None:
        front = Front(self.services)
        server = web.Server(
            front.answer,
            handler_cancellation=True,  # a client that leaves ends its upstream request too
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=IDLE_TIMEOUT,
            max_line_size=MAX_REQUEST_LINE,
            max_headers=MAX_HEADERS,
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=self.services.settings.drain_timeout)
        await self._runner.setup()
        for listener in self._listeners:
            await web.SockSite(self._runner, listener).start()
        self.services.tally.listening = True
        upstreams = {upstream.mount: upstream.url for upstream in self.services.settings.upstreams}
        front.log.info("listening", urls=self.urls, upstreams=upstreams)

    async def stop(self) -> None:
        """Take no more requests, finish those under way within `drain_timeout`, close everything."""
        self.services.tally.draining = True
        if self._runner is not None:
            await self._runner.cleanup()
        for way in self.services.ways.values():
            await way.desk.close()
            await way.client.close()


def _services(settings: Settings, around: Surroundings, mask: Mask, person: Person) -> Services:
    ways = {upstream.name: way_to(upstream, around, mask, person) for upstream in settings.upstreams}
    return Services(settings, ways, allowed_hosts(settings), mask, Tally(started_at=time.time()))
