"""Rich, for what is drawn on a terminal: imported on demand, and hidden from everybody else.

structlog imports rich wherever it is installed, though only its coloured tracebacks use it: a fifth of the daemon's
start and 4 MB of its memory. A ``None`` in `sys.modules` stands for a module that cannot be found (Python's language
reference, section 5.3.1).
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, TextIO, cast

from ppmproxy.errors import EXIT_TERMINATED, one_line

if TYPE_CHECKING:
    from types import ModuleType

    from rich.console import Console

LONGEST_NAME = 40  # characters of what is shown beside a bar


def hide_rich() -> None:
    """Have imports of rich fail, until `console_on` is called."""
    sys.modules.setdefault("rich", cast("ModuleType", None))


def can_draw(stream: TextIO) -> bool:
    """Whether lines on a stream can be drawn over: it is a terminal, and not one without such abilities."""
    return stream.isatty() and not console_on(stream).is_dumb_terminal


def console_on(stream: TextIO) -> Console:
    """A console of rich that writes to a stream."""
    if sys.modules.get("rich", sys) is None:
        del sys.modules["rich"]
    from rich.console import Console  # noqa: PLC0415

    return Console(file=stream, highlight=False, markup=False, emoji=False)


@contextlib.contextmanager
def ends_cleanly() -> Iterator[None]:
    """Have SIGTERM end what is drawn first, as Ctrl-C does; otherwise the terminal is left without a cursor."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(EXIT_TERMINATED)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def steps_on(stream: TextIO) -> Iterator[Callable[[str], None]]:
    """Shows the step under way, while it lasts, where lines can be drawn over; elsewhere nothing."""
    if not can_draw(stream):
        yield lambda _step: None
        return
    console = console_on(stream)
    from rich.text import Text  # noqa: PLC0415

    with ends_cleanly(), console.status("") as status:
        yield lambda step: status.update(Text(f"{step} ..."))


@contextlib.contextmanager
def bar_on(stream: TextIO, what: str, total: int) -> Iterator[Callable[[str], None]]:
    """Shows how many of so many things are done, where lines can be drawn over; elsewhere nothing.

    What it yields is called with the name of each thing that is done.
    """
    if not can_draw(stream):
        yield lambda _name: None
        return
    console = console_on(stream)
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn  # noqa: PLC0415

    columns = (TextColumn(f"{what} {{task.description}}", markup=False), BarColumn(20), MofNCompleteColumn())
    with ends_cleanly(), Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=total)
        yield lambda name: progress.update(task, advance=1, description=one_line(name)[:LONGEST_NAME])


@contextlib.contextmanager
def countdown_on(stream: TextIO, what: str, seconds: float) -> Iterator[Callable[[float, str], None]]:
    """Shows how much time is left of so many seconds; what it yields is called with that number and its words.

    It is drawn within an event loop: `ends_cleanly` belongs around the loop, which then ends its tasks in order.
    """
    console = console_on(stream)
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn  # noqa: PLC0415

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(20))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=seconds)
        yield lambda left, words: progress.update(task, completed=left, description=f"{what}: {words} left")
