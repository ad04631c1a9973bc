"""The page's part on the last requests: a filter, and for each that failed why, and what to do."""

from __future__ import annotations

from collections.abc import Iterable

from ppmproxy.config.sizes import size_text
from ppmproxy.server.activity import MAX_REQUESTS, FinishedRequest
from ppmproxy.server.admin.explanations import explanation_of
from ppmproxy.server.admin.markup import Html, joined, markup, prose
from ppmproxy.server.admin.view import RequestFilter, View, clock_time, milliseconds

_SECTION = """<h2 id="recent-title">Last requests</h2>
<form method="get" action="/-/" role="search" id="filter" aria-label="Filter the requests">
<label>Filter <input type="search" name="q" value="{text}" placeholder="project, client, status or code"
autocomplete="off"></label>
<label class="check"><input type="checkbox" name="failed" value="1"{checked}> only failed</label>
<button type="submit">Apply</button></form>
<p class="quiet" id="shown" role="status">{shown}</p>
<div class="wide" role="region" tabindex="0" aria-labelledby="recent-title"><table id="recent">
<thead><tr>{columns}</tr></thead><tbody id="rows" data-most="{most}">{rows}</tbody></table></div>"""
_ROW = """<tr id="request-{number}" class="{kind}"><td>{at}</td><td>{client}</td><td class="what"><b>{project}</b>
<span class="path">{method} {path}</span></td><td class="number">{status}</td><td>{why}</td><td>{cache}</td>
<td class="number">{took}</td><td class="number">{sent}</td></tr>"""
_WHY = """<details><summary>{code}</summary><p>{detail}</p><p>{fix}</p></details>"""
COLUMNS = ("At", "Client", "Project and path", "Status", "Explanation", "Cache", "Time", "Size")


def recent_section(view: View, shown: RequestFilter) -> Html:
    """The last requests, the newest first."""
    requests = [request for request in view.state.activity.requests if shown.shows(request)]
    return markup(
        _SECTION,
        text=shown.text,
        checked=Html(" checked") if shown.only_failed else None,
        shown=f"{len(requests)} of the last {len(view.state.activity.requests)} requests are shown.",
        columns=joined(markup('<th scope="col">{name}</th>', name=name) for name in COLUMNS),
        most=MAX_REQUESTS,
        rows=request_rows(reversed(requests)),
    )


def request_rows(requests: Iterable[FinishedRequest]) -> Html:
    """The rows of requests, in their order."""
    return joined(map(_row, requests))


def _row(request: FinishedRequest) -> Html:
    return markup(
        _ROW,
        number=request.number,
        kind="failed" if request.has_failed else "",
        at=clock_time(request.at),
        client=request.client or "unknown",
        project=request.project,
        method=request.method,
        path=request.path,
        status=request.status or "cut",
        why=_explanation(request),
        cache=request.cache,
        took=milliseconds(request.seconds),
        sent=size_text(request.sent),
    )


def _explanation(request: FinishedRequest) -> Html:
    if not request.code:
        return Html()
    detail, hint = (f"{text}." if text else "" for text in (request.detail, request.hint))
    return markup(_WHY, code=request.code, detail=prose(detail), fix=prose(hint or explanation_of(request.code)))
