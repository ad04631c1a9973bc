"""Look-ups of peers, listeners of every family, and the record of a daemon."""

import contextlib
import os
import socket

import pytest
from peer_pairs import FAMILIES, MANY

from ppmproxy.access.daemon_record import DaemonRecord
from ppmproxy.access.identity_key import IdentityKey
from ppmproxy.access.peer_credentials import PeerUids


@pytest.fixture
def peers():
    made = PeerUids()
    yield made
    made.close()


@pytest.fixture
def listening():
    """Opens listeners: `listening("AF_INET6")`; a Unix socket where a path is given."""
    with contextlib.ExitStack() as stack:

        def open_one(family="AF_INET", address=None, *, both=False):
            listener = stack.enter_context(socket.socket(getattr(socket, family)))
            if family == "AF_INET6":
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not both)
            listener.settimeout(60)
            listener.bind(address or ("::" if both else FAMILIES[family], 0))
            listener.listen(MANY)
            return listener

        yield open_one


@pytest.fixture
def key():
    return IdentityKey.generate()


@pytest.fixture
def folder(tmp_path, key):
    """The runtime folder, with the record of a daemon that has the key."""
    made = tmp_path / "run"
    DaemonRecord(os.getpid(), ("http://127.0.0.1:7760",), key).publish(made)
    return made
