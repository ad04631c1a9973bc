"""Interactive sign-in: one device flow for all waiting requests, and how long each request waits.

No installer can prompt its person. But pip and uv silently follow a redirect to the same URL, and both allow nine of
them (uv follows ten, pip twenty-nine). So a request without a token is held, redirected to itself, and held once more
after the last redirect. It continues by itself as soon as somebody has signed in: almost two minutes in all.
"""

from __future__ import annotations

import asyncio
import enum
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from ppmproxy.auth.secret import Secret
from ppmproxy.config.model import SignIn, Upstream
from ppmproxy.credentials.device_flow import Clock, is_sign_in_offered, start_device_flow, wait_for_token
from ppmproxy.credentials.device_flow_responses import DeviceGrant
from ppmproxy.errors import CredentialError, PpmProxyError, SignInNeededError, SignInNotOfferedError
from ppmproxy.upstream.client import UpstreamClient

HOLD_TIME = 11.0  # seconds, ten times; pip gives up a silent request after 15, uv after 30
MAX_REDIRECTS = 9  # per request; uv follows ten
RETURN_WINDOW = 5.0  # seconds in which a client follows a redirect
CANCEL_INTERVAL = 0.1  # seconds
COOL_DOWN = 60.0  # seconds between the end of a sign-in and the automatic start of another


class NextStep(enum.Enum):
    """The next step of a waiting request."""

    RETRY = "retry"  # somebody has signed in: send the request now
    REDIRECT = "redirect"  # redirect the client to the same URL


@dataclass(slots=True)
class RedirectCounter:
    """The number of redirects of each waiting request.

    A request has no identifier, so the one that returns is taken for the one that was redirected first with the same
    key. Two clients with the same key may be confused, which does no harm.
    """

    now: Callable[[], float] = time.monotonic
    _redirected: dict[str, deque[tuple[float, int]]] = field(default_factory=dict)

    def take(self, key: str) -> int:
        """The number of redirects of the request that arrives now."""
        waiting = self._redirected.get(key, deque())
        while waiting:
            redirected_at, redirects = waiting.popleft()
            if not waiting:
                del self._redirected[key]
            if self.now() - redirected_at <= RETURN_WINDOW:
                return redirects
        return 0

    def record(self, key: str, redirects: int) -> None:
        """Record that a request is redirected, with the number of its redirects so far."""
        self._redirected.setdefault(key, deque()).append((self.now(), redirects))


@dataclass(frozen=True, slots=True)
class SignInPrompt:
    """How the sign-in page is shown to a person, and how the token is stored."""

    is_visible: Callable[[], bool]  # whether there is a browser or a terminal
    show: Callable[[DeviceGrant | None], None]  # None: the sign-in has ended
    register: Callable[[Secret], None] = field(repr=False)  # with the redactor
    save: Callable[[Secret], Awaitable[None]] = field(repr=False)


class InteractiveSignIn:
    """The sign-in to one upstream; all waiting requests share it."""

    def __init__(self, upstream: Upstream, client: UpstreamClient, prompt: SignInPrompt, clock: Clock) -> None:
        self._upstream = upstream
        self._client = client
        self._prompt = prompt
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._ended_at = float("-inf")
        self._failure: PpmProxyError | None = None
        self._offered: bool | None = None
        self.grant: DeviceGrant | None = None  # while a sign-in is under way
        self.redirects = RedirectCounter()
        self.hold_time = HOLD_TIME

    def __repr__(self) -> str:
        return f"InteractiveSignIn({self._upstream.name}, waiting={self.grant is not None})"

    async def wait(self, error: CredentialError, key: str) -> NextStep:
        """Hold a request without a token; raises the error for the client when waiting is of no use.

        `error` is the client's error without a sign-in; `key` names the client and its target, for `RedirectCounter`.
        """
        redirects = self.redirects.take(key)
        if self._task is None and self._is_cooling_down and self._failure is None:
            # A token has come since the request's look-up, or one that does not help: no second sign-in for it.
            return NextStep.RETRY
        await self._check_useful(error)
        if self._task is None:
            self._task = asyncio.create_task(self._sign_in())
        done, _ = await asyncio.wait({self._task}, timeout=self.hold_time)
        if done:
            if self._failure is not None:
                raise self._failure
            return NextStep.RETRY
        if redirects >= MAX_REDIRECTS:
            raise self._still_needed(error)
        self.redirects.record(key, redirects + 1)
        return NextStep.REDIRECT

    async def _check_useful(self, error: CredentialError) -> None:
        """Raise when no sign-in may start."""
        if self._task is not None:
            return
        if self._is_cooling_down and isinstance(self._failure, CredentialError):
            raise self._failure
        mode = self._upstream.sign_in
        if mode is SignIn.NEVER or (mode is SignIn.AUTO and not self._prompt.is_visible()):
            raise error
        if self._offered is None:
            self._offered = await is_sign_in_offered(self._client, self._upstream.url)
        if not self._offered:
            raise error

    @property
    def _is_cooling_down(self) -> bool:
        return 0 <= self._clock.now() - self._ended_at < COOL_DOWN

    def _still_needed(self, error: CredentialError) -> SignInNeededError:
        if self.grant is None:
            return SignInNeededError(str(error), "run `ppmproxy login`, then try again")
        return SignInNeededError(
            f"nobody has signed in to {self._upstream.url} yet",
            f"open {self.grant.page} and confirm the code {self.grant.user_code}, then try again",
        )

    async def _sign_in(self) -> None:
        log = structlog.get_logger("ppmproxy").bind(upstream=self._upstream.name)
        self._failure = None
        try:
            grant = await start_device_flow(self._client, self._upstream.url, self._prompt.register, self._clock)
            self.grant = grant
            log.warning("sign_in_needed", url=grant.page, code=grant.user_code)
            self._prompt.show(grant)
            token = await wait_for_token(self._client, grant, self._prompt.register, self._clock)
            await self._prompt.save(token)
            log.info("sign_in_succeeded")
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
        """Cancel a sign-in under way, and close the connections."""
        task = self._task
        while task is not None and not task.done():
            task.cancel()  # repeatedly: before Python 3.12, asyncio.wait_for may swallow one
            await asyncio.wait({task}, timeout=CANCEL_INTERVAL)
        await self._client.close()
