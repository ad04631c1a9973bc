"""Sign-in while the client waits: one device flow for all who wait, and how long each of them is held.

To change when a sign-in starts by itself, or what a waiting client sees, open this file.

No installer has a way to ask its person for anything. But pip and uv follow a redirect to where they already are,
silently, and nine fit into what both allow (uv follows ten, pip twenty-nine). So a request that needs a token nobody
has is held, sent round again, held once more after the last round, and goes on by itself once somebody has signed in:
there is time for that for almost two minutes.
"""

from __future__ import annotations

import asyncio
import enum
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from ppmproxy.auth.secret import Secret
from ppmproxy.config.model import SignIn, Upstream
from ppmproxy.credentials.device_flow import Clock, DeviceGrant, sso_offered, start_device_flow, token_from
from ppmproxy.errors import CredentialError, PpmProxyError, SignInNeededError, SignInNotOfferedError
from ppmproxy.upstream.client import UpstreamClient

HELD_FOR = 11.0  # seconds, ten times over; pip gives up a silent request after 15, uv after 30
MAX_REDIRECTS = 9  # redirects per request; uv follows ten
FOLLOWED_WITHIN = 5.0  # seconds in which a client comes back from a redirect
CLOSING_STEP = 0.1  # seconds
LEFT_ALONE_FOR = 60.0  # seconds after a sign-in has ended, before another one starts by itself


class NextStep(enum.Enum):
    """What a waiting request does next."""

    RETRY = "go-on"  # somebody has signed in: try again now
    REDIRECT = "come-back"  # redirect it to where it is


@dataclass(slots=True)
class RedirectCounter:
    """How often each waiting request was sent round.

    A request carries no mark of its own: the one that comes back is the one that was sent away longest ago from the
    same place. Two clients that ask for the same thing at once may be taken for each other, which does no harm.
    """

    now: Callable[[], float] = time.monotonic
    _away: dict[str, deque[tuple[float, int]]] = field(default_factory=dict)

    def arrive(self, place: str) -> int:
        """How often the request that arrives has been sent round."""
        waiting = self._away.get(place, deque())
        while waiting:
            left_at, rounds = waiting.popleft()
            if not waiting:
                del self._away[place]
            if self.now() - left_at <= FOLLOWED_WITHIN:
                return rounds
        return 0

    def leave(self, place: str, rounds: int) -> None:
        """The request is sent round, for the nth time."""
        self._away.setdefault(place, deque()).append((self.now(), rounds))


@dataclass(frozen=True, slots=True)
class SignInPrompt:
    """How a person gets to see the sign-in page."""

    can_be_seen: Callable[[], bool]  # whether there is a browser or a terminal
    show: Callable[[DeviceGrant | None], None]  # None: it is over
    found: Callable[[Secret], None] = field(repr=False)
    save: Callable[[str, Secret], None] = field(repr=False)  # address, token; blocks for a moment


class InteractiveSignIn:
    """The sign-in of one upstream; at most one is under way, however many wait for it."""

    def __init__(self, upstream: Upstream, client: UpstreamClient, prompt: SignInPrompt, clock: Clock) -> None:
        self._upstream = upstream
        self._client = client
        self._prompt = prompt
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._ended_at = float("-inf")
        self._failure: PpmProxyError | None = None
        self._offered: bool | None = None
        self.grant: DeviceGrant | None = None  # while somebody is awaited
        self.rounds = RedirectCounter()
        self.held_for = HELD_FOR

    def __repr__(self) -> str:
        return f"SignInDesk({self._upstream.name}, waiting={self.grant is not None})"

    async def wait(self, why: CredentialError, place: str) -> NextStep:
        """Hold a request that lacks a token; raises what the client is to be told when waiting is of no use.

        `why` is what it would have been told without a sign-in; `place` names what it asked for, and who asked.
        """
        rounds = self.rounds.arrive(place)
        if self._task is None and self._has_just_ended and self._failure is None:
            return (
                NextStep.RETRY
            )  # there is a token since this request looked, or one that is of no use: nobody is asked again
        await self._check_use(why)
        if self._task is None:
            self._task = asyncio.create_task(self._sign_in())
        done, _ = await asyncio.wait({self._task}, timeout=self.held_for)
        if done:
            if self._failure is not None:
                raise self._failure
            return NextStep.RETRY
        if rounds >= MAX_REDIRECTS:
            raise self._still_needed(why)
        self.rounds.leave(place, rounds + 1)
        return NextStep.REDIRECT

    async def _check_use(self, why: CredentialError) -> None:
        """Raise when no sign-in is to be started for this."""
        if self._task is not None:
            return
        if self._has_just_ended and isinstance(self._failure, CredentialError):
            raise self._failure
        token_request = self._upstream.sign_in
        if token_request is SignIn.NEVER or (token_request is SignIn.AUTO and not self._prompt.can_be_seen()):
            raise why
        if self._offered is None:
            self._offered = await sso_offered(self._client, self._upstream.url)
        if not self._offered:
            raise why

    @property
    def _has_just_ended(self) -> bool:
        return 0 <= self._clock.now() - self._ended_at < LEFT_ALONE_FOR

    def _still_needed(self, why: CredentialError) -> SignInNeededError:
        if self.grant is None:
            return SignInNeededError(str(why), "run `ppmproxy login`, then try again")
        return SignInNeededError(
            f"nobody has signed in to {self._upstream.url} yet",
            f"open {self.grant.page} and confirm the code {self.grant.user_code}, then try again",
        )

    async def _sign_in(self) -> None:
        log = structlog.get_logger("ppmproxy").bind(upstream=self._upstream.name)
        self._failure = None
        try:
            grant = await start_device_flow(self._client, self._upstream.url, self._prompt.found, self._clock)
            self.grant = grant
            log.warning("sign_in_needed", open=grant.page, code=grant.user_code)
            self._prompt.show(grant)
            token = await token_from(self._client, grant, self._prompt.found, self._clock)
            await asyncio.to_thread(self._prompt.save, self._upstream.url, token)
            log.info("sign_in_done")
        except PpmProxyError as error:
            self._failure = error
            if isinstance(error, SignInNotOfferedError):
                self._offered = False
            log.warning("sign_in_failed", why=str(error))
        finally:
            self._ended_at = self._clock.now()
            self.grant = None
            self._task = None
            self._prompt.show(None)

    async def close(self) -> None:
        """Give up a sign-in under way, and close the connections."""
        task = self._task
        while task is not None and not task.done():
            task.cancel()  # again and again: until Python 3.12, asyncio.wait_for may swallow one
            await asyncio.wait({task}, timeout=CLOSING_STEP)
        await self._client.close()
