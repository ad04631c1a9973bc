"""The proxy's own pages below ``/-/`` that programs read: a table of paths and what each answers.

None of them shows a secret; the page for people is `person_page`. What acts on the daemon takes a POST with the secret
of this start (`identity_key`), which only its own user can read.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from ppmproxy.access.browsers import METRICS, PAGE, PAGE_ACTIONS, PAGE_PARTS
from ppmproxy.access.identity_key import DOCTOR, IdentityKey, nonce_of_query
from ppmproxy.access.identity_key import PAGE as PROOF
from ppmproxy.auth.redaction import Redactor
from ppmproxy.config.model import Settings
from ppmproxy.errors import (
    LONGEST_SHOWN,
    BadTargetError,
    ForbiddenClientError,
    MethodNotAllowedError,
    NotForwardedError,
    shortened,
)
from ppmproxy.server.error_responses import ErrorResponse
from ppmproxy.server.set_up_checks import CheckRequest, Diagnose
from ppmproxy.server.state import State, unready_reason, warnings
from ppmproxy.server.status_document import report

if TYPE_CHECKING:
    from ppmproxy.cache.shared_tier import SharedTier
    from ppmproxy.cache.shared_view import SharedView
    from ppmproxy.cache.store import Store

LIVE, STARTUP, READY, STATUS, SHUTDOWN = "/-/live", "/-/startup", "/-/ready", "/-/status", "/-/shutdown"


def is_for_people(path: str) -> bool:
    """Whether a path is the page for people or a part of it, which `person_page` answers."""
    return path == PAGE or path.startswith(PAGE_PARTS) or path in PAGE_ACTIONS


@dataclass(frozen=True, slots=True)
class AdminRequest:
    """A request for one of these pages."""

    method: str
    path: str
    query: str = ""
    place: str = ""  # the address at which it came in (`identity_key.endpoint_of`)
    secret: str | None = field(default=None, repr=False)  # for acting on the daemon


@dataclass(frozen=True, slots=True)
class AdminPages:
    """What the pages report on and act on."""

    settings: Settings
    state: State
    key: IdentityKey = field(repr=False)
    access: Mapping[str, object]  # who may use the proxy, and why that cannot be enforced
    shut_down: Callable[[], None]  # begins the end; returns at once
    store: Store | None = None  # of the cache
    shared: SharedTier | None = None  # its tier that machines share
    publish: Callable[[], None] = lambda: None  # the record that the proof is checked with
    now: Callable[[], float] = time.time
    connections: Callable[[], int] = lambda: 0  # of clients, admitted and open
    urls: Sequence[str] = ()  # at which the daemon listens
    diagnose: Diagnose | None = None  # the checks that the page offers

    async def checked(self, request: AdminRequest, redactor: Redactor) -> ErrorResponse:
        """The checks of the Package Managers, as JSON, for `ppmproxy doctor`; they send requests with the token."""
        _check_may_act(self, request, "check", "ppmproxy doctor")
        if self.diagnose is None:
            raise _NoSuchPageError(f"{DOCTOR} is not for a proxy that ends with a command", "run `ppmproxy doctor`")
        query = parse_qs(request.query)
        repo, snapshot = (query.get(name, [""])[0] for name in ("repo", "snapshot"))
        facts = await self.diagnose(self.settings, redactor, CheckRequest(repo, snapshot, only_upstreams=True))
        body = json.dumps([asdict(fact) for fact in facts]).encode()
        headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
        return ErrorResponse(HTTPStatus.OK, "OK", headers, body)

    def answer(self, request: AdminRequest) -> ErrorResponse:
        """The response; `RefusedError` for what is not answered, and for clients that may not act on the daemon."""
        action = ACTIONS.get(request.path)
        if action is not None:
            return action(self, request)
        if request.method not in {"GET", "HEAD"}:
            raise MethodNotAllowedError(f"{request.path} does not take {request.method} requests", "use GET or HEAD")
        page = PAGES.get(request.path)
        if page is None:
            raise _NoSuchPageError(
                f"ppmproxy has no page {shortened(request.path, LONGEST_SHOWN)}", f"use one of {_NAMED}"
            )
        return page(self, request)


def _live(_pages: AdminPages, _request: AdminRequest) -> ErrorResponse:
    return _text(HTTPStatus.OK, "alive")


def _startup(pages: AdminPages, _request: AdminRequest) -> ErrorResponse:
    if pages.state.snapshot().is_listening:
        return _text(HTTPStatus.OK, "started")
    return _text(HTTPStatus.SERVICE_UNAVAILABLE, "starting: not listening yet")


def _ready(pages: AdminPages, _request: AdminRequest) -> ErrorResponse:
    state = pages.state.snapshot()
    if why := unready_reason(state, pages.now()):
        return _text(HTTPStatus.SERVICE_UNAVAILABLE, why)
    but = warnings(state, pages.now())
    return _text(HTTPStatus.OK, f"ready, but {but}" if but else "ready")


def _status(pages: AdminPages, _request: AdminRequest) -> ErrorResponse:
    from importlib.metadata import version  # noqa: PLC0415 - slow to import, and seldom needed

    document = report(
        pages.state.snapshot(),
        pages.settings.upstreams,
        version("ppmproxy"),
        pages.now(),
        pages.key.token_fingerprint,
    )
    body = json.dumps({**document, "cache": _cache(pages), "access": pages.access}, indent=2).encode() + b"\n"
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    return ErrorResponse(HTTPStatus.OK, "OK", headers, body)


def _cache(pages: AdminPages) -> Mapping[str, object] | None:
    """What the cache did, and what is wrong with it; None without one."""
    store, done = pages.store, pages.state.snapshot().by_cache
    if store is None:
        return None
    shared = {"shared": view.document()} if (view := _shared_view(pages)) else {}
    return {"folder": str(store.folder.path), "trouble": store.trouble.what, "requests": dict(done), **shared}


def _proof(pages: AdminPages, request: AdminRequest) -> ErrorResponse:
    nonce = nonce_of_query(request.query)
    if nonce is None:
        raise BadTargetError("the request has no valid nonce", "add ?nonce= with 32 to 128 hex digits")
    pages.publish()
    return _text(HTTPStatus.OK, pages.key.proof(nonce, request.place))


def _shutdown(pages: AdminPages, request: AdminRequest) -> ErrorResponse:
    _check_may_act(pages, request, "end", "ppmproxy shutdown")
    pages.shut_down()
    return _text(HTTPStatus.ACCEPTED, "stopping: open requests are being finished")


def _check_may_act(pages: AdminPages, request: AdminRequest, act: str, command: str) -> None:
    """Admit a POST with the secret of this start, or raise the error that names the command."""
    if request.method != "POST":
        what = f"{request.path} does not take {request.method} requests"
        raise MethodNotAllowedError(what, f"run `{command}`", "POST")
    if not pages.key.is_authorized(request.secret):
        what = f"the request to {act} ppmproxy does not have the secret of this start"
        raise ForbiddenClientError(what, f"run `{command}` as the user who started it")


def _shared_view(pages: AdminPages) -> SharedView | None:
    if pages.shared is None:
        return None
    from ppmproxy.cache.shared_view import SharedView  # noqa: PLC0415 - few have this tier

    return SharedView.of(pages.shared)


def _metrics(pages: AdminPages, _request: AdminRequest) -> ErrorResponse:
    from ppmproxy.server.admin.metrics import CONTENT_TYPE, exposition  # noqa: PLC0415 - prometheus-client is slow

    totals = pages.store.totals if pages.store else None
    body = exposition(pages.state.snapshot(), pages.connections(), totals.size if totals else None, _shared_view(pages))
    return ErrorResponse(HTTPStatus.OK, "OK", {"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"}, body)


Renderer = Callable[[AdminPages, AdminRequest], ErrorResponse]
PAGES: Mapping[str, Renderer] = {  # read with GET or HEAD
    LIVE: _live,
    STARTUP: _startup,
    READY: _ready,
    STATUS: _status,
    METRICS: _metrics,
    PROOF: _proof,
}
_NAMED = f"{PAGE}, {LIVE}, {READY}, {STARTUP}, {STATUS} and {METRICS}"
ACTIONS: Mapping[str, Renderer] = {SHUTDOWN: _shutdown}  # checks the method itself


class _NoSuchPageError(NotForwardedError):
    status = HTTPStatus.NOT_FOUND  # no client looks for packages here
    title = "no such page of ppmproxy"


def _text(status: HTTPStatus, line: str) -> ErrorResponse:
    headers = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store"}
    return ErrorResponse(status, status.phrase, headers, line.encode() + b"\n")
