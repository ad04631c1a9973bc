"""Clients of an upstream, closed after the test."""

import pytest

from ppmproxy.config.model import Upstream
from ppmproxy.upstream.client import UpstreamClient


@pytest.fixture
async def client():
    """Makes clients: `client(server)`."""
    clients = []

    def made(server, *, clock=None, wall=None, **options):
        upstream = Upstream(url=server.url, read_timeout=5.0, **options)
        clocks = {"clock": clock, "wall": wall or clock} if clock else {}
        clients.append(UpstreamClient(upstream, **clocks))
        return clients[-1]

    yield made
    for one in clients:
        await one.close()
