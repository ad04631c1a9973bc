"""The answers to the page for people: the page itself, its files, its live feed, and signing in and out.

Who may see the page was decided before (`access`). Acting takes the page's own token, which is only in a page that the
daemon's own user asked for with a browser that says where its requests come from; no path here ends the daemon.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from importlib.metadata import version
from urllib.parse import parse_qs

from aiohttp import web

from ppmproxy.access.browsers import PAGE, PAGE_PARTS, SIGN_IN, SIGN_OUT, Visit
from ppmproxy.access.identity_key import IdentityKey
from ppmproxy.credentials.lookup import TokenRequest
from ppmproxy.errors import ForbiddenClientError, MethodNotAllowedError, NotForwardedError, PpmProxyError
from ppmproxy.server.admin.assets import ICON, SCRIPT, STYLE, asset_at, assets
from ppmproxy.server.admin.client_lines import local_url
from ppmproxy.server.admin.diagnosis import Diagnosis, diagnosis_part
from ppmproxy.server.admin.live_feed import LiveFeed
from ppmproxy.server.admin.page import PageFrame, whole_page
from ppmproxy.server.admin.view import CacheView, RequestFilter, UpstreamView, View
from ppmproxy.server.delivery import cut
from ppmproxy.server.error_responses import ClientContext, ErrorResponse, render_error
from ppmproxy.server.headers import AGAINST_BROWSERS
from ppmproxy.server.session import UpstreamSession
from ppmproxy.server.wiring import Services

EVENTS, CHECKS = f"{PAGE_PARTS}events", f"{PAGE_PARTS}checks"
GRANT_TIMEOUT = 10.0  # seconds for which the answer to *Sign in* waits for the code; the live feed brings it later, too
LONGEST_FILTER = 200  # characters
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_FOR_THE_PAGE = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_FOR_EVENTS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    **dict(AGAINST_BROWSERS),
}


@dataclass(frozen=True, slots=True)
class PersonRequest:
    """A request for the page or one of its parts."""

    method: str
    path: str
    query: str
    visit: Visit
    is_own_user: bool  # the daemon's own is at the other end
    page_token: str | None = field(default=None, repr=False)

    @property
    def can_act(self) -> bool:
        """Whether the page that is asked for may sign in and out."""
        return self.is_own_user and self.visit is Visit.OWN_PAGE


@dataclass(slots=True)
class PersonPage:
    """The page of one daemon, from when it is first asked for."""

    key: IdentityKey
    services: Services  # replaced by a reload
    access: Mapping[str, object]
    urls: Sequence[str]
    poke: Callable[[], None]  # asks the upstreams whether they are there, if that is not known
    now: Callable[[], float]
    diagnosis: Diagnosis | None = None
    stall: float = 60.0  # seconds without a byte taken by a window, after which it is closed
    feed: LiveFeed = field(init=False)

    def __post_init__(self) -> None:
        self.feed = LiveFeed(lambda can_act: self._view(can_act=can_act), self._masked, self.key.start_id)

    def _masked(self, text: str) -> str:
        return self.services.redactor.text(text)

    async def answer(self, request: PersonRequest) -> ErrorResponse:
        """The whole answer; `PpmProxyError` for what is refused, and for a sign-in that fails."""
        if request.path in (SIGN_IN, SIGN_OUT):
            return await self._act(request)
        if request.method not in {"GET", "HEAD"}:
            raise MethodNotAllowedError(f"{request.path} does not take {request.method} requests", "use GET or HEAD")
        if request.path == PAGE:
            return await self._page(request)
        if request.path == CHECKS and self.diagnosis is not None:
            return await self._checks(request, self.diagnosis)
        asset = asset_at(request.path)
        if asset is None:
            raise NoSuchPartError(f"the page has no part {request.path}", "load the page again: /-/")
        headers = {"Content-Type": asset.content_type, "Cache-Control": "max-age=31536000, immutable"}
        return ErrorResponse(HTTPStatus.OK, "OK", headers, asset.body)

    async def _page(self, request: PersonRequest) -> ErrorResponse:
        if self.services.store is not None:
            await self.services.store.count()
        style, script, icon = (assets()[name].path for name in (STYLE, SCRIPT, ICON))
        frame = PageFrame(
            style,
            script,
            icon,
            events=EVENTS,
            start_id=self.key.start_id,
            token=self.key.page_token if request.can_act else "",
            checks=CHECKS if request.can_act and self.diagnosis is not None else "",
        )
        page = whole_page(self._view(can_act=request.can_act), frame, _filter_of(request.query))
        return ErrorResponse(HTTPStatus.OK, "OK", _FOR_THE_PAGE, page.encode("utf-8", "replace"))

    async def _checks(self, request: PersonRequest, diagnosis: Diagnosis) -> ErrorResponse:
        """The checks of `doctor`, which send requests and read the user's files: for the user alone."""
        self._check_is_of_own_page(request)
        facts = await diagnosis.facts(self.services.settings, self.services.redactor)
        return ErrorResponse(HTTPStatus.OK, "OK", _FOR_THE_PAGE, diagnosis_part(facts).encode("utf-8", "replace"))

    async def end(self) -> None:
        """The daemon stops: end the live feed, and checks that are running."""
        self.feed.end()
        if self.diagnosis is not None:
            await self.diagnosis.close()

    async def stream(self, request: web.BaseRequest, asked: PersonRequest) -> web.StreamResponse:
        """Send the live feed to one window, until it is closed or the daemon stops or reloads."""
        async with contextlib.aclosing(self.feed.messages(can_act=asked.can_act)) as messages:
            first = await anext(messages)
            response = web.StreamResponse(headers=_FOR_EVENTS)
            response.force_close()
            await response.prepare(request)
            await response.write(first)
            async for message in messages:
                await self._send(request, response, message)
            await response.write_eof()
        return response

    async def _send(self, request: web.BaseRequest, response: web.StreamResponse, message: bytes) -> None:
        """Send one message, no faster than the window reads; one that reads nothing for long is closed."""
        try:
            await asyncio.wait_for(response.write(message), self.stall)
        except asyncio.TimeoutError:
            cut(request)
            raise ConnectionResetError("the window takes nothing") from None

    def _view(self, *, can_act: bool) -> View:
        self.poke()
        services = self.services
        state = services.state.snapshot()
        upstreams = tuple(
            UpstreamView(one, state.upstream(one.name), _stored_in(services.sessions[one.name]))
            for one in services.settings.upstreams
        )
        return View(
            self.now(),
            state,
            upstreams,
            self.access,
            local_url(self.urls),
            version("ppmproxy"),
            can_act=can_act,
            cache=_cache_view(services),
        )

    # --- acting ---

    async def _act(self, request: PersonRequest) -> ErrorResponse:
        if request.method != "POST":
            what = f"{request.path} does not take {request.method} requests"
            raise MethodNotAllowedError(what, "use the buttons of the page, or `ppmproxy login`", "POST")
        self._check_may_act(request)
        session = self._session_of(request)
        if request.path == SIGN_OUT:
            return await _signed_out(session)
        try:
            grant = await session.sign_in.begin(GRANT_TIMEOUT)
        except PpmProxyError as error:
            return _failed(error)
        shown = {"page": grant.page, "code": grant.user_code} if grant else {}
        return _document(HTTPStatus.ACCEPTED, {"state": "waiting", **shown})

    def _check_may_act(self, request: PersonRequest) -> None:
        if request.visit is not Visit.ACTION:
            what = "only ppmproxy's own page may sign in or out"
            raise ForbiddenClientError(what, "run `ppmproxy login` or `ppmproxy logout`")
        self._check_is_of_own_page(request)

    def _check_is_of_own_page(self, request: PersonRequest) -> None:
        """Whether it comes from a page of this start that the daemon's own user asked for."""
        if not request.is_own_user:
            what = "only the user who runs this ppmproxy may do this"
            raise ForbiddenClientError(what, "open the page as that user")
        if not self.key.is_page_token(request.page_token):
            what = "ppmproxy was restarted after this page was loaded"
            raise ForbiddenClientError(what, "load the page again, then try again")

    def _session_of(self, request: PersonRequest) -> UpstreamSession:
        """The session that the query names, or the only one."""
        sessions = self.services.sessions
        names = parse_qs(request.query).get("upstream") or list(sessions)
        session = sessions.get(names[0]) if len(names) == 1 else None
        if session is None:
            raise NoSuchPartError("the settings have no such upstream", "load the page again: /-/")
        if not _stored_in(session):
            what = f"the credentials of {session.upstream.url} have no source for the token of a sign-in"
            raise ForbiddenClientError(what, 'add [[credentials]] with from = "tokens" to the settings')
        return session


