"""Claims about the service on macOS, which was not run there, and about platforms without one."""

import io
import plistlib
import sys

import pytest

from ppmproxy.cli.context import Context
from ppmproxy.cli.service import launchd
from ppmproxy.cli.service.command import action_for
from ppmproxy.cli.service.service_command import ServiceCommand
from ppmproxy.environment import Environment
from ppmproxy.errors import ConfigError

AGENT = "Library/LaunchAgents/ppmproxy.plist"
GIVEN = {
    "NETRC": "/my netrc",
    "PPMPROXY_UPSTREAM": "https://pm.example.com/a&b",
    "PPMPROXY_TOKEN_FILE": "/a token",
    "PPMPROXY_TOKEN": "a-secret-token",
}
WRITTEN = {name: value for name, value in GIVEN.items() if name != "PPMPROXY_TOKEN"}


@pytest.fixture
def service(tmp_path):
    out, err = io.StringIO(), io.StringIO()

    def made(environ=GIVEN, **options):
        return ServiceCommand(Context(Environment(environ, tmp_path), out, err), {}, tmp_path, **options)

    made.out, made.err, made.home = out, err, tmp_path
    return made


def test_an_agent_is_written_reported_and_removed_again(service):
    file = service.home / AGENT
    before = sorted(service.home.rglob("*"))

    assert launchd.status(service()) == 1
    assert launchd.install(service()) == 0
    assert launchd.status(service()) == 0
    assert file.exists()
    assert f"wrote {file}" in service.out.getvalue()
    assert "launchctl bootstrap" in service.out.getvalue()
    assert "PPMPROXY_TOKEN is not carried over" in service.err.getvalue()
    assert "a-secret-token" not in service.out.getvalue() + service.err.getvalue()
    assert launchd.uninstall(service()) == 0
    assert sorted(service.home.rglob("*")) == before
    assert launchd.uninstall(service()) == 0
    assert "nothing to remove" in service.out.getvalue()


def test_a_dry_run_shows_it_and_writes_nothing(service):
    launchd.install(service(dry_run=True))

    assert f"+++ {service.home / AGENT}" in service.out.getvalue()
    assert list(service.home.iterdir()) == []


def test_a_launchd_agent_reads_back_as_what_was_meant(service):
    launchd.install(service())

    agent = plistlib.loads((service.home / AGENT).read_bytes())

    assert agent["ProgramArguments"] == [sys.executable, "-m", "ppmproxy", "run"]
    assert agent["EnvironmentVariables"] == WRITTEN
    assert agent["RunAtLoad"] is True
    assert agent["KeepAlive"] == {"SuccessfulExit": False}
    assert agent["StandardErrorPath"] == str(service.home / "Library/Logs/ppmproxy.log")


def test_an_agent_that_is_written_again_keeps_what_it_was_given(service):
    launchd.install(service())

    launchd.install(service({"PPMPROXY_LOG_LEVEL": "debug"}))
    agent = plistlib.loads((service.home / AGENT).read_bytes())

    assert agent["EnvironmentVariables"] == WRITTEN | {"PPMPROXY_LOG_LEVEL": "debug"}
    assert "kept from the last time" in service.err.getvalue()


@pytest.mark.parametrize(("platform", "name"), [("win32", "Windows"), ("freebsd14", "freebsd14")])
def test_a_platform_without_a_service_is_named_with_what_to_do_instead(platform, name):
    with pytest.raises(ConfigError, match=f"not supported on {name}") as caught:
        action_for("install", platform)

    assert "ppmproxy exec" in caught.value.hint
    assert "ppmproxy run" in caught.value.hint
