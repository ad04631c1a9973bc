"""What the daemon asks of the system for itself: that nobody looks into its memory, and room for many connections.

To change what a daemon's process may do or show, open this file.

A token is in the memory of this process. A debugger of the same user, or a core file, would show it.
"""

from __future__ import annotations

import contextlib
import os
import sys

if sys.platform != "win32":
    import resource

UMASK = 0o077
WANTED_FILES = 4096  # more than enough for as many connections as there may be, see `admission`
_PR_SET_DUMPABLE = 4  # linux/prctl.h


def harden() -> None:
    """Keep what is in this process, and what it writes, to this user. What the system does not offer is left out."""
    os.umask(UMASK)
    if sys.platform != "win32":
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hide_memory()


def hide_memory() -> None:
    """Keep what is in this process to itself; what it starts inherits nothing of that. Linux alone can do it."""
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 - needed here alone

        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def make_room() -> None:
    """Raise the number of files that may be open to what is wanted, as far as it may be raised."""
    if sys.platform != "win32":
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        token_request = WANTED_FILES if hard == resource.RLIM_INFINITY else min(WANTED_FILES, hard)
        if soft != resource.RLIM_INFINITY and soft < token_request:
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (token_request, hard))


def most_open_files() -> int:
    """How many files this process may have open at once."""
    if sys.platform == "win32":
        return WANTED_FILES
    else:  # noqa: RET505 - mypy takes what follows a return for unreachable on the other platforms
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return WANTED_FILES if soft == resource.RLIM_INFINITY else min(soft, WANTED_FILES)
