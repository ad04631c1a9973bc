"""Sources that fetch a token: a command, the system's keyring, an exchange of an identity token.

A fetch takes time, so `configured_sources` wraps each of them in a `RefreshingSource`.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ppmproxy.auth.credential import Credential
from ppmproxy.auth.secret import Secret
from ppmproxy.credentials.lookup import NothingFound, SourceBroken, SourceResult, TokenRequest
from ppmproxy.credentials.static_sources import credential_of
from ppmproxy.credentials.watched_file import UnreadableError, WatchedFile
from ppmproxy.errors import PpmProxyError

COMMAND_TIMEOUT = 10.0  # seconds
KEYRING_TIMEOUT = 5.0
MAX_OUTPUT = 1 << 16  # bytes


@dataclass(frozen=True, slots=True)
class CommandSource:
    """A program that prints the token on one line; started without a shell, killed after the time limit."""

    argv: tuple[str, ...]
    environ: Mapping[str, str] = field(repr=False)
    timeout: float = COMMAND_TIMEOUT  # seconds

    @property
    def name(self) -> str:
        return f"command {os.path.basename(self.argv[0])}"  # noqa: PTH119 - without the arguments, which may be secret

    async def find(self, _request: TokenRequest, /) -> SourceResult:
        try:
            process = await asyncio.create_subprocess_exec(
                *self.argv,
                env=dict(self.environ),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,  # may hold a token
                start_new_session=True,  # a process group, so that its children are killed with it
            )
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            return SourceBroken(self.name, f"cannot be started: {reason.lower()}")
        try:
            output = await asyncio.wait_for(_read_output(process), self.timeout)
        except asyncio.TimeoutError:
            return SourceBroken(self.name, f"did not end within {self.timeout:g} s")
        finally:
            await _kill(process)
        return self._result(process.returncode, output)

    def _result(self, code: int | None, output: bytes) -> SourceResult:
        if code:
            return SourceBroken(self.name, f"ended with exit code {code}")
        try:
            text = output.decode("utf-8-sig").strip()
        except UnicodeDecodeError:
            return SourceBroken(self.name, "did not print text")
        if "\n" in text:
            return SourceBroken(self.name, "printed more than one line, and the token is to be the only one")
        return credential_of(Secret(text), self.name)


async def _read_output(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None  # noqa: S101 - PIPE above
    output = bytearray()
    while len(output) < MAX_OUTPUT and (piece := await process.stdout.read(MAX_OUTPUT)):
        output += piece
    await process.wait()
    return bytes(output)


async def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    try:
        if sys.platform != "win32":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    except ProcessLookupError:
        pass
    except PermissionError:  # it runs as another user, as under sudo, and is left to itself
        return
    await process.wait()


class KeyringSource:
    """The system's keyring (the extra ``ppmproxy[keyring]``), queried in a thread of its own with a time limit.

    A locked keyring blocks for ever where there is a display for its dialog, and a thread cannot be stopped. So at most
    one thread is blocked at any time, and it does not keep the process alive.
    """

    name = "keyring"

    def __init__(self, timeout: float | None = None) -> None:
        self._timeout = timeout or KEYRING_TIMEOUT
        self._blocked_thread: threading.Thread | None = None

    async def find(self, token_request: TokenRequest, /) -> SourceResult:
        if self._blocked_thread is not None and self._blocked_thread.is_alive():
            return SourceBroken(self.name, "does not answer: unlock it")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[str | None] = loop.create_future()
        thread = threading.Thread(
            target=_query_keyring, args=(token_request.url, loop, answer), daemon=True, name="keyring"
        )
        thread.start()
        try:
            token = await asyncio.wait_for(answer, self._timeout)
        except asyncio.TimeoutError:
            self._blocked_thread = thread
            return SourceBroken(self.name, f"did not answer within {self._timeout:g} s: unlock it")
        except ImportError:
            return NothingFound(self.name, "the extra ppmproxy[keyring] is not installed")
        except Exception as error:  # noqa: BLE001 - back ends raise any class
            return _keyring_failure(self.name, type(error).__name__)
        if token is None:
            return NothingFound(self.name, f"no entry for {token_request.url}")
        return credential_of(Secret(token), self.name)


def _keyring_failure(source: str, error: str) -> SourceResult:
    """The result for an exception of the keyring, by its class name: its text may hold a secret."""
    if error == "NoKeyringError":
        return NothingFound(source, "no keyring is running on this machine")
    return SourceBroken(source, "is locked: unlock it" if error == "KeyringLocked" else f"failed: {error}")


def _query_keyring(url: str, loop: asyncio.AbstractEventLoop, answer: asyncio.Future[str | None]) -> None:
    def settle(setter: Callable[[Any], None], value: object) -> None:
        if not answer.done():
            setter(value)

    try:
        token = _keyring_entry(url)
    except BaseException as error:  # noqa: BLE001 - handed over to the waiting coroutine
        outcome: tuple[Callable[[Any], None], object] = (answer.set_exception, error)
    else:
        outcome = (answer.set_result, token)
    with contextlib.suppress(RuntimeError):  # the loop has been closed
        loop.call_soon_threadsafe(settle, *outcome)


def _keyring_entry(url: str) -> str | None:
    """The password stored for the upstream's URL or host, under the names that uv and pip use."""
    backend = _keyring_backend()
    # posit-keyring is a back end too; it would start a sign-in of its own and wait for it.
    backends = [one for one in getattr(backend, "backends", [backend]) if "posit" not in type(one).__module__]
    for service in (url, f"{url}/", urlsplit(url).netloc, urlsplit(url).hostname or ""):
        for one in backends:
            password = one.get_password(service, "__token__")
            if password:
                return str(password)
    return None


