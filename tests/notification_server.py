"""A small notification server on the session's message bus: prints what it is told, and clicks when it is told to.

It speaks the Desktop Notifications Specification 1.3. On standard input: `click N`, `close N`; on standard output one
line of JSON for each call.
"""

from __future__ import annotations

import json
import select
import sys

from jeepney import DBusAddress, HeaderFields, MessageType, message_bus, new_method_return, new_signal
from jeepney.io.blocking import open_dbus_connection

NAME = "org.freedesktop.Notifications"
OBJECT = DBusAddress("/org/freedesktop/Notifications", interface=NAME)


def main(abilities: list[str]) -> None:
    bus = open_dbus_connection()
    bus.send_and_get_reply(message_bus.RequestName(NAME))
    said(call="ready")
    number = 0
    while True:
        for ready in select.select([sys.stdin, bus.sock], [], [])[0]:
            if ready is sys.stdin:
                act, _, which = sys.stdin.readline().partition(" ")
                if act == "click":
                    bus.send(new_signal(OBJECT, "ActionInvoked", "us", (int(which), "default")))
                bus.send(new_signal(OBJECT, "NotificationClosed", "uu", (int(which), 2)))
                continue
            message = bus.receive()
            if message.header.message_type is not MessageType.method_call:
                continue
            match message.header.fields.get(HeaderFields.member):
                case "GetCapabilities":
                    bus.send(new_method_return(message, "as", (abilities,)))
                case "Notify":
                    number += 1
                    bus.send(new_method_return(message, "u", (number,)))
                    _, _, _, title, text, actions, _, _ = message.body
                    said(call="notify", number=number, title=title, text=text, actions=actions)
                case "CloseNotification":
                    bus.send(new_method_return(message))
                    said(call="withdrawn", number=message.body[0])


def said(**words: object) -> None:
    print(json.dumps(words), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
