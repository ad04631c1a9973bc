"""`ppmproxy run`: the proxy, in the foreground, until it is told to stop.

To change how the daemon starts, reacts to signals and ends, open this file.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys

from ppmproxy.command import Around, effective
from ppmproxy.credential_sources import Surroundings
from ppmproxy.errors import EXIT_OK
from ppmproxy.logs import Mask, set_up_logs
from ppmproxy.process import harden, make_room
from ppmproxy.server import Daemon
from ppmproxy.settings import Settings
from ppmproxy.ways import Person

EXIT_INTERRUPTED = 130


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """Nothing but the settings."""


def run(arguments: argparse.Namespace, around: Around) -> int:
    """Serve until SIGTERM (exit code 0) or SIGINT (130); `CannotListenError`, `ConfigError`."""
    harden()
    make_room()
    settings = effective(arguments, around).settings
    mask = Mask()
    set_up_logs(mask, settings.log_level, settings.log_format, around.out)
    return asyncio.run(_serve(settings, around, mask))


async def _serve(settings: Settings, around: Around, mask: Mask) -> int:
    stopped = _Stop()
    stopped.listen()
    person = Person(has_terminal=around.err.isatty())
    daemon = await Daemon.start(settings, Surroundings(around.environ, around.home), mask, person)
    try:
        await stopped.wait()
    finally:
        await daemon.stop()
    return stopped.exit_code


class _Stop:
    """The signal that ends the daemon; a second one ends it at once."""

    def __init__(self) -> None:
        self._received: signal.Signals | None = None
        self._event = asyncio.Event()

    @property
    def exit_code(self) -> int:
        """0 for SIGTERM, the ordinary way to end a service; 128 + n for SIGINT."""
        return EXIT_INTERRUPTED if self._received is signal.SIGINT else EXIT_OK

    def listen(self) -> None:
        """Catch the two signals, where the platform can tell the event loop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            if sys.platform == "win32":
                signal.signal(number, lambda received, _frame: loop.call_soon_threadsafe(self._stop, received))
            else:
                loop.add_signal_handler(number, self._stop, number)

    def _stop(self, number: int) -> None:
        if self._received is not None:
            raise SystemExit(128 + number)
        self._received = signal.Signals(number)
        self._event.set()

    async def wait(self) -> None:
        await self._event.wait()
