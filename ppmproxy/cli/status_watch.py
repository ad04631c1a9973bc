"""`ppmproxy status --watch`: the state of the daemon, until the person has seen enough.

On a terminal it is drawn on a screen of its own, which is gone afterwards. In a pipe or a file each change is printed
as `ppmproxy status` prints it, or as one line of JSON.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ppmproxy.access.discovery import DaemonInfo
from ppmproxy.cli.context import Context
from ppmproxy.cli.keyboard import GONE, keys_pressed
from ppmproxy.cli.rich_terminal import console_on, ends_cleanly
from ppmproxy.cli.status_history import INTERVAL, AskDaemon, StatusHistory
from ppmproxy.errors import EXIT_OK

REDRAW = 0.2  # seconds until a new size of the window is noticed


def watch_as_text(ask: AskDaemon, shown: Callable[[Sequence[DaemonInfo]], str], context: Context) -> int:
    """Print what is found whenever it has changed, until Ctrl-C or until nobody reads it."""
    before = ""
    while True:
        text = shown(ask())
        if text != before:
            context.print(text)
            before = text
        time.sleep(INTERVAL)


def watch_on_terminal(ask: AskDaemon, context: Context) -> int:
    """Draw what is found until ``q`` or Ctrl-C; whatever ends it, the terminal is as before."""
    console = console_on(context.out)
    from rich.live import Live  # noqa: PLC0415 - only after `console_on`

    from ppmproxy.cli.status_view import view  # noqa: PLC0415 - draws with rich

    history = StatusHistory(ask)
    screen = Live(console=console, screen=True, auto_refresh=False)
    with ends_cleanly(), history.running(), keys_pressed() as keys, screen:
        while not _ends(keys(REDRAW)):
            screen.update(view(history.seen, time.monotonic(), time.time()), refresh=True)
    return EXIT_OK


def _ends(pressed: str) -> bool:
    return pressed == GONE or "q" in pressed.lower()
