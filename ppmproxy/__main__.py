"""The process of every command: `ppmproxy`, and `python -m ppmproxy`.

Its environment may hold a token, so that it is hidden before anything is imported that takes its time.
"""

from __future__ import annotations

import sys

from ppmproxy.access.hardening import hide_memory


def main() -> int:
    """Run the command that the arguments name; its exit code."""
    hide_memory()
    # structlog would import it, for tracebacks that nobody sees: half the time that structlog takes.
    sys.modules["rich"] = None  # type: ignore[assignment]
    from ppmproxy.cli.main import main as run_command  # noqa: PLC0415 - slow to import

    return run_command()


if __name__ == "__main__":
    sys.exit(main())
