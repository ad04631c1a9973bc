"""Claims about installing and locking with each client of the registry, where nothing but the proxy can be reached."""

import shutil
import socket
import sys

import pytest
from client_environments import shows_token
from client_setup import client_setup, on_one_line, what_is_installed
from client_tools import HATCH, PDM, PIP, PIP_TOOLS, PIPENV, POETRY, PROJECT, TOOLS, UV, UV_PYLOCK
from downloads import MAY_DOWNLOAD, skip_or_fail
from only_loopback import why_not
from processes import plain_environment, run_program

pytestmark = [pytest.mark.real, MAY_DOWNLOAD]

INSTALLERS = [tool for tool in TOOLS if tool.install]
LOCKERS = [*(tool for tool in TOOLS if tool.lock), UV_PYLOCK]
SOMEWHERE = ("192.0.2.1", 443)  # RFC 5737: nobody's address
LONGEST_SILENCE = 180.0  # seconds, on a machine where each client takes ten times as long as usual


def test_nothing_but_the_loopback_can_be_reached():
    reason = why_not()
    interfaces = [name for _, name in socket.if_nameindex()]
    if reason or interfaces != ["lo"]:
        skip_or_fail(f"the clients' network is not cut off ({reason or interfaces})", "run as root, with iproute2")

    with socket.socket() as connection, pytest.raises(OSError, match="unreachable"):
        connection.connect(SOMEWHERE)


@pytest.mark.parametrize("tool", INSTALLERS, ids=str)
async def test_installs_with_the_token_that_the_proxy_adds(tool, tmp_path, cell):
    async with client_setup(tmp_path) as here:
        person = here.workspace(tool)

        end = await person.run(*tool.install)

        assert end.code == 0, end.output
        assert await person.imported() == what_is_installed().version
    assert all(seen.authorization for seen in here.package_manager.requests)
    assert here.package_manager.requests_for(f"*/{PROJECT}-*.whl", "GET")
    assert not shows_token(here.package_manager.token, end.output, here.proxy.log)
    cell(tool, "install")


async def rewritten(here, action, lock_file):
    """What `ppmproxy lock` makes of a lock file."""
    environ = plain_environment(
        here.folder, PPMPROXY_UPSTREAM=here.package_manager.url, PPMPROXY_LISTEN=here.proxy.url.removeprefix("http://")
    )
    end = await run_program([sys.executable, "-m", "ppmproxy", "lock", action, lock_file], environ, here.folder)
    assert end.code == 0, end.output
    return lock_file.read_bytes()


@pytest.mark.parametrize("tool", LOCKERS, ids=lambda tool: f"{tool}-{tool.lock_file}")
async def test_a_lock_file_goes_to_the_package_manager_s_urls_and_back_and_installs(tool, tmp_path, cell):
    async with client_setup(tmp_path) as here:
        author, reader = here.workspace(tool), here.workspace(tool, "second")
        end = await author.run(*tool.lock)
        assert end.code == 0, end.output
        locked = author.lock_file.read_bytes()

        canonical = await rewritten(here, "canonical", author.lock_file)
        local = await rewritten(here, "local", author.lock_file)
        shutil.copy(author.lock_file, reader.lock_file)
        again = await reader.run(*tool.again)

        assert again.code == 0, again.output
        assert await reader.imported() == what_is_installed().version
    assert here.proxy.url.encode() in locked
    assert here.proxy.url.encode() not in canonical
    assert here.package_manager.url.encode() in canonical
    assert local.replace(b"--trusted-host 127.0.0.1\n", b"") == locked  # pip needs it to cache, and pip-tools omits it
    assert reader.lock_file.read_bytes() == local
    assert what_is_installed().sha256.encode() in canonical
    cell(tool, "lock")


@pytest.mark.parametrize("tool", [PIP, UV, POETRY, PDM, HATCH, PIPENV, PIP_TOOLS], ids=str)
async def test_a_second_install_from_the_client_s_own_cache_is_as_good(tool, tmp_path):
    async with client_setup(tmp_path) as here:
        person = here.workspace(tool)
        first = await person.run(*tool.install)
        person.start_over()

        second = await person.run(*tool.install)

        assert first.code == 0, first.output
        assert second.code == 0, second.output
        assert await person.imported() == what_is_installed().version


@pytest.mark.parametrize("tool", INSTALLERS, ids=str)
@pytest.mark.parametrize("fault", ["expired", "down"])
async def test_the_person_reads_why_nothing_can_be_installed(tool, fault, tmp_path, cell):
    words = {
        "expired": ("has expired", "put a new token there"),
        "down": ("cannot connect to", "connection refused", "check the network"),
    }[fault]
    async with client_setup(tmp_path, lifetime=-1 if fault == "expired" else None) as here:
        if fault == "down":
            await here.package_manager.close()
        person = here.workspace(tool)

        end = await person.run(*tool.install, talkative=True)

    said = on_one_line(end.output)
    assert end.code > 0
    assert [word for word in words if word not in said] == [], end.output
    assert end.seconds < LONGEST_SILENCE
    cell(tool, "error shown", f"with `{tool.talkative}`" if tool.talkative else "yes")
