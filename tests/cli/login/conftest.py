"""A fake Package Manager, a home, and commands between the two."""

import asyncio
import contextlib
import sys
from types import SimpleNamespace

import pytest
from login_commands import Command
from processes import plain_environment
from proxy_client import leaked_forms

from ppmproxy.credentials.token_file import TokenFile


@pytest.fixture
async def scene(package_manager, ca_file, tmp_path):
    """A fake Package Manager, a home, and commands between the two."""
    server = await package_manager(base_path="/rspm", device_interval=1)
    home = tmp_path / "home"
    home.mkdir()
    environ = plain_environment(home, PPMPROXY_UPSTREAM=server.url, PPMPROXY_CA_FILE=str(ca_file))
    running = []

    async def command(*arguments, **more):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ppmproxy", *arguments),
            env=environ | more,
            cwd=home,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        running.append(Command(process))
        return running[-1]

    store = TokenFile(home / ".ppm" / "tokens.toml")
    yield SimpleNamespace(server=server, home=home, environ=environ, command=command, store=store, url=server.url)
    for each in running:
        with contextlib.suppress(ProcessLookupError):
            each.process.kill()
        await each.process.communicate()
        for flow in server.sign_in.flows:
            assert leaked_forms(flow.device_code, each.said) == []
        token = store.path.exists() and store.find(server.url)
        assert not token or leaked_forms(token.reveal(), each.said) == []