class NoSuchPartError(NotForwardedError):
    """A path or an upstream that the page does not have, as after an update."""

    status = HTTPStatus.NOT_FOUND
    title = "no such part of the page"


async def _signed_out(session: UpstreamSession) -> ErrorResponse:
    try:
        was_signed_in = await session.sign_in.sign_out()
    except PpmProxyError as error:
        return _failed(error)
    return _document(HTTPStatus.OK, {"state": "signed-out", "had_token": was_signed_in})


def _failed(error: PpmProxyError) -> ErrorResponse:
    """The answer to a click that failed; not its own status: a browser takes a 407 for one of a proxy of its own."""
    return replace(render_error(error, ClientContext()), status=HTTPStatus.CONFLICT)


def _stored_in(session: UpstreamSession) -> str:
    """Where the sign-in of an upstream stores its token; "" where no such token would be found."""
    upstream = session.upstream
    is_found = upstream.configured and session.chain.finds_sign_in_token(TokenRequest(upstream.url))
    return session.sign_in.stored_in if is_found else ""


def _cache_view(services: Services) -> CacheView | None:
    """The cache as it was counted last; the next rendering has the count that this one asks for."""
    store = services.store
    if store is None:
        return None
    store.count_later()
    shared = services.shared
    return CacheView(store.totals, store.max_size, store.trouble.what, shared.pause.why if shared else "")


def _filter_of(query: str) -> RequestFilter:
    """The filter of the list of requests, as the page's form sends it where there is no script."""
    fields = parse_qs(query, errors="replace", max_num_fields=None)
    return RequestFilter(fields.get("q", [""])[0].strip()[:LONGEST_FILTER], "failed" in fields)


def _document(status: HTTPStatus, document: Mapping[str, object]) -> ErrorResponse:
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    return ErrorResponse(status, status.phrase, headers, json.dumps(document).encode() + b"\n")
