"""A process of another user that carries out calls from its standard input: connect, send, receive, close.

Started by root as `acting_user.py UID`; it becomes that user first. One JSON list a line in, one JSON value a line out.
"""

import json
import os
import socket
import sys

LONGEST_WAIT = 60.0  # seconds, on a machine that is busy

open_sockets = {}


def connect(name, family, address):
    """Open a connection; returns its own address."""
    connection = socket.socket(getattr(socket, family))
    connection.settimeout(LONGEST_WAIT)
    connection.connect(address if isinstance(address, str) else tuple(address))
    open_sockets[name] = connection
    return connection.getsockname()


def listen(name, family, address):
    """Listen on an address; returns it with the port."""
    listener = socket.socket(getattr(socket, family))
    open_sockets[name] = listener
    if family == "AF_INET6":
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listener.bind(address if isinstance(address, str) else tuple(address))
    listener.listen()
    return listener.getsockname()


def send(name, text):
    open_sockets[name].sendall(text.encode())


def receive(name):
    """Everything until the other end closes or resets."""
    received = b""
    try:
        while piece := open_sockets[name].recv(65536):
            received += piece
    except ConnectionError:
        pass
    return received.decode("latin-1")


def finish(name):
    """Send no more, but go on reading."""
    open_sockets[name].shutdown(socket.SHUT_WR)


def close(name):
    open_sockets.pop(name).close()


def uid():
    return os.geteuid()


def main():
    user = int(sys.argv[1])
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
    acts = {act.__name__: act for act in (connect, listen, send, receive, finish, close, uid)}
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        try:
            answer = {"value": acts[name](*arguments)}
        except OSError as error:
            answer = {"error": type(error).__name__}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
