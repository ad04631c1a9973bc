"""Claims about replicas behind a load balancer: two real processes, nginx, one bucket, and no state but that."""

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from client_environments import Client, client_environment
from downloads import MAY_DOWNLOAD, skip_or_fail
from free_ports import reserved_port
from processes import STOP_DEADLINE, ppmproxy_run, running_server
from proxy_client import wait_until

from ppmproxy.testing.package_manager import Stall, wheel

pytestmark = [pytest.mark.real, MAY_DOWNLOAD]

NGINX = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream replicas {{ {servers} }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://replicas; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $http_host; proxy_buffering off; proxy_next_upstream error timeout http_503;
    }}
  }}
}}
"""


@dataclass
class Replica:
    """One process, with its disk."""

    running: object
    cache: Path

    @property
    def port(self):
        return int(self.running.url.rpartition(":")[2])

    @property
    def is_downloading(self):
        return any((self.cache / "partial").glob("*.partial"))

    def kill(self):
        os.kill(self.running.server.process.pid, signal.SIGKILL)


@pytest.fixture
async def fleet(package_manager, ca_file, storages, tmp_path):
    """`async with fleet(2) as it`: replicas behind nginx at `it.url`, in front of `it.server`."""
    program = shutil.which("nginx", path=os.environ.get("PATH", "") + os.pathsep + "/usr/sbin")
    if program is None:
        skip_or_fail("nginx is not installed", "on Debian: apt-get install nginx-light")

    @contextlib.asynccontextmanager
    async def start(count):
        server, storage = await package_manager(), storages("moto")
        async with AsyncExitStack() as stack:
            replicas, port = [], stack.enter_context(reserved_port())
            url = storage.at(secrets.token_hex(8))
            for number in range(count):
                folder = tmp_path / f"replica-{number}"
                folder.mkdir()
                environ = storage.environ | {
                    "PPMPROXY_UPSTREAM": server.url,
                    "PPMPROXY_CA_FILE": str(ca_file),
                    "PPMPROXY_TOKEN": server.token,
                    "PPMPROXY_CACHE": "true",
                    "PPMPROXY_CACHE_DIR": str(folder / "cache"),
                    "PPMPROXY_CACHE_URL": url,
                    "PPMPROXY_CACHE_URL_TIMEOUT": "1m",
                    "PPMPROXY_ACCESS": "any",
                    "PPMPROXY_ALLOWED_HOSTS": f"ppmproxy:{port}",
                }
                running = await stack.enter_async_context(_may_be_killed(ppmproxy_run(folder, **environ)))
                replicas.append(Replica(running, folder / "cache"))
            await stack.enter_async_context(_nginx(program, tmp_path / "nginx", port, replicas))
            yield Fleet(server, replicas, f"http://127.0.0.1:{port}")

    return start


@dataclass
class Fleet:
    server: object
    replicas: list
    url: str

    @property
    def index_url(self):
        return f"{self.url}/pypi/latest/simple/"

    async def downloading(self):
        """The replica that has a download under way."""
        await wait_until(lambda: any(replica.is_downloading for replica in self.replicas))
        return next(replica for replica in self.replicas if replica.is_downloading)


@contextlib.asynccontextmanager
async def _may_be_killed(starting):
    """A replica whose exit code is not looked at: a test may have killed it."""
    running = await starting.__aenter__()
    try:
        yield running
    finally:
        with contextlib.suppress(AssertionError):
            await starting.__aexit__(None, None, None)


@contextlib.asynccontextmanager
async def _nginx(program, folder, port, replicas):
    folder.mkdir()
    servers = " ".join(f"server 127.0.0.1:{replica.port} max_fails=1 fail_timeout=5s;" for replica in replicas)
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port, servers=servers))
    command = [program, "-p", folder, "-e", folder / "error.log", "-c", folder / "nginx.conf"]
    async with running_server(command, {"PATH": os.environ["PATH"]}, folder):
        await wait_until((folder / "pid").exists)
        yield


@pytest.mark.parametrize("client", [Client.PIP, Client.UV], ids=lambda client: client.value)
async def test_a_replica_that_is_killed_in_mid_download_is_not_noticed_by(fleet, observed, tmp_path, client):
    async with fleet(2) as it:
        big = it.server.add(wheel("hello", payload=os.urandom(3_000_000)))
        path = f"/pypi/latest/packages/{big.id}/{big.filename}"
        it.server.add_fault(path, Stall(1_000_000))
        environment = client_environment(client, tmp_path, it.index_url)
        installing = asyncio.create_task(environment.install("--no-deps", "hello"))
        victim = await it.downloading()
        it.server.clear_faults()

        victim.kill()
        end = await installing

        observed(f"a replica is killed in the middle of a download of {client.value}", "the install succeeds")
        assert end.code == 0, end.output
        assert await environment.imported("hello")
        assert len([one for one in it.replicas if one.running.server.process.returncode is None]) == 1


async def test_a_replica_that_ends_in_an_orderly_way_finishes_its_downloads(fleet, observed):
    async with fleet(2) as it, aiohttp.ClientSession(auto_decompress=False) as session:
        big = it.server.add(wheel("hello", payload=os.urandom(3_000_000)))
        path = f"/pypi/latest/packages/{big.id}/{big.filename}"
        it.server.add_fault(path, Stall(1_000_000))

        async def fetched():
            async with session.get(it.url + path) as response:
                return await response.read()

        async with session.get(f"{it.url}/pypi/latest/simple/hello/") as page:
            assert page.status == 200
        fetching = asyncio.create_task(fetched())
        ending = await it.downloading()

        ending.running.server.process.terminate()
        await ending.running.server.line_with("daemon_stopping")
        it.server.release()
        body = await fetching
        code = await asyncio.wait_for(ending.running.server.process.wait(), STOP_DEADLINE)
        async with session.get(f"{it.url}/pypi/latest/simple/hello/") as page:
            after = page.status

        observed("a replica is ended in the middle of a download", "it finishes it; the other one goes on")
        assert body == big.data
        assert (code, after) == (0, 200)


async def test_what_one_replica_downloaded_the_other_has_from_the_bucket(fleet):
    async with fleet(2) as it, aiohttp.ClientSession(auto_decompress=False) as session:
        files = [it.server.add(wheel("hello", f"{number}.0", payload=os.urandom(20_000))) for number in range(1, 9)]
        one, other = (replica.running for replica in it.replicas)
        said = []
        for running in (one, other):
            await (await session.get(f"{running.url}/pypi/latest/simple/hello/")).read()
            for file in files:
                async with session.get(f"{running.url}/pypi/latest/packages/{file.id}/{file.filename}") as response:
                    assert await response.read() == file.data
                    said.append(response.headers["Cache-Status"])
            if running is one:
                await _uploaded(session, one, len(files))

        assert {words.removeprefix("ppmproxy; ") for words in said[:8]} == {"fwd=uri-miss; stored"}
        assert {words.removeprefix("ppmproxy; ") for words in said[8:]} == {"hit; detail=shared"}


async def _uploaded(session, running, count):
    for _ in range(1200):
        async with session.get(f"{running.url}/-/status") as response:
            shared = (await response.json())["cache"]["shared"]
        if shared["uploads"]["uploaded"] >= count:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(shared)


async def test_the_service_s_name_is_a_host_and_any_other_is_refused(fleet):
    async with fleet(1) as it, aiohttp.ClientSession() as session:
        statuses = []
        for host in (f"ppmproxy:{it.url.rpartition(':')[2]}", "other.example.com"):
            async with session.get(f"{it.url}/-/live", headers={"Host": host}) as response:
                statuses.append(response.status)

        assert statuses == [200, 403]
