"""Tokens that somebody has to be asked for: a command, the keyring, the Package Manager itself.

To change how a token is obtained from one of them, open this file. Asking costs time, so each of these is wrapped in
`RefreshingSource`, which keeps the answer and asks again when it must (`renewal` decides when).
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ppmproxy.auth.credential import Credential
from ppmproxy.auth.secret import Secret
from ppmproxy.credentials.lookup import CredentialSource, NothingFound, SourceBroken, SourceResult, TokenRequest
from ppmproxy.credentials.refresh import CachedToken, pause_after
from ppmproxy.credentials.static_sources import UnreadableError, WatchedFile, checked
from ppmproxy.errors import PpmProxyError

COMMAND_TIMEOUT = 10.0  # seconds
KEYRING_TIMEOUT = 5.0
LONGEST_OUTPUT = 1 << 16  # bytes of a command's output
NEVER = float("-inf")


class RefreshingSource:
    """A source whose answer is kept, renewed ahead of its expiry, and asked for once however many wait for it."""

    def __init__(
        self,
        source: CredentialSource,
        *,
        now: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._source = source
        self._now = now
        self._jitter = jitter
        self._kept: CachedToken | None = None
        self._asking: asyncio.Task[SourceResult] | None = None
        self._failure: NothingFound | SourceBroken | None = None
        self._failures = 0
        self._failed_at = NEVER

    def __repr__(self) -> str:
        return f"Renewing({self._source.name}, kept={self._kept is not None}, failures={self._failures})"

    @property
    def name(self) -> str:
        return self._source.name

    @property
    def trouble(self) -> str:
        """Why the last renewal failed while an older token is still in use; "" when nothing is wrong."""
        if self._kept is None or self._failure is None:
            return ""
        return f"{self._failure.source} could not be renewed: {self._failure.why}"

    async def find(self, token_request: TokenRequest, /) -> SourceResult:
        now = self._now()
        kept = self._kept
        if kept is not None and not kept.credential.has_expired(now):
            if kept.is_due(now) and not self._is_left_alone(now):
                self._ask(token_request)  # in the background; the old token still does
            return kept.credential
        if self._failure is not None and self._is_left_alone(now):
            return self._failure
        return await asyncio.shield(self._ask(token_request))

    def forget(self, secret: Secret) -> None:
        """The upstream refused this token: ask again, unless another one is kept by now."""
        if self._kept is not None and self._kept.credential.secret == secret:
            self._kept = None
            self._failed_at = NEVER

    def _is_left_alone(self, now: float) -> bool:
        """Whether the last failure is too fresh to ask again; not when it lies ahead because the clock was set back."""
        return self._failed_at <= now < self._failed_at + pause_after(self._failures)

    def _ask(self, token_request: TokenRequest) -> asyncio.Task[SourceResult]:
        if self._asking is None:
            self._asking = asyncio.create_task(self._asked(token_request))
        return self._asking

    async def _asked(self, token_request: TokenRequest) -> SourceResult:
        try:
            return self._understood(await self._source.find(token_request))
        finally:
            self._asking = None  # at once: who comes next may just have been told that the answer is no good

    def _understood(self, said: SourceResult) -> SourceResult:
        now = self._now()
        if isinstance(said, Credential):
            self._kept = CachedToken.since(said, now, self._jitter())
            self._failure, self._failures = None, 0
            return self._kept.credential
        self._failure = said
        self._failures += 1
        self._failed_at = now
        return said


@dataclass(frozen=True, slots=True)
class CommandSource:
    """A program that prints the token on one line; started without a shell, ended when it takes too long."""

    argv: tuple[str, ...]
    environ: Mapping[str, str] = field(repr=False)
    timeout: float = COMMAND_TIMEOUT  # seconds

    @property
    def name(self) -> str:
        return f"command {os.path.basename(self.argv[0])}"  # noqa: PTH119 - arguments may hold what is nobody's business

    async def find(self, _wanted: TokenRequest, /) -> SourceResult:
        try:
            process = await asyncio.create_subprocess_exec(
                *self.argv,
                env=dict(self.environ),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,  # it may print anything, a token too
                start_new_session=True,  # so that what it starts can be ended with it
            )
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            return SourceBroken(self.name, f"cannot be started: {reason.lower()}")
        try:
            output = await asyncio.wait_for(_all_output(process), self.timeout)
        except asyncio.TimeoutError:
            return SourceBroken(self.name, f"did not end within {self.timeout:g} s")
        finally:
            await _end(process)
        return self._understood(process.returncode, output)

    def _understood(self, code: int | None, output: bytes) -> SourceResult:
        if code:
            return SourceBroken(self.name, f"ended with exit code {code}")
        try:
            text = output.decode().strip()
        except UnicodeDecodeError:
            return SourceBroken(self.name, "printed something that is not text")
        if "\n" in text:
            return SourceBroken(self.name, "printed more than one line; only the token is expected")
        return checked(text, self.name)


async def _all_output(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None  # noqa: S101 - it was asked for as a pipe
    output = bytearray()
    while len(output) < LONGEST_OUTPUT and (piece := await process.stdout.read(LONGEST_OUTPUT)):
        output += piece
    await process.wait()
    return bytes(output)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    try:
        if sys.platform != "win32":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    except ProcessLookupError:
        pass
    await process.wait()


class KeyringSource:
    """The system's keyring (the extra ``ppmproxy[keyring]``), asked in a thread of its own with a time limit.

    A locked keyring blocks without end where there is a display to ask on, and a thread cannot be stopped: so at most
    one is ever stuck, and it does not keep the process alive.
    """

    name = "keyring"

    def __init__(self, timeout: float | None = None) -> None:
        self._timeout = timeout or KEYRING_TIMEOUT
        self._stuck: threading.Thread | None = None

    async def find(self, token_request: TokenRequest, /) -> SourceResult:
        if self._stuck is not None and self._stuck.is_alive():
            return SourceBroken(self.name, "still blocked, maybe locked; unlock it")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[str | None] = loop.create_future()
        thread = threading.Thread(
            target=_ask_keyring, args=(token_request.url, loop, answer), daemon=True, name="keyring"
        )
        thread.start()
        try:
            token = await asyncio.wait_for(answer, self._timeout)
        except asyncio.TimeoutError:
            self._stuck = thread
            return SourceBroken(self.name, f"did not answer within {self._timeout:g} s, maybe locked; unlock it")
        except ImportError:
            return NothingFound(self.name, "not installed (pip install 'ppmproxy[keyring]')")
        except Exception as error:  # noqa: BLE001 - back ends raise whatever they like
            return _keyring_failure(self.name, type(error).__name__)
        if token is None:
            return NothingFound(self.name, f"no entry for {token_request.url}")
        return checked(token, self.name)


def _keyring_failure(source: str, error: str) -> SourceResult:
    """What an exception of the keyring means, by its name: its text may hold anything."""
    if error == "NoKeyringError":
        return NothingFound(source, "this machine has none that is running")
    return SourceBroken(source, "is locked; unlock it" if error == "KeyringLocked" else f"failed: {error}")


def _ask_keyring(url: str, loop: asyncio.AbstractEventLoop, answer: asyncio.Future[str | None]) -> None:
    def tell(setter: Callable[[Any], None], value: object) -> None:
        if not answer.done():
            setter(value)

    try:
        token = _keyring_entry(url)
    except BaseException as error:  # noqa: BLE001 - handed over to the waiting coroutine
        outcome: tuple[Callable[[Any], None], object] = (answer.set_exception, error)
    else:
        outcome = (answer.set_result, token)
    with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
        loop.call_soon_threadsafe(tell, *outcome)


def _keyring_entry(url: str) -> str | None:
    """The password stored for the upstream's URL or host, by the names that uv and pip look under."""
    keyring = importlib.import_module("keyring")
    backend: Any = keyring.get_keyring()
    # posit-keyring is itself a back end, and would start a sign-in of its own and wait for it.
    backends = [one for one in getattr(backend, "backends", [backend]) if "posit" not in type(one).__module__]
    for service in (url, f"{url}/", urlsplit(url).netloc, urlsplit(url).hostname or ""):
        for one in backends:
            password = one.get_password(service, "__token__")
            if password:
                return str(password)
    return None


