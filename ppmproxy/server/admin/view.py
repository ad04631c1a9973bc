"""The view: everything that one rendering of the page for people shows, and how numbers and times are written there."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from ppmproxy.cache.catalog_rows import Totals
from ppmproxy.config.model import Upstream
from ppmproxy.server.activity import FinishedRequest
from ppmproxy.server.admin.markup import Html, markup
from ppmproxy.server.state import Snapshot
from ppmproxy.server.upstream_state import UpstreamSnapshot


@dataclass(frozen=True, slots=True)
class UpstreamView:
    """One upstream on the page."""

    upstream: Upstream
    state: UpstreamSnapshot
    stored_in: str  # the source of the tokens that a sign-in stores; "" where no sign-in would help


@dataclass(frozen=True, slots=True)
class RequestFilter:
    """Which of the last requests are shown."""

    text: str = ""
    only_failed: bool = False

    def shows(self, request: FinishedRequest) -> bool:
        """Whether a request is among them."""
        words = (request.client, request.path, request.status, request.code, request.detail, request.cache)
        is_named = self.text.lower() in " ".join(map(str, words)).lower()
        return is_named and (request.has_failed or not self.only_failed)


@dataclass(frozen=True, slots=True)
class CacheView:
    """The cache on the page."""

    totals: Totals | None  # None: not known
    max_size: int  # bytes
    trouble: str = ""  # why it is not in use
    shared_trouble: str = ""  # why the tier that machines share is not


@dataclass(frozen=True, slots=True)
class View:
    """What one rendering shows."""

    now: float
    state: Snapshot
    upstreams: tuple[UpstreamView, ...]
    access: Mapping[str, object]
    url: str  # the daemon's own, for clients; "" where it has none
    version: str
    can_act: bool  # for the daemon's own user, in a browser that says what it is
    cache: CacheView | None = None  # None: without one

    def upstream_id(self, one: UpstreamView) -> str:
        """The identifier of an upstream in the document: names may have any characters."""
        return f"upstream-{self.upstreams.index(one)}"


def clock_time(moment: float) -> Html:
    """A time of day on this machine."""
    try:
        local = time.localtime(moment)
    except (OverflowError, OSError, ValueError):  # a token may claim any number
        return markup("an unknown time")
    day = "" if time.localtime()[:3] == local[:3] else time.strftime("%Y-%m-%d ", local)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z", local)
    return markup(
        '<time datetime="{stamp}">{day}{clock}</time>', stamp=stamp, day=day, clock=time.strftime("%H:%M:%S", local)
    )


def tile(name: str, title: str, text: str, number: str = "") -> Html:
    """A number with its title; `number` is its exact value where the text is rounded."""
    return markup(
        '<div><dt>{title}</dt><dd id="{name}" data-number="{number}">{text}</dd></div>',
        name=name,
        title=title,
        text=text,
        number=number or text,
    )


def countdown(until: float, now: float) -> Html:
    """The time left, in minutes; the script of the page counts the seconds."""
    return markup(
        '<span class="countdown" data-until="{until}">{left}</span>', until=f"{until:.0f}", left=duration(until - now)
    )


def duration(seconds: float) -> str:
    """A span of time in its largest two units, from minutes on."""
    minutes = max(0, int(seconds // 60))
    days, hours, left = minutes // 1440, minutes // 60 % 24, minutes % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {left} min"
    return f"{left} min" if minutes >= 1 else "less than a minute"


def milliseconds(seconds: float) -> str:
    """A duration of an answer."""
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.01 else f"{seconds * 1000:.1f} ms"  # noqa: PLR2004
