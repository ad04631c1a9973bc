"""The person's browser: whether it is visible, and how a page is opened in it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping

# Browsers that `webbrowser` opens beside a display; others that it knows (lynx, w3m) need a terminal.
_WITH_WINDOWS = (
    *("xdg-open", "gio", "x-www-browser", "firefox", "google-chrome", "chrome", "chromium", "chromium-browser"),
    *("konqueror", "epiphany", "opera", "seamonkey", "iceweasel", "microsoft-edge"),
)
# A browser does not run in a service's sandbox, so the user's systemd starts it outside.
_OUTSIDE_SANDBOX = ("systemd-run", "--user", "--quiet", "--collect", "--")


def has_visible_browser(environ: Mapping[str, str], platform: str = sys.platform) -> bool:
    """Whether a person would see a page opened now: not over SSH, in a service or in CI.

    `environ` is this process's environment, `platform` is `sys.platform`. With ``BROWSER`` set the answer is yes.
    """
    if environ.get("BROWSER"):
        return True
    if environ.get("CI"):
        return False
    is_remote = bool(environ.get("SSH_CONNECTION") or environ.get("SSH_TTY"))
    if platform == "darwin":
        return not is_remote
    if platform == "win32":
        return not is_remote and environ.get("SESSIONNAME", "Services") != "Services"  # the session of Windows services
    return bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY")) and _has_windows(environ)


def _has_windows(environ: Mapping[str, str]) -> bool:
    """Whether there is a browser with windows. A text browser would compete for the terminal's keyboard.

    `webbrowser.get` would start xdg-settings, with the environment of this process.
    """
    return any(shutil.which(name, path=environ.get("PATH")) for name in _WITH_WINDOWS)


def open_browser(url: str, environ: Mapping[str, str], child_environ: Mapping[str, str]) -> None:
    """Open an http or https URL in the browser; returns at once and reports no failure.

    A child process does it, because some browsers block and some print. `child_environ` is its environment, `environ`
    this process's.
    """
    # -I: no webbrowser.py from the working directory.
    command = [sys.executable, "-I", "-m", "webbrowser", "-t", url]
    commands = [[*_OUTSIDE_SANDBOX, *command], command] if _is_service(environ) else [command]
    threading.Thread(target=_run_first_that_succeeds, args=(commands, child_environ), daemon=True).start()


def _is_service(environ: Mapping[str, str]) -> bool:
    """Whether systemd started this process or one of its ancestors (systemd.exec(5))."""
    return "INVOCATION_ID" in environ and shutil.which("systemd-run") is not None


def _run_first_that_succeeds(commands: list[list[str]], environ: Mapping[str, str]) -> None:
    for command in commands:
        if _run_quietly(command, environ) == 0:
            return


def _run_quietly(command: list[str], environ: Mapping[str, str]) -> int | None:
    """The exit code; None when the command cannot be started."""
    try:
        process = subprocess.Popen(  # noqa: S603 - this interpreter, and a checked URL
            command,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C must not end the browser
        )
    except OSError:
        return None  # the URL was printed too
    return process.wait()
