"""The proxy's own pages below ``/-/``: whether it is well, what it has done, that it is this user's.

To change what one of them says, or to add one, open this file. None of them shows a secret.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from importlib.metadata import version

from ppmproxy import status
from ppmproxy.identity_proof import PAGE, Key, nonce_in
from ppmproxy.problem import Answer
from ppmproxy.settings import Settings
from ppmproxy.status import Tally


@dataclass(frozen=True, slots=True)
class OwnPages:
    """What the pages tell about."""

    settings: Settings
    tally: Tally
    key: Key = field(repr=False)
    access: Mapping[str, object]  # who may use the proxy, and why that cannot be kept
    now: Callable[[], float] = time.time

    def answer(self, method: str, path: str, query: str, place: str) -> Answer:
        """The answer to a request that came in at a place (`identity_proof.place_of`)."""
        if method not in {"GET", "HEAD"}:
            return _text(405, "only GET and HEAD are answered here")
        if path == "/-/live":
            return _text(200, "alive")
        if path == "/-/startup":
            return _text(200, "started") if self.tally.listening else _text(503, "starting: not listening yet")
        if path == "/-/ready":
            why = status.readiness(self.tally, self.now())
            but = status.worries(self.tally)
            return _text(503, why) if why else _text(200, f"ready, but {but}" if but else "ready")
        if path == "/-/status":
            return self._status()
        if path == PAGE:
            nonce = nonce_in(query)
            return _text(200, self.key.proof(nonce, place)) if nonce else _text(400, "it takes ?nonce= and hex digits")
        return _text(404, "no such page of ppmproxy; there are /-/live, /-/ready, /-/startup and /-/status")

    def _status(self) -> Answer:
        document = status.report(self.tally, self.settings.upstreams, version("ppmproxy"), self.now())
        body = json.dumps({**document, "access": self.access}, indent=2).encode() + b"\n"
        return Answer(200, "OK", {"Content-Type": "application/json", "Cache-Control": "no-store"}, body)


def _text(code: int, line: str) -> Answer:
    headers = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store"}
    return Answer(code, HTTPStatus(code).phrase, headers, line.encode() + b"\n")
