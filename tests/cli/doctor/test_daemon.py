"""Claims about what doctor finds of the daemon and of the ports: whose they are, and what to do."""

import asyncio
import sys

import pytest
from aiohttp import web
from free_ports import free_port
from plain_http import serving_http
from processes import ppmproxy_run, run_program
from proxy_client import wait_until

NOWHERE = "http://127.0.0.1:1"


async def test_a_daemon_that_is_not_running_is_reported_where_a_client_is_pointed_at_it(configured):
    report = await configured.doctor(
        PIP_INDEX_URL=f"http://{configured.environ['PPMPROXY_LISTEN']}/pypi/latest/simple/"
    )

    assert report.of("daemon", "failed")["fix"] == "ppmproxy run"
    assert report.of("port", "ok")


async def test_an_installed_service_that_does_not_run_is_reported_with_the_command_that_starts_it(configured):
    configured.has(".config/systemd/user/ppmproxy.socket", "[Socket]\n")

    report = await configured.doctor()

    assert report.of("daemon", "failed")["fix"] == "ppmproxy service install"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_port_held_by_another_program_on_one_family_is_reported_and_its_process_named(configured, host):
    """It ends every connection at once: for one that is silent, doctor waits for seconds."""
    port = free_port()
    async with await asyncio.start_server(lambda _, writer: writer.close(), host, port):
        report = await configured.doctor(PPMPROXY_LISTEN=f"127.0.0.1:{port},[::1]:{port}")

    assert "process " in report.of("port", "failed")["what"]
    assert host in report.of("port", "failed")["what"]
    assert "none is running" in report.of("daemon")["what"]


async def test_a_server_that_says_yes_to_everything_is_not_taken_for_the_daemon(configured):
    async def yes(_request):
        return web.Response(text="0" * 64)

    async with serving_http(yes) as url:
        report = await configured.doctor(PPMPROXY_LISTEN=url.removeprefix("http://"))

    assert report.of("port", "failed")
    assert "none is running" in report.of("daemon")["what"]


async def test_a_daemon_elsewhere_and_one_for_another_upstream_are_judged_and_the_shell_s_settings_a_remark(
    configured, tmp_path
):
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    async with ppmproxy_run(tmp_path, XDG_RUNTIME_DIR=str(runtime), PPMPROXY_UPSTREAM=NOWHERE) as running:
        await wait_until(
            lambda: [*runtime.rglob("daemon-*.json")]
        )  # it leaves word right after it says that it listens
        elsewhere = await configured.doctor(XDG_RUNTIME_DIR=str(runtime))
        port = running.url.removeprefix("http://")
        other = await configured.doctor(XDG_RUNTIME_DIR=str(runtime), PPMPROXY_LISTEN=port)

    assert running.url in elsewhere.of("daemon", "ok")["what"]
    assert NOWHERE in elsewhere.of("upstream", "failed")["what"]
    assert f"PPMPROXY_UPSTREAM={NOWHERE} PPMPROXY_LISTEN={port}" in elsewhere.of("shell-settings", "warning")["fix"]
    assert NOWHERE in other.of("upstream", "failed")["what"]
    assert "PPMPROXY_LISTEN" not in other.of("shell-settings", "warning")["fix"]


async def test_a_daemon_that_does_not_trust_an_authority_that_the_shell_names_is_reported(configured, server, tmp_path):
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    settings = {"PPMPROXY_UPSTREAM": server.url, "PPMPROXY_TOKEN": server.token}  # and not the authority
    async with ppmproxy_run(tmp_path, XDG_RUNTIME_DIR=str(runtime), **settings) as running:
        await wait_until(
            lambda: [*runtime.rglob("daemon-*.json")]
        )  # it leaves word right after it says that it listens
        fetch = f"import urllib.request; urllib.request.urlopen('{running.index_url}pip/').read()"
        assert (await run_program([sys.executable, "-c", fetch], configured.environ, tmp_path)).code != 0
        listen = running.url.removeprefix("http://")
        report = await configured.doctor(XDG_RUNTIME_DIR=str(runtime), PPMPROXY_LISTEN=listen)

    assert report.of("certificate", "failed")
    assert "is not trusted" in report.of("daemon", "warning")["what"]
