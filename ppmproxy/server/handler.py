"""The handler of one request: join or start its work, wait as long as the client does, deliver the response."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

import structlog
from aiohttp import web

from ppmproxy.errors import PpmProxyError, SignInNeededError, UpstreamTimeoutError
from ppmproxy.index.routing import Target
from ppmproxy.server import headers
from ppmproxy.server.connection import is_cut
from ppmproxy.server.delivery import Delivery, DeliveryLimits
from ppmproxy.server.error_responses import ClientContext
from ppmproxy.server.request_body import body_of
from ppmproxy.server.request_record import RequestRecord
from ppmproxy.server.request_work import RequestWork, Running
from ppmproxy.server.waiting import NextStep, Waiting
from ppmproxy.server.wiring import Services
from ppmproxy.upstream.messages import UpstreamRequest


async def handle(
    services: Services, request: web.BaseRequest, target: Target, record: RequestRecord
) -> web.StreamResponse:
    """Forward one request and deliver the response; raises `PpmProxyError` as long as nothing has been sent.

    A client of little patience is redirected to the same URL while the work for it goes on, and joins it again.
    """
    deadline = _now() + services.limits.max_hold
    work = await _work_for(services, request, target)
    running = await _running_request(services, work, deadline)
    try:
        if not await running.wait(deadline - _now()):
            match _waiting(services, request, running).next_step():
                case NextStep.REDIRECT:
                    return _redirect(services, request, work, running, record)
                case NextStep.GIVE_UP:
                    raise _give_up_error(work, running)
                case NextStep.HOLD:
                    await running.wait(None)
        record.source = running.source
        return await _deliver(services, request, work, running, record)
    except asyncio.CancelledError:
        if running.is_waiting_for_upstream and not is_cut(request):
            _record_silence(services, work, running, record)
        raise
    finally:
        if running.attended.is_set():
            await running.close()


async def _work_for(services: Services, request: web.BaseRequest, target: Target) -> RequestWork:
    """The work that the request takes; reads the body of a query."""
    sent_headers = headers.to_upstream(request.headers.items(), target.kind, request.method)
    body = await body_of(request, target.kind)
    upstream_request = UpstreamRequest(request.method, target.url, sent_headers, body=body)
    return RequestWork(services.sessions[target.upstream.name], target, upstream_request, services.in_flight)


async def _running_request(services: Services, work: RequestWork, deadline: float) -> Running:
    """The work that goes on for a client that returns, unless another credential is found by now; else a new one."""
    running = services.running.join(work.key) if services.running and work.request.is_repeatable else None
    if running is None:
        return services.running.start(work)
    try:
        if await work.is_for(running, deadline - _now()):
            return running
    except BaseException:
        running.cancel()
        raise
    running.cancel()
    fresh = services.running.start(work)
    fresh.redirects = running.redirects
    return fresh


async def _deliver(
    services: Services, request: web.BaseRequest, work: RequestWork, running: Running, record: RequestRecord
) -> web.StreamResponse:
    """Send the prepared response, or raise the error of the work."""
    prepared = running.result()
    client = ClientContext(work.target.kind, request.headers.get("User-Agent", ""))
    if prepared.page_error is not None and client.is_pip_page:
        raise prepared.page_error
    if isinstance(prepared.body, bytes):
        await running.close()  # the connection to the upstream is free while the client reads
    session = work.session
    limits = DeliveryLimits(services.limits.silence, session.upstream.read_timeout)
    return await Delivery(request, prepared, record, services.redactor, session.record_failure, limits).send()


def _waiting(services: Services, request: web.BaseRequest, running: Running) -> Waiting:
    return Waiting(
        request.method,
        request.raw_path,
        request.headers.get("User-Agent", ""),
        running.redirects,
        waits_for_sign_in=running.sign_in_error is not None,
        is_draining=services.state.is_draining,
    )


def _redirect(
    services: Services, request: web.BaseRequest, work: RequestWork, running: Running, record: RequestRecord
) -> web.Response:
    """Send the client to the URL that it asked for; its work goes on."""
    record.status = HTTPStatus.TEMPORARY_REDIRECT
    record.code = SignInNeededError.code if running.sign_in_error else ""
    record.detail = "waits for the end of other downloads" if running.waits_for_slot else ""
    path = record.path

    def abandoned() -> None:
        if running.is_waiting_for_upstream:
            unseen = RequestRecord(work.request.method, path)
            _record_silence(services, work, running, unseen)
            log = structlog.get_logger("ppmproxy")
            log.warning("request_abandoned", method=unseen.method, path=path, code=unseen.code, detail=unseen.detail)

    services.running.park(work.key, running, abandoned)
    # Two slashes at the beginning would be a host.
    location = work.target.local if request.raw_path.startswith("//") else request.raw_path
    return web.Response(status=record.status, headers={"Location": location, "Cache-Control": "no-store"})


def _give_up_error(work: RequestWork, running: Running) -> PpmProxyError:
    if running.sign_in_error is not None:
        return work.session.sign_in.still_needed(running.sign_in_error)
    if running.waits_for_slot:
        return work.session.slots.limit_error()
    what = f"{work.session.upstream.url} did not answer within {_now() - running.started_at:.0f} s"
    return UpstreamTimeoutError(what, "try again later, or tell its administrator")


def _record_silence(services: Services, work: RequestWork, running: Running, record: RequestRecord) -> None:
    """A client that leaves while the upstream is silent leaves because of that."""
    silent_for = _now() - running.started_at
    if silent_for >= services.limits.silence:
        what = f"{work.session.upstream.url} had not answered for {silent_for:.0f} s when the client left"
        record.code, record.detail = UpstreamTimeoutError.code, what
        work.session.record_failure(what, silent_for)


def _now() -> float:
    return asyncio.get_running_loop().time()