Exchange = Callable[[Secret], Awaitable[Secret]]  # identity token → access token, at the upstream


@dataclass(frozen=True, slots=True)
class IdentityTokenSource:
    """A file with an identity token of the platform (Kubernetes, GitLab …), exchanged at the Package Manager.

    The file rotates, so it is read again at every renewal. RFC 8693.
    """

    file: WatchedFile
    exchange: Exchange = field(repr=False)
    found: Callable[[Secret], None] = field(repr=False)

    @property
    def name(self) -> str:
        return f"identity token {self.file.path}"

    async def find(self, _wanted: TokenRequest, /) -> SourceResult:
        try:
            identity = checked((await self.file.text()).strip(), self.name)
        except UnreadableError as error:
            return SourceBroken(self.name, str(error))
        if not isinstance(identity, Credential):
            return identity
        return await _exchanged(identity.secret, self.name, self.exchange, self.found)


@dataclass(frozen=True, slots=True)
class GitHubActionsSource:
    """The identity token that GitHub Actions hands to a job, exchanged at the Package Manager.

    The job needs ``permissions: id-token: write``.
    """

    ask: Callable[[], Awaitable[Secret]] = field(repr=False)  # GitHub, for an identity token
    exchange: Exchange = field(repr=False)
    found: Callable[[Secret], None] = field(repr=False)
    name: str = "GitHub Actions' identity token"

    async def find(self, _wanted: TokenRequest, /) -> SourceResult:
        try:
            identity = await self.ask()
        except PpmProxyError as error:
            return SourceBroken(self.name, f"{error}; {error.hint}")
        return await _exchanged(identity, self.name, self.exchange, self.found)


async def _exchanged(identity: Secret, name: str, exchange: Exchange, found: Callable[[Secret], None]) -> SourceResult:
    found(identity)
    try:
        token = await exchange(identity)
    except PpmProxyError as error:
        return SourceBroken(name, f"{error}; {error.hint}" if error.hint else str(error))
    return checked(token.reveal(), name)
