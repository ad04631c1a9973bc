"""A daemon with the page for people, with a token and without."""

import pytest

from ppmproxy.config.model import SignIn
from ppmproxy.testing.package_manager import wheel


@pytest.fixture
async def server(package_manager):
    server = await package_manager(device_interval=0.05, slow_down_step=0.05, enforces_interval=False)
    server.add(wheel("hello"))
    return server


@pytest.fixture
async def running(server, proxy):
    return await proxy(server)


@pytest.fixture
async def signed_out(server, proxy):
    return await proxy(server, environ={}, sign_in=SignIn.NEVER)
