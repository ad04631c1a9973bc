"""The page's part on each upstream: is it there, is it fast, and with which token; signing in and out."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from urllib.parse import quote

from ppmproxy.access.browsers import SIGN_IN, SIGN_OUT
from ppmproxy.auth.credential import Credential
from ppmproxy.server.activity import LATENCY_SPAN, recent
from ppmproxy.server.admin.charts import Point, line_chart
from ppmproxy.server.admin.markup import Html, joined, link, markup
from ppmproxy.server.admin.view import UpstreamView, View, clock_time, countdown, milliseconds
from ppmproxy.server.upstream_state import SignInPage, UpstreamSnapshot

_SECTION = """<h2>{name}</h2>
<p class="address">{url} <span class="quiet">appears at <code>{mount}</code></span></p>
<dl class="facts"><div><dt>Package Manager</dt><dd class="{reach_class}">{reach}</dd></div>
<div><dt>Token</dt><dd class="{token_class}">{token}</dd></div></dl>
{sign_in}{credentials}{latency}"""


def upstream_section(view: View, one: UpstreamView) -> Html:
    """One upstream."""
    reach_class, reach = _reachability(one.state)
    token_class, token = _token(one, view.now)
    return markup(
        _SECTION,
        name=one.upstream.name,
        url=one.upstream.url,
        mount=one.upstream.mount,
        reach_class=reach_class,
        reach=reach,
        token_class=token_class,
        token=token,
        sign_in=_sign_in(view, one),
        credentials=_credentials(one, view.now),
        latency=_latency(one.state, view.now),
    )


def _reachability(state: UpstreamSnapshot) -> tuple[str, Html]:
    if state.outage:
        since, why = clock_time(state.outage.since), state.outage.why
        return "bad", markup("no good answer since {since}: {why}", since=since, why=why)
    if state.answered_at is None:
        return "quiet", markup("not asked yet")
    return "good", markup("answers; the last time at {at}", at=clock_time(state.answered_at))


def _token(one: UpstreamView, now: float) -> tuple[str, Html]:
    if not one.upstream.configured:
        return "good", markup("none needed: this is the public server")
    if one.state.rejected(now):
        return "bad", markup("refused by the Package Manager")
    lookup = one.state.lookup
    if lookup is None:
        return "quiet", markup("not looked for yet")
    if lookup.credential is None:
        return "bad", markup("none found")
    credential = lookup.credential
    words = "signed in" if _is_of_sign_in(one, credential) else "valid"
    expires_at = credential.claims.expires_at
    if credential.has_expired(now):
        return "bad", markup("expired at {at}", at=clock_time(expires_at or 0.0))
    if expires_at is None:
        return "good", markup("{words}, without a known end", words=words)
    return "good", markup("{words}, for {left}", words=words, left=countdown(expires_at, now))


def _is_of_sign_in(one: UpstreamView, credential: Credential) -> bool:
    return bool(one.stored_in) and credential.source.startswith(one.stored_in)


# --- signing in and out ---


def _sign_in(view: View, one: UpstreamView) -> Html:
    if not one.upstream.configured or not one.stored_in:
        return Html()
    if one.state.sign_in and view.can_act:
        return _under_way(one.state.sign_in, view.now)
    lookup = one.state.lookup
    credential = lookup.credential if lookup else None
    is_valid = credential is not None and not credential.has_expired(view.now)
    stored = [found for found in _known(one.state) if _is_of_sign_in(one, found)]
    if not view.can_act:
        return markup(
            '<p class="quiet">To sign in or out, run <code>ppmproxy login</code> or <code>ppmproxy logout</code> '
            "{where}.</p>",
            where="as the user who runs this proxy",
        )
    buttons = [_button(view, one, SIGN_IN, "Sign in again" if is_valid else "Sign in", is_first=not is_valid)]
    if stored:
        buttons.append(_button(view, one, SIGN_OUT, "Sign out", is_first=False))
    return markup(
        '<div class="actions needs-script">{buttons}</div>'
        "<noscript><p>Without JavaScript: <code>ppmproxy login</code>.</p></noscript>{end}",
        buttons=joined(buttons),
        end=_last_sign_in(one.state, is_valid=is_valid),
    )


def _known(state: UpstreamSnapshot) -> Iterator[Credential]:
    for lookup in state.lookups.values():
        yield from (found for found in (lookup.credential, lookup.rejected) if found is not None)


def _button(view: View, one: UpstreamView, path: str, text: str, *, is_first: bool) -> Html:
    is_one_of_several = len(view.upstreams) > 1
    return markup(
        '<button type="button" id="{id}" class="{kind}" data-action="{path}?upstream={name}">{text}{of}</button>',
        id=f"{view.upstream_id(one)}-{path.rpartition('/')[2]}",
        kind="first" if is_first else "",
        path=path,
        name=quote(one.upstream.name, safe=""),
        text=text,
        of=markup('<span class="unseen"> ({name})</span>', name=one.upstream.name) if is_one_of_several else None,
    )


_UNDER_WAY = """<div class="sign-in"><p><strong>Sign in:</strong> {link} and confirm this code:</p>
<p class="code"><code>{code}</code> <button type="button" class="needs-script" data-copy="{code}">Copy<span
class="unseen"> the code</span></button></p>{qr}
<p>Waiting for you, for {left}. This page goes on by itself.</p></div>"""


def _under_way(sign_in: SignInPage, now: float) -> Html:
    from ppmproxy.server.admin.qr_code import qr_code  # noqa: PLC0415 - for the few who sign in here

    return markup(
        _UNDER_WAY,
        link=link(sign_in.page, "open the sign-in page"),
        code=sign_in.code,
        qr=qr_code(sign_in.page),
        left=countdown(sign_in.expires_at, now),
    )


def _last_sign_in(state: UpstreamSnapshot, *, is_valid: bool) -> Html:
    end = state.sign_in_end
    if end is None or not (end.why or is_valid):
        return Html()
    if end.why:
        return markup('<p class="bad">The sign-in of {at} failed: {why}</p>', at=clock_time(end.at), why=end.why)
    return markup('<p class="good">Signed in at {at}.</p>', at=clock_time(end.at))


# --- credentials and latency ---

_CREDENTIAL = """<tr><th scope="row">{source}</th><td>{purposes}</td><td>{scopes}</td><td>{end}</td></tr>"""
_CREDENTIALS = """<details{is_open}><summary>Tokens in use</summary><div class="wide" role="region" tabindex="0"
aria-label="Tokens in use"><table><thead><tr><th scope="col">Source</th><th scope="col">For</th>
<th scope="col">Scopes</th><th scope="col">Valid</th></tr></thead><tbody>{rows}</tbody></table></div></details>"""


def _credentials(one: UpstreamView, now: float) -> Html:
    rows = joined(_credential(found, purposes, now) for found, purposes in one.state.credentials().items())
    return markup(_CREDENTIALS, rows=rows, is_open=Html(" open")) if rows else Html()


def _credential(credential: Credential, purposes: list[str], now: float) -> Html:
    expires_at = credential.claims.expires_at
    if credential.has_expired(now):
        end = markup('<span class="bad">expired</span>')
    elif expires_at is None:
        end = markup("without a known end")
    else:
        end = markup("until {at}", at=clock_time(expires_at))
    return markup(
        _CREDENTIAL,
        source=credential.source,
        purposes=", ".join(purposes),
        scopes=", ".join(credential.claims.scopes) or "not said",
        end=end,
    )


def _latency(state: UpstreamSnapshot, now: float) -> Html:
    spans = list(recent(state.latency, now))
    points = [
        Point(
            place,
            span.mean,
            time.strftime("%H:%M:%S", time.localtime(span.index * LATENCY_SPAN)),
            f"{milliseconds(span.mean)} ({span.answers})",
        )
        for place, span in spans
    ]
    usual = f"{milliseconds(statistics.median(span.mean for _, span in spans))}" if spans else "no answers"
    return line_chart("Time to an answer, last 15 minutes", usual, points)
