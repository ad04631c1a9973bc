"""The page's part on traffic: requests under way, in the last hour and since the start."""

from __future__ import annotations

import time

from ppmproxy.config.sizes import size_text
from ppmproxy.server.activity import MINUTE, Minute
from ppmproxy.server.admin.charts import Bar, bar_chart
from ppmproxy.server.admin.markup import Html, joined, markup
from ppmproxy.server.admin.view import View, clock_time, tile

_SECTION = """<h2>Requests</h2><dl class="facts tiles">{tiles}</dl>
<p class="quiet">Since {since}. Pages of the proxy itself, as this one, are not counted.</p>{requests}{sent}"""


def traffic_section(view: View) -> Html:
    """Numbers, and two charts of the last hour."""
    state, hour = view.state, view.state.activity.hour(view.now)
    tiles = [
        tile("requests-under-way", "under way", str(state.forwarding)),
        tile("requests-last-minute", "in this minute", str(hour[-1].requests)),
        tile("requests-last-hour", "in the last hour", str(sum(minute.requests for minute in hour))),
        tile("requests-last-hour-failed", "of them failed", str(sum(minute.failed for minute in hour))),
        tile("requests-total", "since the start", str(state.requests)),
        tile("requests-failed", "of them failed", str(state.failed)),
        tile("requests-sent", "sent to clients", size_text(state.sent), str(state.sent)),
    ]
    return markup(
        _SECTION,
        tiles=joined(tiles),
        since=clock_time(state.started_at),
        requests=_requests_chart(hour),
        sent=_sent_chart(hour),
    )


def _requests_chart(hour: tuple[Minute, ...]) -> Html:
    failed = sum(minute.failed for minute in hour)
    bars = [
        Bar(_label(minute), minute.requests, minute.failed, f"{minute.requests}, {minute.failed} failed")
        for minute in hour
    ]
    summary = f"{sum(minute.requests for minute in hour)}, {failed} failed"
    return bar_chart("Requests a minute, last hour", summary, bars)


def _sent_chart(hour: tuple[Minute, ...]) -> Html:
    bars = [Bar(_label(minute), minute.sent, 0, size_text(minute.sent)) for minute in hour]
    return bar_chart("Bytes to clients a minute, last hour", size_text(sum(minute.sent for minute in hour)), bars)


def _label(minute: Minute) -> str:
    return time.strftime("%H:%M", time.localtime(minute.index * MINUTE))
