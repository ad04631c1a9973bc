"""Claims about the fixes of `ppmproxy doctor`: pasted into a shell as they stand, each leaves nothing to be found.

Fixes that write clients' files are run in `test_client_indexes`, those of a service in `tests/real/service`.
"""

import shlex
import socket
import sys

import pytest
from free_ports import free_port
from processes import run_program, running_server

OTHER = "https://other.example.com/simple"
REAL = "SERVER/pypi/latest/simple"  # of the Package Manager itself


@pytest.mark.parametrize(
    ("check", "environ"),
    [
        ("second-index", {"PIP_EXTRA_INDEX_URL": OTHER}),
        ("second-index", {"UV_INDEX": f"other={OTHER}"}),
        ("second-index", {"UV_EXTRA_INDEX_URL": OTHER}),
        ("credentials", {"PIP_KEYRING_PROVIDER": "subprocess"}),
        ("credentials", {"UV_KEYRING_PROVIDER": "subprocess"}),
        ("direct-index", {"PIP_INDEX_URL": REAL}),
        ("direct-index", {"UV_DEFAULT_INDEX": REAL}),
        ("direct-index", {"UV_INDEX": f"corp={REAL}"}),
        ("direct-index", {"PIP_EXTRA_INDEX_URL": f"{REAL} {REAL}/2"}),
        ("direct-index", {"UV_EXTRA_INDEX_URL": REAL}),
        ("direct-index", {"PDM_PYPI_URL": OTHER, "PIPENV_PYPI_MIRROR": OTHER}),
        ("proxy-variables", {"HTTP_PROXY": "http://proxy.invalid:3128", "NO_PROXY": ""}),
    ],
)
@pytest.mark.parametrize("by_env", [False, True])
async def test_a_variable_of_the_shell_is_mended_by_the_fix_and_by_env(shell, server, check, environ, by_env):
    planted = {name: value.replace("SERVER", server.url) for name, value in environ.items()}
    faults = [one for one in (await shell(**planted)).found if one["check"] == check and one["outcome"] != "ok"]
    assert faults

    mending = ['eval "$(ppmproxy env)"'] if by_env else [one["fix"].partition(", or ")[0] for one in faults]
    mended = await shell(*mending, "PIP_INDEX_URL= UV_DEFAULT_INDEX= UV_INDEX_URL=", **planted)

    assert mended.of(check)["outcome"] == "ok"


async def test_pip_that_caches_nothing_is_mended_by_either_fix(shell, configured):
    configured.has(".config/pip/pip.conf", f"[global]\nindex-url = http://{configured.environ['PPMPROXY_LISTEN']}/a/\n")
    configured.environ["PIP_CONFIG_FILE"] = ""
    first, _, second = (await shell()).of("pip-cache", "warning")["fix"].partition(", or set ")

    assert (await shell(f"export {second}")).of("pip-cache", "ok")
    assert (await shell(f"{first} >/dev/null")).of("pip-cache", "ok")


@pytest.mark.parametrize("in_file", [False, True])
async def test_an_index_without_simple_is_mended(shell, configured, in_file):
    url = f"http://{configured.environ['PPMPROXY_LISTEN']}/pypi/latest/"
    planted = {} if in_file else {"PIP_INDEX_URL": url}
    if in_file:
        configured.has(".config/pip/pip.conf", f"[global]\nindex-url = {url}\n")
    configured.environ["PIP_CONFIG_FILE"] = ""
    fix = (await shell(**planted)).of("direct-index", "warning")["fix"]

    mended = await shell(f"{fix} >/dev/null", **planted)

    assert mended.of("direct-index", "ok")


async def test_a_lock_file_that_names_the_proxy_is_mended(shell, configured):
    url = f"http://{configured.environ['PPMPROXY_LISTEN']}/pypi/latest/simple/"
    (configured.project / "uv.lock").write_text(f'version = 1\nsource = "{url}"\n')
    fix = (await shell()).of("lock-files", "warning")["fix"]

    assert (await shell(f"{fix} >/dev/null")).of("lock-files", "ok")


