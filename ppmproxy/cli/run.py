"""`ppmproxy run`: the daemon in the foreground: start, signals, reload, end."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import faulthandler
import gc
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace

import structlog

import ppmproxy.upstream.lean_aiohttp  # noqa: F401 - before aiohttp is imported elsewhere
from ppmproxy.access.hardening import harden, raise_file_limit
from ppmproxy.access.peer_credentials import own_uid
from ppmproxy.auth.redaction import Redactor
from ppmproxy.cli import event_loop
from ppmproxy.cli.already_running import own_daemon_named
from ppmproxy.cli.context import Context, load_config
from ppmproxy.config.local_address import address_of_url
from ppmproxy.config.model import DEFAULT_REPO, Settings
from ppmproxy.errors import EXIT_INTERRUPTED, EXIT_OK, ConfigError, PpmProxyError
from ppmproxy.server.daemon import Daemon, Launch
from ppmproxy.server.log_stream import in_background
from ppmproxy.server.logs import is_for_people, line_style, set_up_logs
from ppmproxy.server.rejections import way_to_a_token
from ppmproxy.server.reload import merge_reloadable
from ppmproxy.server.sd_notify import Systemd, goes_to_journal
from ppmproxy.server.set_up_checks import CheckedFact, CheckRequest
from ppmproxy.server.status_line import status_line
from ppmproxy.server.watchdog import Watchdog
from ppmproxy.server.wiring import SignInUi

EXIT_HUNG_UP = 129
OBJECTS_BETWEEN_COLLECTIONS = 5_000  # Python's 700 are made anew by each request or two
LAST_STEPS = 10.0  # seconds for what comes after the last request
_WHY_WAITING = "they take effect at the next start, or where systemd listens, by `ppmproxy service install`"


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """No arguments but the settings."""


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Serve until SIGTERM, a shutdown or idleness (exit code 0), or SIGINT (130).

    Raises `CannotListenError`, `ConfigError`.
    """
    harden()
    raise_file_limit()
    systemd = Systemd.from_environment(context.environ, os.getpid())
    if systemd.watchdog and sys.stderr is not None:
        faulthandler.enable()  # a blocked loop is ended with SIGABRT: where it was blocked is in the journal then
    try:
        return event_loop.run(_DaemonRun(arguments, context, systemd).serve())
    except PpmProxyError as error:
        systemd.status(error.detail)
        raise


@dataclass(frozen=True, slots=True)
class StopReason:
    """Why the daemon ends, and with which exit code."""

    why: str
    exit_code: int = EXIT_OK


