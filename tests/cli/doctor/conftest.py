"""What the tests of `doctor` share: a person, a fake Package Manager, and settings that lead to it."""

import pytest
from examined_person import NO_PIP_FILES, Person
from free_ports import free_port
from processes import plain_environment

from ppmproxy.testing.package_manager import wheel


@pytest.fixture
def person(tmp_path):
    for folder in ("home", "project"):
        (tmp_path / folder).mkdir()
    return Person(tmp_path / "home", tmp_path / "project", plain_environment(tmp_path / "home", **NO_PIP_FILES))


@pytest.fixture
async def server(package_manager):
    started = await package_manager(base_path="/rspm")
    started.add(wheel("pip"))
    return started


@pytest.fixture
def configured(person, server, ca_file):
    """The same person with settings that lead to the fake Package Manager, and its token."""
    person.environ |= {
        "PPMPROXY_UPSTREAM": server.url,
        "PPMPROXY_CA_FILE": str(ca_file),
        "PPMPROXY_TOKEN": server.token,
        "PPMPROXY_LISTEN": f"127.0.0.1:{free_port()}",
    }
    return person