def _keyring_backend() -> Any:
    """The back end for the keyrings that run now: the library looks for them once, and one may start later."""
    keyring = importlib.import_module("keyring")
    found: Any = getattr(getattr(keyring, "backend", None), "get_all_keyring", None)
    if hasattr(found, "saved_result"):  # as jaraco.functools.once keeps it
        found.reset()
        keyring.core.init_backend()
    return keyring.get_keyring()


ExchangeToken = Callable[[Secret], Awaitable[Secret]]  # identity token → access token, at the upstream


@dataclass(frozen=True, slots=True)
class IdentityTokenSource:
    """A file with the platform's identity token (Kubernetes, GitLab …), exchanged at the Package Manager (RFC 8693).

    The platform rotates the file, so every refresh reads it again.
    """

    file: WatchedFile
    exchange: ExchangeToken = field(repr=False)
    register: Callable[[Secret], None] = field(repr=False)

    @property
    def name(self) -> str:
        return f"identity token {self.file.path}"

    async def find(self, _request: TokenRequest, /) -> SourceResult:
        try:
            identity = credential_of(Secret((await self.file.text()).strip()), self.name)
        except UnreadableError as error:
            return SourceBroken(self.name, str(error))
        if not isinstance(identity, Credential):
            return identity
        return await _exchange(identity.secret, self.name, self.exchange, self.register)


@dataclass(frozen=True, slots=True)
class GitHubActionsSource:
    """The identity token of a GitHub Actions job, exchanged at the Package Manager.

    The job needs ``permissions: id-token: write``.
    """

    fetch_identity: Callable[[], Awaitable[Secret]] = field(repr=False)  # from GitHub
    exchange: ExchangeToken = field(repr=False)
    register: Callable[[Secret], None] = field(repr=False)
    name: str = "GitHub Actions' identity token"

    async def find(self, _request: TokenRequest, /) -> SourceResult:
        try:
            identity = await self.fetch_identity()
        except PpmProxyError as error:
            return SourceBroken(self.name, f"{error}; {error.hint}")
        return await _exchange(identity, self.name, self.exchange, self.register)


async def _exchange(
    identity: Secret, name: str, exchange: ExchangeToken, register: Callable[[Secret], None]
) -> SourceResult:
    register(identity)
    try:
        token = await exchange(identity)
    except PpmProxyError as error:
        return SourceBroken(name, f"{error}; {error.hint}" if error.hint else str(error))
    return credential_of(token, name)