class _DaemonRun:
    """One run of the daemon: settings, signals, reloads and notifications to systemd."""

    def __init__(self, arguments: argparse.Namespace, context: Context, systemd: Systemd) -> None:
        self._arguments = arguments
        self._context = context
        self._systemd = systemd
        self._redactor = Redactor()
        self._log_stream = in_background(context.out)
        self._log = structlog.get_logger("ppmproxy")
        self._trouble = ""  # with the last reload
        self._file = ""  # of the settings; "" without one
        self._settings = self._read()  # as they were at the start
        self._set_up_logs(self._settings)

    def _read(self) -> Settings:
        """The settings; `ConfigError` if their file is gone: another one, or none, leads to another Package Manager."""
        loaded = load_config(self._arguments, self._context)
        places = [str(candidate.path) for candidate in loaded.candidates]
        if self._file in places and loaded.file_name in (*places[places.index(self._file) + 1 :], ""):
            raise ConfigError(f"{self._file}: no such file", "put it back, or restart ppmproxy without it")
        self._file = loaded.file_name
        return loaded.settings

    def _set_up_logs(self, settings: Settings) -> None:
        in_journal = goes_to_journal(self._context.out, self._context.environ)
        style = line_style(self._context.environ, in_journal=in_journal)
        set_up_logs(self._redactor, settings.log_level, settings.log_format, self._log_stream, style)

    async def serve(self) -> int:
        """Serve until there is a reason to stop; returns the exit code."""
        signals = StopSignals(self._context)
        signals.listen()
        person = SignInUi(has_terminal=self._context.err.isatty())
        context = self._context.environment
        launch = Launch(self._systemd.sockets, diagnose=self._checked_facts, manager=self._systemd.manager)
        with own_daemon_named(self._settings, context):
            daemon = await Daemon.start(self._settings, context, self._redactor, person, launch)
        watchdog = Watchdog(self._systemd, lambda: self._status_line(daemon))
        daemon.services.state.on_change = watchdog.poke
        async with watchdog.running(), _ends_besides(signals, daemon, self._settings.exit_when_idle):
            try:
                self._started(daemon, watchdog)
                while (end := await signals.next()) is None:
                    self._reload(daemon, watchdog)
                self._log.info("daemon_stopping", why=end.why, in_flight=daemon.services.state.snapshot().in_flight)
            finally:
                self._systemd.stopping(self._settings.drain_timeout + LAST_STEPS)
                watchdog.poke()
                signals.on_second = daemon.cut
                await daemon.stop()
        return signals.second_code or end.exit_code

    async def _checked_facts(
        self, settings: Settings, redactor: Redactor, asked: CheckRequest
    ) -> Sequence[CheckedFact]:
        """The checks of `doctor`, for the page and for the command itself."""
        from ppmproxy.cli.doctor.for_page import checked_facts  # noqa: PLC0415 - only when a person asks for them

        return await checked_facts(settings, self._context.environment, redactor, asked)

    def _status_line(self, daemon: Daemon) -> str:
        services = daemon.services
        line = status_line(services.state.snapshot(), services.settings.upstreams, self._trouble, time.time())
        return self._redactor.text(line)

    def _started(self, daemon: Daemon, watchdog: Watchdog) -> None:
        if self._is_read_by_a_person:
            self._log_index_url(daemon)
        if daemon.services.settings.listen != self._settings.listen:
            self._log.warning("listen_overruled", by="the sockets that systemd passed", urls=daemon.urls)
        if own_uid() == 0:
            hint = "start it as another user, as with docker run --user: it needs no right of root"
            self._log.warning("daemon_runs_as_root", hint=hint)
        watchdog.send_status()
        gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
        gc.freeze()  # what exists by now stays: without it, the collector would look at all of it again and again
        self._systemd.ready()
        daemon.preconnect()
        self._find_first_credentials(daemon, watchdog)
        if (store := daemon.services.store) is not None:
            self._opening = asyncio.create_task(store.open())  # the first requests need not wait for it

    def _find_first_credentials(self, daemon: Daemon, watchdog: Watchdog) -> None:
        """Look up each upstream's credential where systemd shows the status line, or a person reads the log."""
        if self._systemd.notify_socket or self._is_read_by_a_person:
            self._looking = asyncio.create_task(self._first_credentials(daemon))
            self._looking.add_done_callback(lambda _done: watchdog.poke())

    async def _first_credentials(self, daemon: Daemon) -> None:
        await daemon.find_first_credentials()
        if not self._is_read_by_a_person:
            return
        for session in daemon.services.sessions.values():
            lookup = session.state.snapshot().lookup
            if lookup is not None and lookup.credential is None:
                way = way_to_a_token(session.upstream, lookup, in_ci=session.in_ci)
                self._log.info("credential_missing", url=session.upstream.url, hint=way)

    @property
    def _is_read_by_a_person(self) -> bool:
        return is_for_people(self._settings.log_format, self._log_stream)

    def _log_index_url(self, daemon: Daemon) -> None:
        """Log what a person pastes into a client."""
        from ppmproxy.clients.index_url import DEFAULT_SNAPSHOT, chosen_index  # noqa: PLC0415

        listening = replace(daemon.services.settings, listen=tuple(map(address_of_url, daemon.urls)))
        with contextlib.suppress(PpmProxyError):  # several upstreams, or no TCP address: no URL is the one
            url = chosen_index(listening, DEFAULT_REPO, DEFAULT_SNAPSHOT).simple_url
            self._log.info("index_url", url=url)

    def _reload(self, daemon: Daemon, watchdog: Watchdog) -> None:
        """Read the settings again; if they are invalid, log that and keep the old ones."""
        self._systemd.reloading()
        try:
            settings = self._read()
            daemon.reload(settings)
        except PpmProxyError as error:
            self._trouble = f"settings not reloaded, the old ones stay in force: {error}"
            self._log.error("reload_failed", why=str(error), hint=error.hint, consequence="the old settings stay")
        else:
            self._trouble = ""
            self._set_up_logs(settings)
            self._log.info(
                "settings_reloaded", upstreams={upstream.mount: upstream.url for upstream in settings.upstreams}
            )
            if waiting := merge_reloadable(self._settings, settings)[1]:
                self._trouble = f"needs a restart for {', '.join(waiting)}"
                self._log.warning("restart_needed", settings=waiting, why=_WHY_WAITING)
            self._find_first_credentials(daemon, watchdog)
        watchdog.send_status()
        self._systemd.ready()


