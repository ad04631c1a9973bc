"""What the tests of the shared cache share: real storages, and machines with a disk of their own in front of them."""

import contextlib
import os

import pytest
from cached_upstream import Cached
from observed_faults import ObservedFaults
from storages import PATIENCE, STARTERS

from ppmproxy.testing.package_manager import wheel


def pytest_addoption(parser):
    parser.addoption("--write-table", action="store_true", help="write the table into tests/benchmarks/README.md")


def pytest_configure(config):
    heads = ("fault of the shared cache", "what clients and people see")
    table = ObservedFaults(config, "faults of the shared cache", heads, "shared-faults")
    config.pluginmanager.register(table, "observed faults")


@pytest.fixture(autouse=True)
def no_variables_of_a_provider(monkeypatch):
    """Tests use no credentials of this machine."""
    for name in list(os.environ):
        if name.upper().startswith(("AWS_", "AZURE_", "GOOGLE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(scope="session")
def storages(tmp_path_factory):
    """Starts storages by name, each once: `storages("ceph")`."""
    running = {}
    with contextlib.ExitStack() as stack:

        def start(name):
            if name not in running:
                running[name] = stack.enter_context(STARTERS[name](tmp_path_factory.mktemp(name)))
            return running[name]

        yield start


@pytest.fixture
def lasting_pause(monkeypatch):
    """What has failed is not looked at again before a test ends, however busy the machine is."""
    monkeypatch.setattr("ppmproxy.cache.pause.FIRST", 300.0)


@pytest.fixture
def use(monkeypatch):
    """Sets the variables that lead to a storage, as a person does: obstore reads the process's own."""

    def lead_to(storage, **more):
        for name, value in {**storage.environ, **more}.items():
            monkeypatch.setenv(name, value)

    return lead_to


@pytest.fixture
def machine(package_manager, proxy, tmp_path):
    """Starts a daemon with a disk of its own: `await machine("second", cache_url="s3://…")`; all share the server."""
    made = []

    async def start(name, payload=bytes(range(256)) * 400, options=None, token=None, upstream=None, **settings):
        first = made[0] if made else None
        server = first.server if first else await package_manager(**(options or {}))
        file = first.file if first else server.add(wheel("hello", payload=payload))
        token_file = tmp_path / f"token-{name}"
        token_file.write_text(token or server.token)
        running = await proxy(
            server,
            environ={**os.environ, "PPMPROXY_TOKEN_FILE": str(token_file)},
            settings={"cache_dir": tmp_path / name, "drain_timeout": 120.0, "cache_url_timeout": PATIENCE, **settings},
            **{"cache": True, "read_timeout": 15.0, **(upstream or {})},
        )
        made.append(Cached(server, running, file, tmp_path / name, token_file))
        return made[-1]

    return start
