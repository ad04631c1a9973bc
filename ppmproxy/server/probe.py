"""Whether each upstream still answers: looked at when somebody asks for readiness, and only when there is no news.

To change how often an upstream is looked at, or what counts as an answer, open this file.

Nobody asks an idle laptop whether its proxy is ready, and so nothing is sent from there. An orchestrator asks every few
seconds, and is told at once what the last request or the last look has found; the next look starts behind its back. The
public default is left alone: nobody has asked for it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from http import HTTPStatus

from ppmproxy.errors import SILENT, PpmProxyError, one_line
from ppmproxy.server.authenticated_send import UpstreamSession
from ppmproxy.server.state import Metrics
from ppmproxy.server.wiring import UpstreamSessions
from ppmproxy.upstream.messages import UpstreamRequest

PAGE = "/__ping__"  # takes no token, costs the server nothing
NEWS_LASTS = 20.0  # seconds
BAD_NEWS_LASTS = 5.0  # seconds: what is wrong may be over soon
DEADLINE = 10.0  # seconds for one look
NEVER = float("-inf")


@dataclass(slots=True)
class UpstreamProbe:
    """Looks at upstreams; `close` ends what is under way."""

    metrics: Metrics
    _looks: dict[str, asyncio.Task[None]] = field(default_factory=dict)  # by upstream, those of the past included
    _looked_at: dict[str, float] = field(default_factory=dict)

    def look(self, sessions: UpstreamSessions) -> None:
        """Start looking wherever there is no news; does not wait."""
        for name, session in sessions.items():
            if session.upstream.configured and not self._is_looking(name) and self._is_due(session):
                self._looked_at[name] = session.now()
                self._looks[name] = asyncio.create_task(self._look_at(session))

    async def close(self) -> None:
        """End the looks that are under way."""
        looks = [look for look in self._looks.values() if not look.done()]
        for look in looks:
            look.cancel()
        await asyncio.gather(*looks, return_exceptions=True)

    def _is_looking(self, name: str) -> bool:
        return name in self._looks and not self._looks[name].done()

    def _is_due(self, session: UpstreamSession) -> bool:
        name = session.upstream.name
        looked_at = self._looked_at.get(name, NEVER)
        if name in self.metrics.outages or self.metrics.upstream_state(name).unready_reason(session.now()):
            age, lasts = session.now() - looked_at, BAD_NEWS_LASTS
        else:
            age, lasts = session.now() - max(looked_at, self.metrics.answered_at.get(name, NEVER)), NEWS_LASTS
        return not 0 <= age < lasts  # below 0: the clock was set

    async def _look_at(self, session: UpstreamSession) -> None:
        why = await _silence(session)
        if why:
            self.metrics.record_failure(session.upstream.name, session.now(), why)
        else:
            self.metrics.record_success(session.upstream.name, session.now())
        await self._look_for_another_token(session)

    async def _look_for_another_token(self, session: UpstreamSession) -> None:
        """Where the last token was refused there may be another by now; the same one proves nothing."""
        upstream_state = self.metrics.upstream_state(session.upstream.name)
        refused = upstream_state.lookup.rejected if upstream_state.lookup else None
        if not upstream_state.unready_reason(session.now()) or refused is None or upstream_state.token_request is None:
            return
        lookup = await session.chain.find(upstream_state.token_request)
        if lookup.credential is not None and lookup.credential.secret != refused.secret:
            upstream_state.lookup = lookup


async def _silence(session: UpstreamSession) -> str:
    """Why no answer came; "" when one did, whatever it said of this page."""
    try:
        return await asyncio.wait_for(_problem(session), DEADLINE)
    except asyncio.TimeoutError:
        return f"{session.upstream.url} did not answer within {DEADLINE:g} seconds"
    except SILENT as error:
        return str(error)
    except PpmProxyError:
        return ""


async def _problem(session: UpstreamSession) -> str:
    async with session.client.send(
        UpstreamRequest("GET", session.upstream.url + PAGE, [("Accept", "*/*")])
    ) as received:
        if received.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            return ""
        return one_line(f"{session.upstream.url} answered {received.status} {received.reason}")
