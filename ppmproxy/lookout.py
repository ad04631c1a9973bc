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
from ppmproxy.exchange import Way
from ppmproxy.status import Tally
from ppmproxy.upstream import Outgoing
from ppmproxy.ways import Ways

PAGE = "/__ping__"  # takes no token, costs the server nothing
NEWS_LASTS = 20.0  # seconds
BAD_NEWS_LASTS = 5.0  # seconds: what is wrong may be over soon
DEADLINE = 10.0  # seconds for one look
NEVER = float("-inf")


@dataclass(slots=True)
class Lookout:
    """Looks at upstreams; `close` ends what is under way."""

    tally: Tally
    _looks: dict[str, asyncio.Task[None]] = field(default_factory=dict)  # by upstream, those of the past included
    _looked_at: dict[str, float] = field(default_factory=dict)

    def look(self, ways: Ways) -> None:
        """Start looking wherever there is no news; does not wait."""
        for name, way in ways.items():
            if way.upstream.configured and not self._is_looking(name) and self._is_due(way):
                self._looked_at[name] = way.now()
                self._looks[name] = asyncio.create_task(self._look_at(way))

    async def close(self) -> None:
        """End the looks that are under way."""
        looks = [look for look in self._looks.values() if not look.done()]
        for look in looks:
            look.cancel()
        await asyncio.gather(*looks, return_exceptions=True)

    def _is_looking(self, name: str) -> bool:
        return name in self._looks and not self._looks[name].done()

    def _is_due(self, way: Way) -> bool:
        name = way.upstream.name
        looked_at = self._looked_at.get(name, NEVER)
        if name in self.tally.silences or self.tally.standing(name).known_bad(way.now()):
            age, lasts = way.now() - looked_at, BAD_NEWS_LASTS
        else:
            age, lasts = way.now() - max(looked_at, self.tally.answered_at.get(name, NEVER)), NEWS_LASTS
        return not 0 <= age < lasts  # below 0: the clock was set

    async def _look_at(self, way: Way) -> None:
        why = await _silence(way)
        if why:
            self.tally.missed(way.upstream.name, way.now(), why)
        else:
            self.tally.heard(way.upstream.name, way.now())
        await self._look_for_another_token(way)

    async def _look_for_another_token(self, way: Way) -> None:
        """Where the last token was refused there may be another by now; the same one proves nothing."""
        standing = self.tally.standing(way.upstream.name)
        refused = standing.search.rejected if standing.search else None
        if not standing.known_bad(way.now()) or refused is None or standing.wanted is None:
            return
        search = await way.chain.find(standing.wanted)
        if search.credential is not None and search.credential.secret != refused.secret:
            standing.search = search


async def _silence(way: Way) -> str:
    """Why no answer came; "" when one did, whatever it said of this page."""
    try:
        return await asyncio.wait_for(_problem(way), DEADLINE)
    except asyncio.TimeoutError:
        return f"{way.upstream.url} did not answer within {DEADLINE:g} seconds"
    except SILENT as error:
        return str(error)
    except PpmProxyError:
        return ""


async def _problem(way: Way) -> str:
    async with way.client.send(Outgoing("GET", way.upstream.url + PAGE, [("Accept", "*/*")])) as received:
        if received.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            return ""
        return one_line(f"{way.upstream.url} answered {received.status} {received.reason}")
