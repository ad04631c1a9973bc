"""A server of connections."""

import socket

import pytest
from aiohttp import web
from served_connection import Peers, RecordingResponder, Serving

from ppmproxy.access.admission import Admission
from ppmproxy.access.limits import Limits
from ppmproxy.access.listeners import Acceptor
from ppmproxy.access.policy import Users
from ppmproxy.server.client_server import ClientServer


@pytest.fixture
async def serving():
    """Starts a server: `await serving(limits)`."""
    runners = []

    async def start(limits=Limits()):  # noqa: B008 - frozen
        peers = Peers()
        admission = Admission(Users(Peers.uid), peers, limits)
        responder = RecordingResponder()
        server = ClientServer(responder, admission)
        runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await runner.setup()
        listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        listener.setblocking(False)
        admission.gate = acceptor = Acceptor([listener], server, at_once=2)
        await acceptor.open()
        runners.append((runner, acceptor, admission))
        return Serving(responder, admission, peers, server, listener.getsockname()[1])

    yield start
    for runner, acceptor, admission in runners:
        admission.close()
        acceptor.close()
        await runner.cleanup()
