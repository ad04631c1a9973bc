"""A running daemon that a command uses for a while: its sign-ins are told, and one that ends too early is replaced.

To change what `exec` does about a daemon that it did not start itself, open this file.

The daemon of another `exec` ends with that one's command. Whoever uses it by then starts one in its place, at the same
addresses, so that no URL changes under a command that runs: clients try again for some seconds when nobody answers. If
a stranger was faster, the command is ended, because it would install what the stranger serves. A daemon that a person
or a service manager has started is left to them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ppmproxy.access.daemon_identity import Verdict, is_alive, list_daemons
from ppmproxy.access.discovery import DaemonInfo, address_of, probe_daemon, verdict_on
from ppmproxy.access.runtime_dir import runtime_folders
from ppmproxy.auth.secret import Secret
from ppmproxy.cli.context import Context
from ppmproxy.config.model import Settings, TcpAddress
from ppmproxy.errors import CannotListenError, PpmProxyError

if TYPE_CHECKING:
    from ppmproxy.cli.daemon_thread import DaemonThread

TELL_EVERY = 2.0  # seconds between two looks whether it waits for a sign-in
LOOK_EVERY = 0.2  # seconds between two looks whether it is still there, where another command may end it
CONNECT_TIMEOUT = 1.0  # seconds


def prompt_on(context: Context) -> Callable[[str, str], None]:
    """What is said of a sign-in, told its page and code."""
    return lambda page, code: context.note(f"ppmproxy: sign in to go on: open {page}\n  and confirm the code {code}")


@contextmanager
def borrowed(found: DaemonInfo, settings: Settings, context: Context) -> Iterator[None]:
    """Look after a daemon for as long as this lasts."""
    folders = runtime_folders(context.environ, context.home)
    if other := _other_source(found, settings, context, folders):
        context.note(
            f"ppmproxy: this PPMPROXY_TOKEN is not used: your running ppmproxy goes on with its own, from {other}\n"
            "  to have yours used, end that one first: ppmproxy shutdown, or for a service "
            "systemctl --user stop ppmproxy.socket ppmproxy.service"
        )
    watch = _Watch(found.url, settings, context, folders)
    threading.Thread(target=watch.run, name="ppmproxy-watch", daemon=True).start()
    try:
        yield
    finally:
        watch.end()


def _other_source(found: DaemonInfo, settings: Settings, context: Context, folders: Sequence[Path]) -> str:
    """Where a daemon has the token that it uses in place of the caller's; "" when there is no such difference.

    Whoever hands over a token counts on its rights, be it because they are wider or because they are not.
    """
    value = context.environ.get("PPMPROXY_TOKEN", "").strip()
    if not value:
        return ""
    asking = {upstream.mount for upstream in settings.upstreams if upstream.credentials is None}  # others ask elsewhere
    used = [one["credential"] for one in found.upstreams() if one.get("credential") and one.get("mount") in asking]
    own = {notice.key.token_fingerprint(Secret(value)) for notice in list_daemons(folders)}
    others = [str(one["source"]) for one in used if one.get("mark")]
    return others[0] if others and not any(one.get("mark") in own for one in used) else ""


@dataclass(slots=True)
class _Watch:
    """One daemon, and what took its place."""

    url: str
    settings: Settings
    context: Context
    folders: Sequence[Path]
    ended: threading.Event = field(default_factory=threading.Event)
    own: DaemonThread | None = None
    told: set[str] = field(default_factory=set)
    replacing: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> None:
        """Until the command has ended, or there is nothing left to look after."""
        addresses = self._addresses_left_behind()
        waited = 0.0
        while self.own is None and not self.ended.wait(LOOK_EVERY if addresses else TELL_EVERY):
            waited += LOOK_EVERY if addresses else TELL_EVERY
            if addresses and not (_is_there(address_of(self.url)) and self._addresses_left_behind()):
                with self.replacing:
                    addresses = () if self.ended.is_set() else self._taken_over(addresses)
            elif waited >= TELL_EVERY:
                waited = 0.0
                self._tell_sign_ins()

    def end(self) -> None:
        """Look no longer, and end what was started; whatever the watched daemon does, nobody waits for it."""
        self.ended.set()
        with self.replacing:
            if self.own is not None:
                self.own.stop()

    def _addresses_left_behind(self) -> tuple[TcpAddress, ...]:
        """Where the daemon listens, if it is one that ends with another command."""
        for notice in list_daemons(self.folders):
            addresses = tuple(address_of(url) for url in notice.urls if url.startswith("http"))
            is_alive_still = notice.ephemeral and is_alive(notice.pid)
            if is_alive_still and address_of(self.url).port in {address.port for address in addresses}:
                return addresses
        return ()

    def _tell_sign_ins(self) -> None:
        for page, code in probe_daemon(self.url, self.folders).sign_ins():
            if code not in self.told:
                self.told.add(code)
                prompt_on(self.context)(page, code)

    def _taken_over(self, addresses: tuple[TcpAddress, ...]) -> tuple[TcpAddress, ...]:
        """Start a daemon in its place; what is to be looked after from then on."""
        from ppmproxy.cli.daemon_thread import DaemonThread  # noqa: PLC0415 - a whole server, seldom needed

        try:
            self.own = DaemonThread.start(
                replace(self.settings, listen=addresses), self.context, prompt_on(self.context)
            )
        except CannotListenError as error:  # somebody was faster: one more command like this one, or a stranger
            verdict = verdict_on(self.url, self.folders)
            if verdict is Verdict.NOBODY:
                return addresses
            if verdict is Verdict.OURS:
                return self._addresses_left_behind()
            self.context.say_error(error)
            self.context.note("ppmproxy: the command is ended: it would get its packages from there")
            _end_command()
        except PpmProxyError as error:
            self.context.say_error(error)
        return ()


def _end_command() -> None:
    """As somebody else would, by a signal to this process, which passes it on."""
    if sys.platform != "win32":  # where it would end this process alone
        os.kill(os.getpid(), signal.SIGTERM)


def _is_there(address: TcpAddress) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection((address.host, address.port), CONNECT_TIMEOUT).close()
        return True
    return False
