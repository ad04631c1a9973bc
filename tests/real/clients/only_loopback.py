"""A network with nothing in it but this machine's loopback."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess

CLONE_NEWNET = 0x40000000  # <linux/sched.h>; os.unshare came with Python 3.12


def why_not() -> str:
    """Why this process cannot leave the machine's network; "" when it can."""
    if os.geteuid() != 0:
        return "only root may make a network namespace"
    return "" if shutil.which("ip") else "there is no `ip` to bring the loopback up with"


def leave_the_network() -> None:
    """From here on, this thread and all that it starts see an empty network; `OSError` when that is not allowed."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNET)")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True, capture_output=True, timeout=30)
