"""Sign-ins by device flow at a fake Package Manager."""

import asyncio
from types import SimpleNamespace

import pytest
from device_flow_scene import SOON, Time, no_pause

from ppmproxy.credentials.device_flow import (
    Clock,
    start_device_flow,
    wait_for_token,
)
from ppmproxy.upstream.client import UpstreamClient


@pytest.fixture
async def scene(request, package_manager, upstream):
    """A fake Package Manager, a client, their clock, and the registered secrets."""
    server = await package_manager(base_path="/rspm", **getattr(request, "param", {}))
    clients = []

    def client(**options):
        clients.append(UpstreamClient(upstream(server, **options), sleep=no_pause))
        return clients[-1]

    found = []
    time = Time(server)
    scene = SimpleNamespace(server=server, url=server.url, time=time, found=found, client=client(), new_client=client)
    scene.rest = (found.append, Clock(time.now, time.sleep))
    scene.start = lambda: start_device_flow(scene.client, server.url, *scene.rest)
    scene.finish = lambda grant: asyncio.wait_for(wait_for_token(scene.client, grant, *scene.rest), SOON)
    yield scene
    for each in clients:
        await each.close()