@contextlib.asynccontextmanager
async def _ends_besides(signals: StopSignals, daemon: Daemon, exit_when_idle: float) -> AsyncIterator[None]:
    """Stop the daemon on a shutdown request, and when it is idle for too long."""

    async def shutdown() -> None:
        await daemon.stop_requested.wait()
        signals.end(StopReason("shutdown"))

    async def idle() -> None:
        state = daemon.services.state  # polling costs less than an event for each request
        while (left := exit_when_idle - state.snapshot().idle_for(time.monotonic())) > 0:  # noqa: ASYNC110
            await asyncio.sleep(left)
        signals.end(StopReason("idle"))

    waiting = [asyncio.create_task(shutdown()), *([asyncio.create_task(idle())] if exit_when_idle else [])]
    try:
        yield
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


class StopSignals:
    """A queue of the reasons to stop and of reloads. A second stop signal cuts what is under way; a third one exits."""

    def __init__(self, context: Context) -> None:
        self._on_terminal = context.err.isatty()
        self._is_terminal = context.err.isatty
        self._received: asyncio.Queue[StopReason | None] = asyncio.Queue()  # None for a reload
        self._is_stopping = False
        self.second_code = 0  # the exit code of a second stop signal; 0 without one
        self.on_second: Callable[[], None] | None = None  # None: there is nothing to cut yet

    def listen(self) -> None:
        """Install the signal handlers."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            if sys.platform == "win32":
                signal.signal(number, lambda received, _frame: loop.call_soon_threadsafe(self._stop, received))
            else:
                loop.add_signal_handler(number, self._stop, number)
        if sys.platform != "win32":
            loop.add_signal_handler(signal.SIGHUP, self._hang_up)

    def end(self, end: StopReason) -> None:
        """Stop the daemon."""
        self._received.put_nowait(end)

    async def next(self) -> StopReason | None:
        """The next reason to stop, or None for a reload."""
        return await self._received.get()

    def _stop(self, number: int) -> None:
        if self._is_stopping:
            if self.second_code or self.on_second is None:
                if os.getpid() != 1:  # to process 1 of a container the kernel sends no signal without a handler
                    for one in (signal.SIGINT, signal.SIGTERM):
                        signal.signal(one, signal.SIG_DFL)  # one more ends the process, wherever it is
                raise SystemExit(128 + number)
            self.second_code = 128 + number
            self.on_second()
            return
        self._is_stopping = True
        # SIGTERM is the ordinary way to end a service.
        self.end(StopReason(signal.Signals(number).name, EXIT_INTERRUPTED if number == signal.SIGINT else EXIT_OK))

    def _hang_up(self) -> None:
        """Reload, or stop when it is the terminal that hung up."""
        if self._on_terminal and not self._is_terminal():
            self.end(StopReason("SIGHUP", EXIT_HUNG_UP))
        else:
            self._received.put_nowait(None)
