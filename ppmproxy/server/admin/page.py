"""The page for people at ``/-/``, rendered from a `View`: as a whole, and in the parts that change while it is open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ppmproxy.server.admin.cache_section import cache_section
from ppmproxy.server.admin.client_lines import ClientLines, client_lines
from ppmproxy.server.admin.findings import Finding, findings_of
from ppmproxy.server.admin.markup import Html, joined, markup, prose
from ppmproxy.server.admin.recent_section import recent_section
from ppmproxy.server.admin.traffic_section import traffic_section
from ppmproxy.server.admin.upstream_section import upstream_section
from ppmproxy.server.admin.view import RequestFilter, View


@dataclass(frozen=True, slots=True)
class PageFrame:
    """What the whole page needs besides its view."""

    style: str  # the paths of its parts
    script: str
    icon: str
    events: str
    start_id: str
    token: str  # for signing in and out; "" in a page that may not
    checks: str = ""  # the path of the checks of `doctor`; "" where they are not offered


_PAGE = """<!DOCTYPE html>
<html lang="en" data-events="{events}" data-start="{start}"><head><meta charset="utf-8"><title>ppmproxy</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
{token}<link rel="icon" href="{icon}"><link rel="stylesheet" href="{style}">
<script src="{script}" defer></script></head>
<body><a class="skip" href="#main">Skip to the content</a>
<header><h1>ppmproxy <span class="quiet">{version}</span></h1><p id="live" role="status" class="quiet"></p></header>
<main id="main" tabindex="-1"><div id="message" role="alert"></div>
{parts}
<section id="recent-part">{recent}</section><section id="doctor">{doctor}</section>
<section id="clients">{clients}</section></main>
<footer><p class="quiet">No token is on this page. The same numbers: <code>ppmproxy status</code>.</p></footer>
</body></html>
"""
_PART = '<section id="{id}">{content}</section>'


def whole_page(view: View, frame: PageFrame, shown: RequestFilter) -> Html:
    """The whole document."""
    token = markup('<meta name="ppmproxy-page-token" content="{token}">', token=frame.token) if frame.token else None
    return markup(
        _PAGE,
        events=frame.events,
        start=frame.start_id,
        token=token,
        icon=frame.icon,
        style=frame.style,
        script=frame.script,
        version=view.version,
        parts=joined(markup(_PART, id=name, content=content) for name, content in changing_parts(view).items()),
        recent=recent_section(view, shown),
        doctor=_doctor(frame),
        clients=_clients(view),
    )


def changing_parts(view: View) -> Mapping[str, Html]:
    """The parts that change while the page is open, besides the list of requests, by their identifiers."""
    upstreams = {view.upstream_id(one): upstream_section(view, one) for one in view.upstreams}
    cache = {"cache": cache_section(view, view.cache)} if view.cache else {}
    return {"verdict": _verdict(view), **upstreams, "traffic": traffic_section(view), **cache}


# --- what is wrong ---

_FINDING = '<li class="{kind}"><p>{what}</p><p class="fix">{fix}</p></li>'
_VERDICT = """<h2 class="{kind}">{words}</h2>{findings}"""
_DOCTOR = """<h2>Checks</h2>
<p>Addresses, certificates, tokens, files and the settings of clients, as this proxy sees them: {button}</p>
<p class="quiet">As your shell sees them: <code>ppmproxy doctor</code> {copy}</p>
<div id="checks" role="status"></div>"""
_CHECK_BUTTON = '<button type="button" class="needs-script" data-load="{path}">Run the checks</button>'


def _verdict(view: View) -> Html:
    findings = findings_of(view)
    severe = sum(finding.is_severe for finding in findings)
    if severe:
        words, kind = "Something is wrong.", "bad"
    elif findings:
        words, kind = "It works, and there is something to know.", "warning"
    elif any(one.state.answered_at is not None for one in view.upstreams):
        words, kind = "Everything works.", "good"
    else:
        words, kind = "Nothing is known to be wrong.", "good"
    listed = markup('<ul class="findings">{items}</ul>', items=joined(map(_finding, findings))) if findings else None
    return markup(_VERDICT, words=words, kind=kind, findings=listed)


def _doctor(frame: PageFrame) -> Html:
    button = markup(_CHECK_BUTTON, path=frame.checks) if frame.checks else None
    return markup(_DOCTOR, button=button, copy=_copy_button("ppmproxy doctor", "the command"))


def _finding(finding: Finding) -> Html:
    return markup(
        _FINDING, kind="bad" if finding.is_severe else "warning", what=prose(finding.what), fix=prose(finding.fix)
    )


# --- lines to paste ---

_LINES = """<div class="paste"><h4>{client} <span class="quiet">{where}</span></h4><pre tabindex="0">{lines}</pre>
{copy}</div>"""
_OF_UPSTREAM = "<h3>{name}</h3>{lines}"


def _clients(view: View) -> Html:
    title = markup("<h2>Point a client here</h2>")
    if not view.url:
        return joined([title, markup("<p>This proxy has no TCP address, and the clients need one (listen).</p>")])
    parts = [
        markup(
            _OF_UPSTREAM,
            name=f"To {one.upstream.name}" if len(view.upstreams) > 1 else view.url,
            lines=joined(_lines(lines) for lines in client_lines(view.url, one.upstream)),
        )
        for one in view.upstreams
    ]
    return joined([title, *parts])


def _lines(lines: ClientLines) -> Html:
    return markup(
        _LINES,
        client=lines.client,
        where=lines.where,
        lines=lines.lines,
        copy=_copy_button(lines.lines, f"the lines for {lines.client}"),
    )


def _copy_button(text: str, what: str) -> Html:
    return markup(
        '<button type="button" class="needs-script" data-copy="{text}">Copy'
        '<span class="unseen"> {what}</span></button>',
        text=text,
        what=what,
    )
