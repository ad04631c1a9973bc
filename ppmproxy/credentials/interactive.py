"""Interactive sign-in: one device flow for all waiting requests.

No installer can prompt its person. So a request without a token waits here, while its client is redirected to the same
URL from time to time, and continues by itself as soon as somebody has signed in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from ppmproxy.auth.secret import Secret
from ppmproxy.config.model import SignIn, Upstream
from ppmproxy.credentials.device_flow import Clock, is_sign_in_offered, start_device_flow, wait_for_token
from ppmproxy.credentials.device_flow_responses import DeviceGrant
from ppmproxy.errors import CredentialError, PpmProxyError, SignInNeededError, SignInNotOfferedError
from ppmproxy.upstream.cancellation import cancel_until_done
from ppmproxy.upstream.client import UpstreamClient

COOL_DOWN = 60.0  # seconds between the end of a sign-in and the automatic start of another


@dataclass(frozen=True, slots=True)
class SignInPrompt:
    """How the sign-in page is shown to a person, and how the token is stored."""

    is_visible: Callable[[], bool]  # whether there is a browser or a terminal
    show: Callable[[DeviceGrant | None], None]  # None: the sign-in has ended
    open_page: Callable[[DeviceGrant], None]  # in a browser, for a sign-in that nobody began in one
    report: Callable[[PpmProxyError | None], None]  # why a sign-in failed; None: it succeeded
    register: Callable[[Secret], None] = field(repr=False)  # with the redactor
    save: Callable[[Secret], Awaitable[None]] = field(repr=False)
    forget: Callable[[], Awaitable[bool]]  # the stored token; whether there was one
    stored_in: str  # the source of the stored token


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
        self._is_offered: bool | None = None
        self._grant_known = asyncio.Event()
        self.on_stored: Callable[[], Awaitable[None]] | None = None  # called when a token has been stored or forgotten
        self.grant: DeviceGrant | None = None  # while a sign-in is under way

    def __repr__(self) -> str:
        return f"InteractiveSignIn({self._upstream.name}, waiting={self.grant is not None})"

    @property
    def stored_in(self) -> str:
        """The source of the token that a sign-in stores."""
        return self._prompt.stored_in

    async def wait(self, error: CredentialError) -> None:
        """Wait until there is a token; raises the error for the client when waiting is of no use.

        `error` is the client's error without a sign-in.
        """
        if self._task is None and self._is_cooling_down and self._failure is None:
            # A token has come since the request's look-up, or one that does not help: no second sign-in for it.
            return
        await self._check_useful(error)
        if self._task is None:
            self._start(self._prompt.open_page)
        assert self._task is not None  # noqa: S101 - it was started, or there was one
        await asyncio.wait({self._task})
        if self._failure is not None:
            raise self._failure

    async def begin(self, timeout: float) -> DeviceGrant | None:
        """Begin a sign-in that a person asked for, whatever `sign_in` says, or join the one under way.

        Returns what the person has to confirm as soon as it is known; None when that takes longer than so many seconds,
        or when the sign-in is finished already. Raises why it failed.
        """
        if self._task is None:
            self._start(lambda _grant: None)
        assert self._task is not None  # noqa: S101 - as above
        task, known = self._task, asyncio.create_task(self._grant_known.wait())
        try:
            await asyncio.wait({task, known}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            known.cancel()
        if task.done() and self._failure is not None:
            raise self._failure
        return self.grant

    async def sign_out(self) -> bool:
        """Forget the token of the last sign-in; whether there was one. Raises `TokenFileError`."""
        had_token = await self._prompt.forget()
        await self._stored()
        return had_token

    async def _stored(self) -> None:
        if self.on_stored is not None:
            await self.on_stored()

    async def _check_useful(self, error: CredentialError) -> None:
        """Raise when no sign-in may start."""
        if self._task is not None:
            return
        if self._is_cooling_down and isinstance(self._failure, CredentialError):
            raise self._failure
        mode = self._upstream.sign_in
        if mode is SignIn.NEVER or (mode is SignIn.AUTO and not self._prompt.is_visible()):
            raise error
        if self._is_offered is None:
            self._is_offered = await is_sign_in_offered(self._client, self._upstream.url)
        if not self._is_offered:
            raise error

    @property
    def _is_cooling_down(self) -> bool:
        return 0 <= self._clock.now() - self._ended_at < COOL_DOWN

    def still_needed(self, error: CredentialError) -> SignInNeededError:
        """The error for a client that has waited for as long as it can."""
        if self.grant is None:
            return SignInNeededError(str(error), "run `ppmproxy login`, then try again")
        return SignInNeededError(
            f"the sign-in to {self._upstream.url} is not finished",
            f"open {self.grant.page} and confirm the code {self.grant.user_code}, then try again",
        )

    def _start(self, open_page: Callable[[DeviceGrant], None]) -> None:
        self._grant_known.clear()
        self._task = asyncio.create_task(self._sign_in(open_page))

    async def _sign_in(self, open_page: Callable[[DeviceGrant], None]) -> None:
        log = structlog.get_logger("ppmproxy").bind(upstream=self._upstream.name)
        self._failure = None
        try:
            grant = await start_device_flow(self._client, self._upstream.url, self._prompt.register, self._clock)
            self.grant = grant
            self._grant_known.set()
            log.warning("sign_in_needed", url=grant.page, code=grant.user_code)
            self._prompt.show(grant)
            open_page(grant)
            token = await wait_for_token(self._client, grant, self._prompt.register, self._clock)
            await self._prompt.save(token)
            await self._stored()
            log.info("sign_in_succeeded")
            self._prompt.report(None)
        except PpmProxyError as error:
            self._failure = error
            if isinstance(error, SignInNotOfferedError):
                self._is_offered = False
            log.warning("sign_in_failed", why=str(error))
            self._prompt.report(error)
        finally:
            self._ended_at = self._clock.now()
            self.grant = None
            self._task = None
            self._prompt.show(None)

    async def close(self) -> None:
        """Cancel a sign-in under way, and close the connections."""
        if self._task is not None:
            await cancel_until_done(self._task)
        await self._client.close()
