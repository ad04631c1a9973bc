"""Claims about `ppmproxy status`: its output for a running daemon, for none, and for another program on the port."""

import json
import socket
import sys

import pytest
from command_line import Person
from processes import plain_environment, ppmproxy_run, run_program
from proxy_client import leaked_forms, wait_until

from ppmproxy.access.daemon_identity import ListenerIdentity
from ppmproxy.access.discovery import DaemonInfo
from ppmproxy.cli.status import _lines
from ppmproxy.testing.package_manager import wheel


@pytest.fixture
def environ(tmp_path):
    (tmp_path / "runtime").mkdir(mode=0o700)
    return {"XDG_RUNTIME_DIR": str(tmp_path / "runtime")}


async def status(tmp_path, environ, *arguments):
    command = [sys.executable, "-m", "ppmproxy", "status", *arguments]
    end = await run_program(command, plain_environment(tmp_path, **environ), tmp_path)
    assert "Traceback" not in end.output
    return end


async def test_a_running_daemon_is_reported_with_its_upstream_and_its_token_s_source(
    package_manager, ca_file, tmp_path, environ
):
    server = await package_manager()
    server.add(wheel("hello"))
    settings = {"PPMPROXY_UPSTREAM": server.url, "PPMPROXY_CA_FILE": str(ca_file), "PPMPROXY_TOKEN": server.token}
    async with ppmproxy_run(tmp_path, **settings, **environ) as running:
        await wait_until(
            lambda: [*tmp_path.rglob("daemon-*.json")]
        )  # it leaves word right after it says that it listens
        listen = {"PPMPROXY_LISTEN": running.url.removeprefix("http://")}
        fetch = f"import urllib.request; urllib.request.urlopen('{running.index_url}hello/').read()"
        assert (await run_program([sys.executable, "-c", fetch], plain_environment(tmp_path), tmp_path)).code == 0
        told = await status(tmp_path, {**environ, **listen})
        document = await status(tmp_path, {**environ, **listen}, "--json")

    assert told.code == document.code == 0
    lines = told.output.splitlines()
    assert lines[0] == f"{running.url}: this user's ppmproxy"
    assert f"/ -> {server.url}" in lines
    assert "  token: from environment variable PPMPROXY_TOKEN" in lines
    assert "  scopes: repos:read" in lines
    assert any(line.startswith("requests: ") and "0 of them refused" in line for line in lines)
    parsed = json.loads(document.output)
    assert parsed["running"] is True
    assert parsed["addresses"] == {running.url: "this user's ppmproxy"}
    assert parsed["upstreams"][0]["credential"]["source"] == "environment variable PPMPROXY_TOKEN"
    assert leaked_forms(server.token, told.output + document.output) == []


async def test_no_daemon_is_exit_code_1_and_says_what_to_do(tmp_path, environ):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        listen = {"PPMPROXY_LISTEN": f"127.0.0.1:{bound.getsockname()[1]}"}
        told = await status(tmp_path, {**environ, **listen})
        document = await status(tmp_path, {**environ, **listen}, "--json")

    assert (told.code, document.code) == (1, 1)
    assert "nobody listens there" in told.output
    assert "ppmproxy run" in told.output
    assert json.loads(document.output)["running"] is False


async def test_another_program_on_the_port_is_no_daemon(tmp_path, environ):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        told = await status(tmp_path, {**environ, "PPMPROXY_LISTEN": f"127.0.0.1:{listener.getsockname()[1]}"})

    assert told.code == 1
    assert "a process that does not answer" in told.output


def test_settings_without_a_known_port_are_no_traceback(tmp_path):
    said = Person(tmp_path).runs("status", PPMPROXY_LISTEN="127.0.0.1:0")

    assert said.code == 1
    assert "no port" in said.out


def test_a_daemon_of_another_version_may_say_less():
    less = DaemonInfo(
        "http://x", ListenerIdentity.OURS, {"upstreams": [{}, {"credential": {}, "sign_in": {}}], "requests": {"a": 1}}
    )

    assert next(iter(_lines([less]))) == "http://x: this user's ppmproxy"


def test_what_is_wrong_with_a_credential_and_a_sign_in_that_waits_are_reported():
    upstream = {
        "mount": "/",
        "url": "https://a",
        "credential": None,
        "passed_over": {"netrc": "no such file"},
        "troubles": ["cannot renew"],
        "sign_in": {"page": "https://a/device", "code": "AB-CD"},
    }

    assert list(_lines([DaemonInfo("http://x", ListenerIdentity.OURS, {"upstreams": [upstream]})]))[1:] == [
        "/ -> https://a",
        "  token: none found",
        "    netrc: no such file",
        "  trouble: cannot renew",
        "  sign in: open https://a/device and confirm AB-CD",
    ]


def test_an_outage_is_reported_with_its_reason_and_what_came_of_requests():
    silence = {"silent_since": "12:00", "silent_until": "12:05", "silent_why": "refused"}
    upstream = {"mount": "/", "url": "https://a", **silence}
    requests = {"total": 9, "errors": {"token-rejected": 1, "upstream-unreachable": 4}}
    status = {"upstreams": [upstream], "requests": requests, "started_at": "then"}

    assert list(_lines([DaemonInfo("http://x", ListenerIdentity.OURS, status)]))[1:] == [
        "/ -> https://a",
        "  no good answer since 12:00, last asked 12:05: refused",
        "  token: none used yet",
        "requests: 9 since then, 5 of them refused or failed",
        "  token-rejected: 1",
        "  upstream-unreachable: 4",
    ]


def test_several_credentials_are_reported_apart_by_what_they_are_for():
    reading = {"source": "file /r", "expires_at": None, "scopes": ["repos:read"], "purposes": ["read pypi"]}
    writing = {"source": "file /w", "expires_at": "2026-01-01T00:00:00+00:00", "purposes": ["upload internal"]}
    upstream = {"mount": "/", "url": "https://a", "credential": reading, "credentials": [reading, writing]}

    assert list(_lines([DaemonInfo("http://x", ListenerIdentity.OURS, {"upstreams": [upstream]})]))[2:] == [
        "  token: from file /r",
        "  for: read pypi",
        "  scopes: repos:read",
        "  token: from file /w, until 2026-01-01T00:00:00+00:00",
        "  for: upload internal",
    ]


def test_a_token_that_was_used_is_reported_though_the_last_request_found_none():
    used = {"source": "file /t", "purposes": ["read pypi"]}
    upstream = {"mount": "/", "url": "https://x", "credential": None, "credentials": [used]}

    lines = list(_lines([DaemonInfo("http://127.0.0.1:7760", ListenerIdentity.OURS, {"upstreams": [upstream]})]))

    assert lines[2:] == ["  token: from file /t", "  for: read pypi"]


def test_downloads_that_wait_for_others_are_reported():
    upstream = {"mount": "/", "url": "http://pm", "downloads": {"under_way": 40, "waiting": 3}}

    lines = list(_lines([DaemonInfo("http://127.0.0.1:7760", ListenerIdentity.OURS, {"upstreams": [upstream]})]))

    assert "  downloads: 40 under way, 3 wait for their end (max_connections)" in lines