async def test_a_second_index_in_a_file_is_mended_by_removing_it_from_there(shell, configured):
    file = configured.has(".config/pip/pip.conf", f"[global]\nextra-index-url = {OTHER}\n")
    configured.environ["PIP_CONFIG_FILE"] = ""
    fix = (await shell()).of("second-index", "failed")["fix"]
    assert fix.startswith(f"remove it from {file}, extra-index-url in [global]")

    file.write_text("[global]\n")

    assert (await shell()).of("second-index", "ok")


async def test_a_cache_that_cannot_be_used_is_mended(shell, configured):
    del configured.environ["PPMPROXY_CACHE"]
    folder = configured.home / ".cache" / "ppmproxy"
    folder.mkdir(parents=True, mode=0o755)
    (folder / "blobs").write_text("no folder")
    assert (await shell()).of("cache", "warning")

    assert (await shell("export PPMPROXY_CACHE_DIR=$HOME/another")).of("cache", "ok")


async def test_a_daemon_that_clients_miss_is_mended_by_starting_it(shell, configured):
    configured.environ["PIP_INDEX_URL"] = f"http://{configured.environ['PPMPROXY_LISTEN']}/pypi/latest/simple/"
    fix = (await shell()).of("daemon", "failed")["fix"]

    async with running_server(shlex.split(fix), configured.environ, configured.project) as server:
        await server.line_with("daemon_listening")
        mended = await shell()

    assert mended.of("daemon", "ok")


async def test_an_address_that_the_daemon_does_not_hold_is_mended_by_a_restart_with_both(shell, configured):
    port = free_port()
    alone, both = f"127.0.0.1:{port}", f"127.0.0.1:{port},[::1]:{port}"
    configured.environ["PPMPROXY_LISTEN"] = both
    run = ["ppmproxy", "run"]

    async with running_server(run, configured.environ | {"PPMPROXY_LISTEN": alone}, configured.project) as server:
        await server.line_with("daemon_listening")
        fix = (await shell()).of("port", "warning")["fix"]
        await run_program(["/bin/sh", "-c", "ppmproxy shutdown"], configured.environ, configured.project)
    async with running_server(run, configured.environ, configured.project) as server:
        await server.line_with("daemon_listening")
        mended = await shell()

    assert "ppmproxy shutdown && ppmproxy run" in fix
    assert "port" not in mended.faults()


async def test_a_client_that_is_pointed_at_another_port_than_the_daemon_s_is_mended(shell, configured):
    usual = "http://127.0.0.1:7760/pypi/latest/simple/"
    async with running_server(["ppmproxy", "run"], configured.environ, configured.project) as server:
        await server.line_with("daemon_listening")
        fix = (await shell(PIP_INDEX_URL=usual)).of("direct-index", "failed")["fix"]
        mended = await shell(fix, PIP_INDEX_URL=usual)

    assert mended.of("direct-index", "ok")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who holds a port")
async def test_a_port_that_another_program_holds_is_free_once_the_fix_has_ended_it(shell, configured):
    host, _, port = configured.environ["PPMPROXY_LISTEN"].rpartition(":")
    program = (
        f"import socket, time; s = socket.create_server(({host!r}, {port})); print('there', flush=True); "
        "s.accept()[0].close(); time.sleep(60)"
    )
    async with running_server([sys.executable, "-c", program], configured.environ, configured.project) as server:
        await server.line_with("there")
        fix = (await shell()).of("port", "failed")["fix"]
        command = fix.partition("(")[2].partition(")")[0]
        assert command == f"kill {server.process.pid}"
        ended = await shell(command, f"while kill -0 {server.process.pid}; do :; done")
        assert ended.of("port", "ok")
        with socket.socket() as free:
            free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            free.bind((host, int(port)))


async def test_a_settings_file_in_another_place_is_read_after_the_fix(shell, configured, server):
    del configured.environ["PPMPROXY_UPSTREAM"]
    configured.has(".config/ppmproxy.toml", f'upstream = "{server.url}"\n')
    fix = (await shell()).of("settings-file", "warning")["fix"]

    mended = await shell(fix)

    assert mended.faults() == set()
    assert server.url in mended.of("upstream", "ok")["what"]
