"""The dispatcher: the checks that every request passes, its routing, its one log line.

Two things hold for every request, a malformed one included: it is answered and logged once (`Dispatcher.answer`), and
its client is admitted first (`check_connection`, `check_client`). aiohttp's low-level server is used, without a router:
the raw target decides, and a router would parse it first.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING

import structlog
from aiohttp import web
from multidict import CIMultiDict

from ppmproxy.access.browsers import METRICS, PAGE, Visit
from ppmproxy.access.identity_key import ADMIN_HEADER, DOCTOR, INTERCEPT_HEADER, PAGE_HEADER, endpoint_of
from ppmproxy.access.policy import ForbiddenUserError, check_client
from ppmproxy.access.refusal_log import RefusalLog
from ppmproxy.auth.paths import checked_target
from ppmproxy.auth.redaction import Redactor
from ppmproxy.config.model import Upstream
from ppmproxy.errors import PpmProxyError, RefusedError
from ppmproxy.index.routing import OwnPage, ResourceKind, Target, kind_by_shape, real_target_of, target_of
from ppmproxy.server.admin.routes import READY, AdminPages, AdminRequest, is_for_people
from ppmproxy.server.connection import check_connection, has_left_in_order, is_cut, is_own_user
from ppmproxy.server.delivery import cut
from ppmproxy.server.error_responses import ClientContext, ErrorResponse, render_error
from ppmproxy.server.handler import handle
from ppmproxy.server.headers import AGAINST_BROWSERS, ON_OWN_PAGES
from ppmproxy.server.probe import UpstreamProbe
from ppmproxy.server.request_record import CLIENT_LEFT, DRAIN_TIMEOUT, LONGEST_USER_AGENT, RequestRecord
from ppmproxy.server.wiring import Services

if TYPE_CHECKING:
    from ppmproxy.server.admin.person_page import PersonPage


class InternalError(PpmProxyError):
    """A mistake in this program; the log has the traceback, the client does not."""

    code = "internal"
    status = 500
    title = "unexpected failure of ppmproxy"


class StoppingError(RefusedError):
    """The daemon finishes its running requests and takes no new ones. pip and uv retry for some seconds after a 503."""

    code = "stopping"
    status = 503
    title = "ppmproxy is stopping"


@dataclass(slots=True)
class Dispatcher:
    """Answers every request: checks it, routes it, and logs it."""

    services: Services
    pages: AdminPages
    probe: UpstreamProbe
    log: structlog.typing.FilteringBoundLogger = field(default_factory=lambda: structlog.get_logger("ppmproxy"))
    refusals: RefusalLog = field(init=False)
    person_page: PersonPage | None = field(init=False, default=None)  # once somebody has asked for it

    def __post_init__(self) -> None:
        self.refusals = RefusalLog(self.log)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request in any case, and write its one log line."""
        with self.services.in_flight:
            return await self._answer(request, self.services)

    async def _answer(self, request: web.BaseRequest, services: Services) -> web.StreamResponse:
        record = RequestRecord(request.method, _path_for_log(request, services.redactor))
        record.user_agent = services.redactor.text(request.headers.get("User-Agent", ""))[:LONGEST_USER_AGENT]
        started = time.perf_counter()
        services.state.record_start()
        client = ClientContext(None, request.headers.get("User-Agent", ""))
        refused: PpmProxyError | None = None
        try:
            await check_connection(request)
            checked_target(request.raw_path)  # first: a malformed target is reported as that, with any Host
            headers = list(request.headers.items())
            visit = check_client(headers, request.raw_path, services.allowed_hosts, request.method)
            if visit is Visit.AT_ROOT:
                return self._response(_TO_THE_PAGE, record)
            target = self._target_of(request, services.settings.upstreams)
            if isinstance(target, OwnPage):
                return await self._own_page(request, target, visit, record)
            _check_not_stopping(services)
            record.upstream, record.kind = target.upstream.name, target.kind.value
            client = ClientContext(target.kind, client.user_agent)
            return await self._forwarded(services, request, target, record)
        except ForbiddenUserError as error:  # before anything was looked at, so that the path's shape has to do
            refused = error
            client = ClientContext(kind_by_shape(request.raw_path), client.user_agent)
            return self._explained(error, client, record)
        except PpmProxyError as error:
            refused = error
            return self._explained(error, client, record)
        except (ConnectionError, asyncio.CancelledError):
            if not (record.is_whole and has_left_in_order(request)):
                record.code = record.code or (DRAIN_TIMEOUT if is_cut(request) else CLIENT_LEFT)
                record.is_cut = bool(record.status)
            raise
        except Exception as error:
            self.log.exception("request_failed", path=record.path, exc_info=error)
            if record.status:  # the head is out, so only the connection's end can tell
                record.code, record.is_cut = InternalError.code, True
                cut(request)
                raise ConnectionResetError from error
            return self._explained(
                InternalError("ppmproxy failed unexpectedly", "see its log, and report it"), client, record
            )
        finally:
            record.seconds = time.perf_counter() - started
            services.state.record_end(record)
            self._log_request(record, record.seconds, refused)

    def _target_of(self, request: web.BaseRequest, upstreams: Sequence[Upstream]) -> Target | OwnPage:
        """What a request asks for: by its local path, or by the real URL for `exec --intercept`."""
        intercepted = request.headers.getall(INTERCEPT_HEADER, [])
        if not intercepted:
            return target_of(request.method, request.raw_path, upstreams)
        origin = self.pages.key.intercepted_origin(intercepted, request.method, request.raw_path)
        return real_target_of(request.method, request.raw_path, origin, upstreams)

    def _log_request(self, record: RequestRecord, seconds: float, refused: PpmProxyError | None) -> None:
        if isinstance(refused, ForbiddenUserError):
            self.refusals.record(refused.uid, lambda: self.log.warning("request", **record.fields(seconds)))
            return
        log = self.log.warning if record.has_failed else self.log.info
        if record.is_own_page and record.status < HTTPStatus.BAD_REQUEST:
            log = self.log.debug  # health checks come every few seconds, and say nothing as long as they succeed
        log("request", **record.fields(seconds))

    async def _forwarded(
        self, services: Services, request: web.BaseRequest, target: Target, record: RequestRecord
    ) -> web.StreamResponse:
        services.state.record_forwarding()
        try:
            response = await handle(services, request, target, record)
            if response.prepared and target.kind is not ResourceKind.UPLOAD:
                await _finish(response)
        finally:
            services.state.record_forwarded(time.monotonic())
        if not response.prepared:
            response.headers.update(AGAINST_BROWSERS)
        return response

    def _explained(self, error: PpmProxyError, client: ClientContext, record: RequestRecord) -> web.Response:
        record.code, record.detail, record.hint = error.code, str(error), error.hint
        return self._response(render_error(error, client), record)

    def refusal(self, error: PpmProxyError) -> ErrorResponse:
        """The response to an incomplete or malformed request; counted and logged like any other."""
        record = RequestRecord("", "", code=error.code, detail=str(error))
        answer = self._finished(render_error(error, ClientContext()), record)
        self.services.state.record_request(record)
        self._log_request(record, 0, error)
        return answer

    async def _own_page(
        self, request: web.BaseRequest, page: OwnPage, visit: Visit, record: RequestRecord
    ) -> web.StreamResponse:
        if is_for_people(page.path):
            return await self._for_people(request, page, visit, record)
        if page.path == METRICS and self.services.store is not None:
            await self.services.store.count()
        asked = _admin_request(request, page)
        if page.path == DOCTOR:
            return self._response(await self.pages.checked(asked, self.services.redactor), record)
        if page.path == READY:
            self._probe_upstreams()
        return self._response(self.pages.answer(asked), record)

    async def _for_people(
        self, request: web.BaseRequest, page: OwnPage, visit: Visit, record: RequestRecord
    ) -> web.StreamResponse:
        from ppmproxy.server.admin.person_page import EVENTS, PersonRequest  # noqa: PLC0415 - once somebody looks

        query = request.raw_path.partition("?")[2]
        token = request.headers.get(PAGE_HEADER)
        asked = PersonRequest(request.method, page.path, query, visit, is_own_user(request), token)
        if page.path != EVENTS or request.method != "GET":
            return self._response(await self._page_for_people().answer(asked), record)
        _check_not_stopping(self.services)
        record.status = int(HTTPStatus.OK)
        return await self._page_for_people().stream(request, asked)

    def _page_for_people(self) -> PersonPage:
        """The page, which nothing of is loaded before somebody asks for it."""
        from ppmproxy.server.admin.diagnosis import Diagnosis  # noqa: PLC0415 - as above
        from ppmproxy.server.admin.person_page import PersonPage  # noqa: PLC0415

        if self.person_page is None:
            pages = self.pages
            self.person_page = PersonPage(
                pages.key,
                self.services,
                pages.access,
                pages.urls,
                self._probe_upstreams,
                pages.now,
                Diagnosis(pages.diagnose) if pages.diagnose else None,
            )
        return self.person_page

    def _probe_upstreams(self) -> None:
        self.probe.poke(self.services.sessions, self.services.in_flight)

    def use(self, services: Services, pages: AdminPages) -> None:
        """Answer from now on by new settings; open windows connect again."""
        self.services, self.pages = services, pages
        if self.person_page is not None:
            self.person_page.services = services
            self.person_page.feed.end()

    async def end_page(self) -> None:
        """End what would otherwise be under way for long: the daemon stops."""
        if self.person_page is not None:
            await self.person_page.end()

    def _response(self, answer: ErrorResponse, record: RequestRecord) -> web.Response:
        sent = self._finished(answer, record)
        return web.Response(status=sent.status, reason=sent.reason, headers=CIMultiDict(sent.headers), body=sent.body)

    def _finished(self, answer: ErrorResponse, record: RequestRecord) -> ErrorResponse:
        """An answer of our own as it goes out: no secret, and nothing that a browser could make use of."""
        record.status = int(answer.status)
        redactor = self.services.redactor
        headers = {**dict(ON_OWN_PAGES), **{name: redactor.text(value) for name, value in answer.headers.items()}}
        return ErrorResponse(
            answer.status, redactor.text(answer.reason), headers, redactor.text(answer.body.decode()).encode()
        )


_TO_THE_PAGE = ErrorResponse(HTTPStatus.SEE_OTHER, "See Other", {"Location": PAGE, "Cache-Control": "no-store"}, b"")


def _admin_request(request: web.BaseRequest, page: OwnPage) -> AdminRequest:
    query = request.raw_path.partition("?")[2]
    place = endpoint_of(request.transport.get_extra_info("sockname")) if request.transport else ""
    return AdminRequest(request.method, page.path, query, place, request.headers.get(ADMIN_HEADER))


def _check_not_stopping(services: Services) -> None:
    if services.state.is_draining:
        raise StoppingError("ppmproxy is stopping", "start it again with `ppmproxy run`, then try again")


async def _finish(response: web.StreamResponse) -> None:
    """Send the end of the body while the request still counts as running."""
    await response.write_eof()


def _path_for_log(request: web.BaseRequest, redactor: Redactor) -> str:
    """Without the query, which may hold a signature; at most 512 characters."""
    path = request.raw_path.partition("?")[0]
    return redactor.text(path.encode("utf-8", "backslashreplace").decode())[:512]
