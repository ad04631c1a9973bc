"""The handler of one request: look up the credential, build the headers, fetch, deliver."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

from aiohttp import web

from ppmproxy.credentials.interactive import NextStep
from ppmproxy.errors import SILENT, CredentialError, PpmProxyError, SignInNeededError
from ppmproxy.index.routing import Target
from ppmproxy.server import headers
from ppmproxy.server.authenticated_send import AuthenticatedFetcher
from ppmproxy.server.delivery import Delivery, deliver
from ppmproxy.server.request_body import body_of
from ppmproxy.server.session import UpstreamSession
from ppmproxy.server.state import RequestRecord
from ppmproxy.server.wiring import Services
from ppmproxy.upstream.messages import UpstreamRequest


async def handle(
    services: Services, request: web.BaseRequest, target: Target, record: RequestRecord
) -> web.StreamResponse:
    """Forward one request and deliver the response; raises `PpmProxyError` as long as nothing has been sent.

    A request that lacks a token may be held, or redirected to itself, until somebody has signed in.
    """
    session = services.sessions[target.upstream.name]
    try:
        return await _forward(services, request, target, record)
    except CredentialError as error:
        await session.credential_for(target)  # so that the state shows what there is besides the rejected one
        if request.method != "GET" or not session.can_sign_in_for(target):
            raise
        next_step = await session.sign_in.wait(error, _place(request, target))
    if next_step is NextStep.REDIRECT:
        record.status, record.code = HTTPStatus.TEMPORARY_REDIRECT, SignInNeededError.code
        redirect = {"Location": target.local, "Cache-Control": "no-store"}
        return web.Response(status=HTTPStatus.TEMPORARY_REDIRECT, headers=redirect)
    return await _forward(services, request, target, record)


async def _forward(
    services: Services, request: web.BaseRequest, target: Target, record: RequestRecord
) -> web.StreamResponse:
    session = services.sessions[target.upstream.name]
    lookup = await session.credential_for(target)
    if lookup.credential is not None:
        record.source = lookup.credential.source
    upstream_request = UpstreamRequest(
        request.method,
        target.url,
        headers.to_upstream(request.headers.items(), target.kind, request.method),
        body=await body_of(request, target.kind),
    )
    with _outcome_recorded(session, target):
        async with AuthenticatedFetcher(session).fetch(target, upstream_request, lookup) as received:
            session.record_success()
            return await deliver(Delivery(request, target, received, record, services.redactor, session.links))


def _place(request: web.BaseRequest, target: Target) -> str:
    """What a request asks for and who asks, as far as that shows when it comes back."""
    named = (request.headers.get(name, "") for name in ("User-Agent", "Range"))
    return " ".join((target.local, *named))


@contextmanager
def _outcome_recorded(session: UpstreamSession, target: Target) -> Iterator[None]:
    """Record whether the upstream answered, for readiness; a rejection is an answer."""
    before = session.state.snapshot().answered_at
    try:
        yield
    except PpmProxyError as error:
        if session.may_carry_token(target.url) and session.state.snapshot().answered_at == before:
            if isinstance(error, SILENT):
                session.record_failure(str(error))
            else:
                session.record_success()
        raise
