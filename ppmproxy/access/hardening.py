"""Hardening of a process that holds a token: not dumpable, no core file, a strict umask; and its limit of open files.

A token is in the memory of such a process, and often in its environment. A debugger of the same user, a core file, or
``/proc/PID/environ`` would show it. Every command hides its memory, whether or not a daemon runs in its process; limits
and umask are the daemon's alone, because `exec` passes them on to the person's command.
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
    """Keep the memory of this process, and the files it writes, from others, as far as the system can."""
    os.umask(UMASK)
    if sys.platform != "win32":
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hide_memory()


def hide_memory() -> None:
    """Make this process undumpable (prctl(2)), which children do not inherit. Linux only."""
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 - needed here alone

        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def raise_file_limit() -> None:
    """Raise the limit of open files to `WANTED_FILES`, or to the hard limit."""
    if sys.platform != "win32":
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = WANTED_FILES if hard == resource.RLIM_INFINITY else min(WANTED_FILES, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def open_file_limit() -> int:
    """How many files this process may have open at once."""
    if sys.platform == "win32":
        return WANTED_FILES
    else:  # noqa: RET505 - mypy takes what follows a return for unreachable on the other platforms
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return WANTED_FILES if soft == resource.RLIM_INFINITY else min(soft, WANTED_FILES)
