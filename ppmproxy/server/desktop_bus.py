"""One notification on the desktop, over the session's message bus (Desktop Notifications Specification 1.3).

Imported for the first notification: jeepney, which speaks D-Bus, comes with ``ppmproxy[desktop]`` alone. Each
notification has a connection of its own, which lasts until the notification is clicked, closed or withdrawn.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from jeepney import DBusAddress, DBusErrorResponse, HeaderFields, MatchRule, Message, message_bus, new_method_call
from jeepney.auth import AuthenticationError
from jeepney.io.asyncio import DBusConnection, open_dbus_connection
from jeepney.wrappers import unwrap_msg

from ppmproxy.errors import PpmProxyError

TIMEOUT = 5.0  # seconds for an answer; a desktop that hangs holds up nothing
INTERFACE = "org.freedesktop.Notifications"
OPEN = "default"  # the action of a click on the notification itself

_SERVER = DBusAddress("/org/freedesktop/Notifications", bus_name=INTERFACE, interface=INTERFACE)
_SIGNALS = MatchRule(type="signal", interface=INTERFACE, path="/org/freedesktop/Notifications")
_NEVER = 0  # milliseconds: it stays until it is closed
_FAILURES = (OSError, EOFError, ValueError, RuntimeError, asyncio.TimeoutError, DBusErrorResponse, AuthenticationError)


class NotificationError(PpmProxyError):
    """The desktop shows no notification."""


@dataclass(frozen=True, slots=True)
class Notification:
    """What a person reads, and the page that a click opens; without one there is nothing to click."""

    title: str
    text: str
    page: str = ""


async def show(address: str, notification: Notification) -> bool:
    """Show a notification until it is closed; whether it was clicked.

    `address` is the bus's. Cancelling withdraws it. Raises `NotificationError`.
    """
    try:
        async with _connected(address) as desktop:
            number = await asyncio.wait_for(desktop.notify(notification), TIMEOUT)
            try:
                return await desktop.is_clicked(number)
            except asyncio.CancelledError:
                with contextlib.suppress(*_FAILURES):
                    await asyncio.wait_for(desktop.call("CloseNotification", "u", number), TIMEOUT)
                raise
    except _FAILURES as error:
        raise NotificationError(str(error) or type(error).__name__) from error


@contextlib.asynccontextmanager
async def _connected(address: str) -> AsyncIterator[_Desktop]:
    connection = await asyncio.wait_for(open_dbus_connection(address), TIMEOUT)
    try:
        yield _Desktop(connection)
    finally:
        await connection.close()


class _Desktop:
    """The notification server, over one connection."""

    def __init__(self, connection: DBusConnection) -> None:
        self._connection = connection
        self._signals: deque[Message] = deque()  # that came before the answer to a call

    async def notify(self, notification: Notification) -> int:
        """Show it; its number there."""
        await self._answer(message_bus.AddMatch(_SIGNALS))
        (abilities,) = await self.call("GetCapabilities", "")
        text = html.escape(notification.text, quote=False) if "body-markup" in abilities else notification.text
        actions = [OPEN, "Open the page"] if notification.page else []
        if notification.page and "actions" not in abilities:
            text = f"{text}\n{notification.page}"
        hints = {"category": ("s", "network"), "urgency": ("y", 1)}
        fields = ("ppmproxy", 0, "dialog-password", notification.title, text, actions, hints, _NEVER)
        (number,) = await self.call("Notify", "susssasa{sv}i", *fields)
        return int(number)

    async def is_clicked(self, number: int) -> bool:
        """Wait until the notification is closed; whether it was clicked."""
        while True:
            signal = self._signals.popleft() if self._signals else await self._connection.receive()
            if signal.header.fields.get(HeaderFields.interface) != INTERFACE or signal.body[:1] != (number,):
                continue
            match signal.header.fields.get(HeaderFields.member):
                case "ActionInvoked":
                    return True
                case "NotificationClosed":
                    return False

    async def call(self, method: str, signature: str, *values: object) -> tuple[Any, ...]:
        """The answer of the notification server to a call."""
        return await self._answer(new_method_call(_SERVER, method, signature or None, values))

    async def _answer(self, message: Message) -> tuple[Any, ...]:
        serial = next(self._connection.outgoing_serial)
        await self._connection.send(message, serial=serial)
        while (received := await self._connection.receive()).header.fields.get(HeaderFields.reply_serial) != serial:
            self._signals.append(received)
        answer: tuple[Any, ...] = unwrap_msg(received)
        return answer
