"""Rich, for what is drawn on a terminal: imported on demand, and hidden from everybody else.

structlog imports rich wherever it is installed, though only its coloured tracebacks use it: a fifth of the daemon's
start and 4 MB of its memory. A ``None`` in `sys.modules` stands for a module that cannot be found (Python's language
reference, section 5.3.1).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TextIO, cast

if TYPE_CHECKING:
    from types import ModuleType

    from rich.console import Console


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
