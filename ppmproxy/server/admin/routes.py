"""The proxy's own pages below ``/-/``: whether it is well, what it has done, that it is this user's; and its end.

To change what one of them says, or to add one, open this file. None of them shows a secret. What acts on the daemon
takes a POST with the secret of this start (`identity_proof`), which only its own user can read.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from importlib.metadata import version

from ppmproxy.access.daemon_identity import PAGE, Key, nonce_in
from ppmproxy.config.model import Settings
from ppmproxy.errors import BadTargetError, ForbiddenClientError, MethodNotAllowedError, NotForwardedError
from ppmproxy.server import state
from ppmproxy.server.error_responses import ErrorResponse
from ppmproxy.server.state import Metrics

READY, SHUTDOWN = "/-/ready", "/-/shutdown"


@dataclass(frozen=True, slots=True)
class OwnRequest:
    """What one of these pages is asked."""

    method: str
    path: str
    query: str = ""
    place: str = ""  # at which it came in (`identity_proof.place_of`)
    secret: str | None = field(default=None, repr=False)  # for acting on the daemon


@dataclass(frozen=True, slots=True)
class OwnPages:
    """What the pages tell about."""

    settings: Settings
    metrics: Metrics
    key: Key = field(repr=False)
    access: Mapping[str, object]  # who may use the proxy, and why that cannot be kept
    shut_down: Callable[[], None]  # begins the end; returns at once
    leave_word: Callable[[], None] = lambda: None  # so that who asks for the proof finds what to check it with
    now: Callable[[], float] = time.time

    def answer(self, asked: OwnRequest) -> ErrorResponse:
        """The answer to a request; `RefusedError` for what is not answered, and for who may not act on the daemon."""
        path = asked.path
        if path == SHUTDOWN:
            return self._shutdown(asked)
        if asked.method not in {"GET", "HEAD"}:
            raise MethodNotAllowedError(f"{asked.method} is not for {path}", "ask with GET or HEAD")
        if path == "/-/live":
            return _text(200, "alive")
        if path == "/-/startup":
            return _text(200, "started") if self.metrics.listening else _text(503, "starting: not listening yet")
        if path == READY:
            why = state.readiness(self.metrics, self.now())
            but = state.warnings(self.metrics)
            return _text(503, why) if why else _text(200, f"ready, but {but}" if but else "ready")
        if path == "/-/status":
            return self._status()
        if path == PAGE:
            nonce = nonce_in(asked.query)
            if nonce is None:
                raise BadTargetError("there is no nonce to prove it for", "add ?nonce= and 32 to 128 hex digits")
            self.leave_word()
            return _text(200, self.key.proof(nonce, asked.place))
        raise _NoSuchPageError(f"there is no {path}", "there are /-/live, /-/ready, /-/startup and /-/status")

    def _shutdown(self, asked: OwnRequest) -> ErrorResponse:
        if asked.method != "POST":
            what = f"{asked.method} does not end the proxy"
            raise MethodNotAllowedError(what, "run `ppmproxy shutdown`, which sends a POST with a secret", "POST")
        if not self.key.is_authorized(asked.secret):
            what = "ending the proxy takes the secret of this start, which is not in this request"
            raise ForbiddenClientError(what, "run `ppmproxy shutdown` as the user who started it")
        self.shut_down()
        return _text(202, "stopping: open requests are being finished")

    def _status(self) -> ErrorResponse:
        document = state.report(
            self.metrics, self.settings.upstreams, version("ppmproxy"), self.now(), self.key.token_fingerprint
        )
        body = json.dumps({**document, "access": self.access}, indent=2).encode() + b"\n"
        return ErrorResponse(200, "OK", {"Content-Type": "application/json", "Cache-Control": "no-store"}, body)


class _NoSuchPageError(NotForwardedError):
    status = 404  # no client looks for packages here
    title = "no such page of ppmproxy"


def _text(code: int, line: str) -> ErrorResponse:
    headers = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store"}
    return ErrorResponse(code, HTTPStatus(code).phrase, headers, line.encode() + b"\n")
