"""The live feed of the page: server-sent events to each window that is open, and nothing at all when none is.

Each window is sent what has changed since it was last sent something, at the pace at which it reads: there is no queue,
so that a window that reads slowly costs one message and sees the newest state next. All windows share one rendering.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass

from ppmproxy.errors import RefusedError
from ppmproxy.server.activity import FinishedRequest
from ppmproxy.server.admin.page import changing_parts
from ppmproxy.server.admin.recent_section import request_rows
from ppmproxy.server.admin.view import View

INTERVAL = 1.0  # seconds between two looks at the state
MAX_WINDOWS = 32
SIGN_OF_LIFE = 15  # looks without a change after which a comment is sent, so that a closed window is noticed
RETRY = b"retry: 1000\n\n"  # ms until the browser connects again


class TooManyWindowsError(RefusedError):
    """The page is open in so many windows that no other is kept up to date."""

    code = "too-many-connections"
    status = 503
    title = "too many windows"


@dataclass(frozen=True, slots=True)
class Rendering:
    """What the page shows at one moment."""

    parts: Mapping[str, str]
    requests: tuple[FinishedRequest, ...]
    start_id: str


class LiveFeed:
    """Sends changes to windows; `end` ends all of them."""

    def __init__(
        self, look: Callable[[bool], View], masked: Callable[[str], str], start_id: str, interval: float = INTERVAL
    ) -> None:
        """`look` makes the view for who may act, and for who may not; `masked` hides secrets in a text."""
        self._look = look
        self._masked = masked
        self._start_id = start_id
        self._interval = interval
        self._windows = 0
        self._ended = asyncio.Event()
        self._renderings: dict[bool, tuple[float, Rendering]] = {}  # with their time, by whether they are to act

    def __len__(self) -> int:
        return self._windows

    def end(self) -> None:
        """End the messages of all windows that are open now; browsers connect again by themselves."""
        self._ended.set()
        self._ended = asyncio.Event()

    async def messages(self, *, can_act: bool) -> AsyncGenerator[bytes, None]:
        """The messages for one window, until `end`; `TooManyWindowsError`."""
        if self._windows >= MAX_WINDOWS:
            what = f"this page is already open in {self._windows} windows"
            raise TooManyWindowsError(what, "close some of them, or reload this one to update it")
        self._windows += 1
        ended, window, looks = self._ended, _OpenWindow(), 0
        try:
            yield RETRY
            while not ended.is_set():
                if (message := window.change(self._rendering(can_act=can_act), self._masked)) is not None:
                    looks = 0
                    yield message
                elif (looks := looks + 1) % SIGN_OF_LIFE == 0:
                    yield b":\n\n"
                await _wait(ended, self._interval)
        finally:
            self._windows -= 1
            if not self._windows:
                self._renderings.clear()

    def _rendering(self, *, can_act: bool) -> Rendering:
        """At most one for each interval, however many windows are open."""
        now = time.monotonic()
        made_at, rendering = self._renderings.get(can_act, (0.0, None))
        if rendering is None or now - made_at >= self._interval / 2:
            view = self._look(can_act)
            parts = {name: self._masked(part) for name, part in changing_parts(view).items()}
            rendering = Rendering(parts, view.state.activity.requests, self._start_id)
            self._renderings[can_act] = now, rendering
        return rendering


class _OpenWindow:
    """What one window was sent last."""

    def __init__(self) -> None:
        self._parts: Mapping[str, str] = {}
        self._number: int | None = None  # of the last request

    def change(self, new: Rendering, masked: Callable[[str], str]) -> bytes | None:
        """The message that brings the window up to date; None when it is."""
        parts = {name: part for name, part in new.parts.items() if self._parts.get(name) != part}
        is_first, newest = self._number is None, new.requests[-1].number if new.requests else 0
        unseen = [request for request in reversed(new.requests) if is_first or request.number > (self._number or 0)]
        self._parts, self._number = new.parts, newest
        if not (parts or unseen or is_first):
            return None
        told = {"start": new.start_id, "parts": parts, "rows": masked(request_rows(unseen)), "whole": is_first}
        return b"data: " + json.dumps(told, ensure_ascii=True).encode() + b"\n\n"


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, for so many seconds at most."""
    loop = asyncio.get_running_loop()
    waiting = loop.create_task(event.wait())
    try:
        await asyncio.wait({waiting}, timeout=seconds)
    finally:
        waiting.cancel()
