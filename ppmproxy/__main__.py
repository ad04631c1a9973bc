"""The process of every command: `ppmproxy`, and `python -m ppmproxy`.

Ctrl-C ends it in silence from the start. Its environment may hold a token, so that it is hidden before anything is
imported that takes its time.
"""

from __future__ import annotations

import atexit
import os
import sys

from ppmproxy.cli import interrupts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> NoReturn:
    """Run the command that the arguments name, and exit with its code."""
    interrupts.end_at_once()
    from ppmproxy.access.hardening import hide_memory  # noqa: PLC0415 - only now

    hide_memory()
    # structlog would import it, for tracebacks that nobody sees: half the time that structlog takes.
    sys.modules["rich"] = None  # type: ignore[assignment]
    from ppmproxy.cli.main import main as run_command  # noqa: PLC0415 - slow to import

    _exit(run_command())


def _exit(code: int) -> NoReturn:
    """Exit without taking apart all that was imported, for which the command's caller would have to wait."""
    import contextlib  # noqa: PLC0415 - has been imported by now

    atexit._run_exitfuncs()  # noqa: SLF001 - such as the last lines of the log
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or never open
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
