"""Findings: what the daemon itself sees to be wrong, each with what to do. `ppmproxy doctor` looks at clients, too."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ppmproxy.auth.credential import moment
from ppmproxy.config.model import DEFAULT_REPO
from ppmproxy.server.admin.view import UpstreamView, View
from ppmproxy.server.upstream_state import UpstreamSnapshot

SOON = 600.0  # seconds before the end of a token at which it is worth a word


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong, and what to do."""

    what: str
    fix: str
    is_severe: bool = True  # requests fail because of it


RETRIED = "correct that; the daemon then tries again by itself, at the latest after a minute"


def findings_of(view: View) -> tuple[Finding, ...]:
    """All findings, the severe ones first."""
    found = [finding for one in view.upstreams for finding in _of_upstream(one, view.now)]
    if not view.access.get("kept", True):
        what = f"the users of connections cannot be checked: {view.access.get('why_not')}"
        found.append(Finding(what, "run `ppmproxy doctor`", is_severe=False))
    if view.cache and view.cache.trouble:
        fix = "run `ppmproxy doctor`, which has the fix; requests are served without the cache"
        found.append(Finding(f"the cache is not in use: {view.cache.trouble}", fix, is_severe=False))
    if view.cache and view.cache.shared_trouble:
        fix = "`ppmproxy doctor` says more; files come from the Package Manager"
        found.append(Finding(f"not asked at the moment: {view.cache.shared_trouble}", fix, is_severe=False))
    if view.state.is_draining:
        found.append(Finding("ppmproxy is stopping", "start it again: ppmproxy run"))
    return tuple(sorted(found, key=lambda finding: not finding.is_severe))


def _of_upstream(one: UpstreamView, now: float) -> Iterator[Finding]:
    name, state = one.upstream.name, one.state
    if state.outage:
        what = f"{name}: no good answer since {moment(state.outage.since)}: {state.outage.why}"
        yield Finding(what, "check the network and the VPN, and run `ppmproxy doctor`")
    if one.upstream.configured:
        yield from _of_credential(one, now)
    for warning in state.source_warnings:
        yield Finding(f"{name}: {warning}", RETRIED, is_severe=False)


def _of_credential(one: UpstreamView, now: float) -> Iterator[Finding]:
    name, state = one.upstream.name, one.state
    sign_in = "sign in below, or run `ppmproxy login`" if one.stored_in else "renew it at its source"
    for request, rejected in state.rejected(now).items():
        what = (
            f"{name}: the Package Manager rejected the token from {rejected.source} for {request.repo or DEFAULT_REPO}"
        )
        yield Finding(what, rejected.remedy or sign_in)
    yield from _of_lookup(name, state, sign_in, now)
    if state.sign_in:
        fix = "confirm its code below, or see `ppmproxy status`"
        yield Finding(f"{name}: a sign-in is waiting for confirmation", fix, is_severe=False)
    elif state.sign_in_end and state.sign_in_end.why:
        yield Finding(f"{name}: the last sign-in failed", state.sign_in_end.why, is_severe=False)


def _of_lookup(name: str, state: UpstreamSnapshot, sign_in: str, now: float) -> Iterator[Finding]:
    lookup = state.lookup
    if lookup is None:
        return
    credential = lookup.credential
    if credential is None:
        if not state.rejected(now):
            why = lookup.broken
            yield Finding(f"{name}: no token found ({why})" if why else f"{name}: no token found", sign_in)
        return
    expires_at = credential.claims.expires_at
    if credential.has_expired(now):
        yield Finding(f"{name}: the token from {credential.source} has expired", credential.remedy or sign_in)
    elif expires_at is not None and expires_at - now < SOON:
        what = f"{name}: the token from {credential.source} expires soon"
        yield Finding(what, credential.remedy or sign_in, is_severe=False)
    for remark in credential.remarks:
        yield Finding(f"{name}: {remark}", "see `ppmproxy doctor`", is_severe=False)
