"""Notifications for the person at the desktop: a sign-in waits for them, or a session is about to end.

They are shown where the session has a message bus and ``ppmproxy[desktop]`` is installed, unless the settings say
``notifications = false``. A click opens the daemon's own page, where one signs in. None of them shows a secret.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import quote

import structlog

from ppmproxy.auth.child_env import child_environment
from ppmproxy.auth.credential import Credential
from ppmproxy.config.model import Settings, Upstream
from ppmproxy.credentials.browser import open_browser
from ppmproxy.credentials.device_flow_responses import DeviceGrant
from ppmproxy.environment import Environment
from ppmproxy.server.session import UpstreamSession

CHECK_INTERVAL = 30.0  # seconds
MAX_NOTICE = 600.0  # seconds before its end at which a session is about to end
SHARE_OF_LIFE = 0.1  # and never earlier than in this last part of it, so that no fresh session is about to end

Sessions = Callable[[], Mapping[str, UpstreamSession]]


@dataclass(slots=True)
class Notifications:
    """The notifications that are shown, one for each upstream; `close` withdraws them."""

    environment: Environment
    settings: Settings
    page: str  # the URL of the daemon's own page; "" where it has none
    is_ephemeral: bool = False  # the daemon of one command, which prints what it has to say
    now: Callable[[], float] = time.time
    _shown: dict[str, asyncio.Task[None]] = field(default_factory=dict)  # by upstream, finished ones included
    _noticed: dict[str, float] = field(default_factory=dict)  # the end of the session that was announced

    @property
    def address(self) -> str:
        """Where the message bus is; "" where nothing is to be shown."""
        is_on = self.settings.notifications and not self.is_ephemeral
        return session_bus(self.environment) if is_on else ""

    def sign_in_changed(self, upstream: Upstream, grant: DeviceGrant | None) -> None:
        """A sign-in waits for the person, or (None) has ended."""
        if grant is not None:
            text = f"Installs from {upstream.url} wait for it. Open the page of ppmproxy and confirm the code there."
            self._show(upstream, f"Sign in to {upstream.origin.host}", text)
        else:
            self._withdraw(upstream.name)

    @contextlib.asynccontextmanager
    async def watching(self, sessions: Sessions) -> AsyncIterator[None]:
        """Announce the end of each session ahead of time."""

        async def watch() -> None:
            while True:
                await asyncio.sleep(CHECK_INTERVAL)
                if self.address:
                    await self.check(sessions())

        watching = asyncio.create_task(watch())
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            await self.close()

    async def check(self, sessions: Mapping[str, UpstreamSession]) -> None:
        """Announce what is about to end, once; withdraw what has been renewed since."""
        for name, session in sessions.items():
            end = await self._next_end(session)
            if end is None:
                if self._noticed.pop(name, None) is not None:
                    self._withdraw(name)
            elif self._noticed.get(name) != end:
                self._noticed[name] = end
                upstream = session.upstream
                at = datetime.fromtimestamp(end, timezone.utc).astimezone()
                text = f"The session at {upstream.url} ends at {at:%H:%M}; installs wait then until you sign in again."
                self._show(upstream, f"Signed in to {upstream.origin.host} until {at:%H:%M}", text)

    async def _next_end(self, session: UpstreamSession) -> float | None:
        """The end of a session that a person signed in for and that is about to end; None: there is none."""
        for purpose, lookup in session.state.snapshot().lookups.items():
            if lookup.credential is not None and self._is_about_to_end(lookup.credential):
                latest = (await session.find_credential(purpose)).credential  # who has signed in again is left alone
                if latest is not None and self._is_about_to_end(latest):
                    return latest.claims.expires_at
        return None

    def _is_about_to_end(self, credential: Credential) -> bool:
        claims = credential.claims
        if not credential.remedy or claims.expires_at is None:  # other tokens are nothing that a person renews
            return False
        life = claims.expires_at - claims.issued_at if claims.issued_at is not None else MAX_NOTICE / SHARE_OF_LIFE
        return 0 < claims.expires_at - self.now() <= min(MAX_NOTICE, life * SHARE_OF_LIFE)

    async def close(self) -> None:
        """Withdraw what is shown."""
        tasks = list(self._shown.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _show(self, upstream: Upstream, title: str, text: str) -> None:
        """Show a notification in place of the upstream's last one."""
        self._withdraw(upstream.name)
        if address := self.address:
            self._shown[upstream.name] = asyncio.create_task(self._shown_until_closed(address, title, text))

    def _withdraw(self, name: str) -> None:
        if (task := self._shown.get(name)) is not None:
            task.cancel()

    async def _shown_until_closed(self, address: str, title: str, text: str) -> None:
        log = structlog.get_logger("ppmproxy")
        try:
            from ppmproxy.server.desktop_bus import Notification, NotificationError, show  # noqa: PLC0415 - optional
        except ImportError:
            log.debug("notification_unavailable", hint="install the extra ppmproxy[desktop]")
            return
        try:
            is_clicked = await show(address, Notification(title, text, self.page))
        except NotificationError as error:
            log.info("notification_failed", why=str(error))
        else:
            if is_clicked:
                environ = self.environment.environ
                open_browser(
                    self.page, environ, child_environment(environ, self.settings.upstreams, self.settings.cache_url)
                )


def session_bus(environment: Environment) -> str:
    """The address of the session's message bus (D-Bus Specification, Well-known Message Bus Instances); "": none."""
    if address := environment.environ.get("DBUS_SESSION_BUS_ADDRESS"):
        return address
    folder = environment.runtime_dir()
    bus = folder / "bus" if folder is not None else None  # as systemd has it
    return f"unix:path={_escaped(bus)}" if bus is not None and environment.exists(bus) else ""


def _escaped(path: Path) -> str:
    return quote(str(path), safe="/-_.\\*")
