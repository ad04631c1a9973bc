"""Health probe of the upstreams: sent when readiness is asked for and there is no recent news.

An orchestrator asks for readiness every few seconds and is answered at once, from the last request or the last probe;
the next probe runs in the background. Nobody asks an idle laptop, so nothing is sent from there. The public default is
never probed: nobody has configured it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from ppmproxy.errors import SILENT, PpmProxyError, one_line
from ppmproxy.server.reload import InFlight
from ppmproxy.server.session import UpstreamSession
from ppmproxy.upstream.messages import UpstreamRequest
from ppmproxy.upstream.retries import NO_RETRIES

PAGE = "/__ping__"  # takes no token, costs the server nothing
GOOD_NEWS_LASTS = 20.0  # seconds
BAD_NEWS_LASTS = 5.0  # seconds: what is wrong may be over soon
DEADLINE = 10.0  # seconds for one probe
NEVER = float("-inf")


@dataclass(slots=True)
class UpstreamProbe:
    """Probes upstreams; `close` cancels the probes under way."""

    _probes: dict[str, asyncio.Task[None]] = field(default_factory=dict)  # by upstream, finished ones included
    _probed_at: dict[str, float] = field(default_factory=dict)

    def poke(self, sessions: Mapping[str, UpstreamSession], in_flight: InFlight) -> None:
        """Start a probe of each upstream of which there is no recent news; does not wait."""
        for name, session in sessions.items():
            if session.upstream.configured and not self._is_probing(name) and self._is_due(session):
                self._probed_at[name] = session.now()
                self._probes[name] = asyncio.create_task(_probe(session, in_flight))

    async def close(self) -> None:
        """Cancel the probes under way."""
        probes = [probe for probe in self._probes.values() if not probe.done()]
        for probe in probes:
            probe.cancel()
        await asyncio.gather(*probes, return_exceptions=True)

    def _is_probing(self, name: str) -> bool:
        return name in self._probes and not self._probes[name].done()

    def _is_due(self, session: UpstreamSession) -> bool:
        state, now = session.state.snapshot(), session.now()
        probed_at = self._probed_at.get(session.upstream.name, NEVER)
        if state.outage or state.unready_reason(now):
            age, lasts = now - probed_at, BAD_NEWS_LASTS
        else:
            answered_at = NEVER if state.answered_at is None else state.answered_at
            age, lasts = now - max(probed_at, answered_at), GOOD_NEWS_LASTS
        return not 0 <= age < lasts  # below 0: the clock was set


async def _probe(session: UpstreamSession, in_flight: InFlight) -> None:
    with in_flight:  # a reload closes the session, but not before
        why = await _failure(session)
        if why:
            session.record_failure(why)
        else:
            session.record_success()
        await _look_for_another_token(session)


async def _look_for_another_token(session: UpstreamSession) -> None:
    """Look up the credential again after a rejection: the source may have another token by now."""
    for token_request, rejected in session.state.snapshot().rejected(session.now()).items():
        lookup = await session.chain.find(token_request)
        if lookup.credential is not None and lookup.credential.secret != rejected.secret:
            session.state.record_lookup(token_request, lookup, session.chain.source_warnings)


async def _failure(session: UpstreamSession) -> str:
    """Why no answer came; "" for an answer with any status below 500."""
    try:
        return await asyncio.wait_for(_problem(session), DEADLINE)
    except asyncio.TimeoutError:
        return f"{session.upstream.url} did not answer within {DEADLINE:g} seconds"
    except SILENT as error:
        return str(error)
    except PpmProxyError:
        return ""


async def _problem(session: UpstreamSession) -> str:
    request = UpstreamRequest("GET", session.upstream.url + PAGE, [("Accept", "*/*")])
    async with session.send(request, NO_RETRIES) as received:
        if received.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            return ""
        return one_line(f"{session.upstream.url} answered {received.status} {received.reason}")
