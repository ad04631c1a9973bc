"""A person, and a fake Package Manager whose settings that person has."""

import pytest
from exec_person import Person
from free_ports import free_port
from processes import plain_environment

from ppmproxy.testing.package_manager import wheel


@pytest.fixture
async def server(package_manager):
    started = await package_manager(base_path="/rspm", device_interval=1)
    started.add(wheel("hello"))
    return started


@pytest.fixture
def person(server, ca_file, tmp_path):
    """With settings that lead to the fake Package Manager, its token, and a port that is free."""
    (tmp_path / "home").mkdir()
    (tmp_path / "runtime").mkdir(mode=0o700)
    environ = plain_environment(
        tmp_path / "home",
        XDG_RUNTIME_DIR=str(tmp_path / "runtime"),
        PPMPROXY_UPSTREAM=server.url,
        PPMPROXY_CA_FILE=str(ca_file),
        PPMPROXY_TOKEN=server.token,
        PPMPROXY_LISTEN=f"127.0.0.1:{free_port()}",
    )
    return Person(tmp_path / "home", environ)
