"""A daemon in a thread of its own, for the length of a command."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import ppmproxy.upstream.lean_aiohttp  # noqa: F401 - before aiohttp is imported elsewhere
from ppmproxy.access.discovery import tcp_addresses
from ppmproxy.auth.redaction import Redactor
from ppmproxy.cli import event_loop
from ppmproxy.cli.context import Context
from ppmproxy.config.local_address import TcpAddress
from ppmproxy.config.model import Settings
from ppmproxy.server.daemon import Daemon, Launch
from ppmproxy.server.log_stream import in_background
from ppmproxy.server.logs import line_style, set_up_logs
from ppmproxy.server.set_up_checks import CheckedFact, CheckRequest
from ppmproxy.server.wiring import SignInUi

STOP_TIMEOUT = 10.0  # seconds, and those in which files are uploaded to a shared cache

T = TypeVar("T")


class DaemonThread:
    """A running daemon: `start` returns when it listens, `stop` when it has ended."""

    def __init__(self, settings: Settings, context: Context, prompt: Callable[[str, str], None]) -> None:
        self._settings = settings
        self._context = context
        self._prompt = prompt
        self._is_up = threading.Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="ppmproxy", daemon=True)
        self._daemon: Daemon | None = None
        self.addresses: tuple[TcpAddress, ...] = ()

    @classmethod
    def start(cls, settings: Settings, context: Context, prompt: Callable[[str, str], None]) -> DaemonThread:
        """Start one; `prompt` is called with page and code of a sign-in. Raises what `Daemon.start` raises."""
        thread = cls(settings, context, prompt)
        thread._thread.start()
        thread._is_up.wait()
        if thread._failure is not None:
            raise thread._failure
        return thread

    @property
    def daemon(self) -> Daemon:
        """The running daemon; to be used in its own event loop, see `submit`."""
        if self._daemon is None:
            raise RuntimeError("the daemon has not started")
        return self._daemon

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Have a coroutine run in the daemon's event loop."""
        if self._loop is None:
            raise RuntimeError("the daemon has not started")
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def cut(self) -> None:
        """Cut off open requests and uploads; `stop` need not wait for them."""
        if self._loop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self.daemon.cut)

    def stop(self) -> None:
        """End it; open requests and uploads are cut off after the drain timeout."""
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(STOP_TIMEOUT + (self._settings.drain_timeout if self._settings.cache_url else 0.0))

    def _run(self) -> None:
        try:
            event_loop.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - raised by `start`
            self._failure = error
        finally:
            self._is_up.set()

    async def _checked_facts(
        self, settings: Settings, redactor: Redactor, asked: CheckRequest
    ) -> Sequence[CheckedFact]:
        """The checks of `doctor`, for one that runs within the command."""
        from ppmproxy.cli.doctor.for_page import checked_facts  # noqa: PLC0415 - only when it is run

        return await checked_facts(settings, self._context.environment, redactor, asked)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        redactor = Redactor()
        stream, style = in_background(self._context.err), line_style(self._context.environ)
        set_up_logs(redactor, self._settings.log_level, self._settings.log_format, stream, style)
        person = SignInUi(
            has_terminal=self._context.err.isatty(), also_show=lambda grant: self._prompt(grant.page, grant.user_code)
        )
        context = self._context.environment
        daemon = await Daemon.start(
            self._settings, context, redactor, person, Launch(is_ephemeral=True, diagnose=self._checked_facts)
        )
        self._daemon, self._stop = daemon, daemon.stop_requested
        self.addresses = tcp_addresses(daemon.urls)
        self._is_up.set()
        await self._stop.wait()
        await daemon.stop()
