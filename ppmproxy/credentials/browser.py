"""Whether there is a browser that a person can see, and how to open it.

To change when a browser is opened by itself, or how, open this file.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import webbrowser
from collections.abc import Mapping

# A browser does not live in the sandbox of a service: the user's systemd starts it beside that.
_OUTSIDE = ("systemd-run", "--user", "--quiet", "--collect", "--")


def has_visible_browser(environ: Mapping[str, str], platform: str = sys.platform) -> bool:
    """Whether a page opened now would be seen by a person: not over SSH, not in a service, not in CI.

    `environ` is this process's; `platform` is `sys.platform`. ``BROWSER`` settles it.
    """
    if environ.get("BROWSER"):
        return True
    if environ.get("CI"):
        return False
    is_remote = bool(environ.get("SSH_CONNECTION") or environ.get("SSH_TTY"))
    if platform == "darwin":
        return not is_remote
    if platform == "win32":
        return not is_remote and environ.get("SESSIONNAME", "Services") != "Services"  # where services run
    return bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY")) and _is_graphical()


def _is_graphical() -> bool:
    """Whether the browser found is one with windows; in a terminal it would fight for the keyboard, or wait for it."""
    try:
        found = webbrowser.get()
    except webbrowser.Error:
        return False
    return type(found) is not webbrowser.GenericBrowser  # how `webbrowser` registers lynx, w3m and their like


def open_browser(url: str, environ: Mapping[str, str]) -> None:
    """Open an http or https URL in the browser; returns at once, and what goes wrong there stays silent.

    A process of its own does it, because some browsers block and some talk. It is handed no token.
    """
    # -I: a webbrowser.py in the working directory is not what is meant.
    command = [sys.executable, "-I", "-m", "webbrowser", "-t", url]
    commands = [[*_OUTSIDE, *command], command] if _is_service(environ) else [command]
    threading.Thread(target=_run_first_that_works, args=(commands, _without_tokens(environ)), daemon=True).start()


def _is_service(environ: Mapping[str, str]) -> bool:
    """Whether systemd started this, or what this was started from (systemd.exec(5))."""
    return "INVOCATION_ID" in environ and shutil.which("systemd-run") is not None


def _without_tokens(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if "TOKEN" not in name.upper()}


def _run_first_that_works(commands: list[list[str]], environ: Mapping[str, str]) -> None:
    for command in commands:
        if _run_quietly(command, environ) == 0:
            return


def _run_quietly(command: list[str], environ: Mapping[str, str]) -> int | None:
    """Its exit code, None when it cannot be started."""
    try:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter, and a URL that was checked
            command,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for us, not for the browser
        )
    except OSError:
        return None  # the URL was shown as well
    return process.wait()
