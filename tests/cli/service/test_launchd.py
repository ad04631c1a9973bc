"""Claims about the service on macOS and Windows: what is written is what their schemas want; it was not run there."""

import io
import plistlib
import shlex
import sys
from xml.etree import ElementTree as ET

import pytest

from ppmproxy.cli.context import Context
from ppmproxy.cli.service import launchd
from ppmproxy.cli.service.environment import Caller
from ppmproxy.cli.service.scheduled_task import NAMESPACE
from ppmproxy.cli.service.service_command import ServiceCommand

PLATFORMS = ("darwin", "win32")
PLACES = {"darwin": "Library/LaunchAgents/ppmproxy.plist", "win32": "AppData/Local/ppmproxy/service.xml"}
GIVEN = {
    "NETRC": "/my netrc",
    "PPMPROXY_UPSTREAM": "https://pm.example.com/a&b",
    "PPMPROXY_TOKEN_FILE": "/a token",
    "PPMPROXY_TOKEN": "a-secret-token",
}
WRITTEN = {name: value for name, value in GIVEN.items() if name != "PPMPROXY_TOKEN"}
# Task Scheduler Schema: the sequences of the elements that are used, each in the order that it demands.
ORDER = {
    "Task": ["RegistrationInfo", "Triggers", "Principals", "Settings", "Actions"],
    "LogonTrigger": ["Enabled"],
    "Principal": ["LogonType", "RunLevel"],
    "Settings": [
        "MultipleInstancesPolicy",
        "DisallowStartIfOnBatteries",
        "StopIfGoingOnBatteries",
        "StartWhenAvailable",
        "Hidden",
        "ExecutionTimeLimit",
        "RestartOnFailure",
    ],
    "RestartOnFailure": ["Interval", "Count"],
    "Exec": ["Command", "Arguments"],
}


@pytest.fixture
def order(tmp_path):
    out, err = io.StringIO(), io.StringIO()

    def made(environ=GIVEN, **options):
        return ServiceCommand(Context(environ, tmp_path, out, err), Caller(environ, {}, tmp_path, tmp_path), **options)

    made.out, made.err, made.home = out, err, tmp_path
    return made


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_description_is_written_where_it_is_looked_for_and_removed_again(order, platform):
    file = order.home / PLACES[platform]
    before = sorted(order.home.rglob("*"))

    assert launchd.status(order(), platform) == 1
    assert launchd.install(order(), platform) == 0
    assert launchd.status(order(), platform) == 0
    assert file.exists()
    assert f"wrote {file}" in order.out.getvalue()
    assert {"darwin": "launchctl bootstrap", "win32": "schtasks /Create"}[platform] in order.out.getvalue()
    assert "PPMPROXY_TOKEN is not carried over" in order.err.getvalue()
    assert "a-secret-token" not in order.out.getvalue() + order.err.getvalue()
    assert launchd.uninstall(order(), platform) == 0
    assert sorted(order.home.rglob("*")) == before
    assert launchd.uninstall(order(), platform) == 0
    assert "nothing to remove" in order.out.getvalue()


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_dry_run_shows_it_and_writes_nothing(order, platform):
    launchd.install(order(dry_run=True), platform)

    assert f"+++ {order.home / PLACES[platform]}" in order.out.getvalue()
    assert list(order.home.iterdir()) == []


def test_a_launchd_agent_reads_back_as_what_was_meant(order):
    launchd.install(order(), "darwin")

    agent = plistlib.loads((order.home / PLACES["darwin"]).read_bytes())

    assert agent["ProgramArguments"] == [sys.executable, "-m", "ppmproxy", "run"]
    assert agent["EnvironmentVariables"] == WRITTEN
    assert agent["RunAtLoad"] is True
    assert agent["KeepAlive"] == {"SuccessfulExit": False}
    assert agent["StandardErrorPath"] == str(order.home / "Library/Logs/ppmproxy.log")


def test_an_agent_that_is_written_again_keeps_what_it_was_given(order):
    launchd.install(order(), "darwin")

    launchd.install(order({"PPMPROXY_LOG_LEVEL": "debug"}), "darwin")
    agent = plistlib.loads((order.home / PLACES["darwin"]).read_bytes())

    assert agent["EnvironmentVariables"] == WRITTEN | {"PPMPROXY_LOG_LEVEL": "debug"}
    assert "kept from the last time" in order.err.getvalue()


def test_a_scheduled_task_has_its_elements_in_the_order_of_the_schema(order):
    launchd.install(order(), "win32")

    root = ET.fromstring((order.home / PLACES["win32"]).read_bytes())
    tags = {name: [one.tag.partition("}")[2] for one in element] for name, element in _named(root)}

    assert root.tag == f"{{{NAMESPACE}}}Task"
    assert root.get("version") == "1.2"
    assert {name: tags[name] for name in ORDER} == ORDER


def _named(root):
    return ((element.tag.partition("}")[2], element) for element in root.iter())


def test_a_scheduled_task_is_given_settings_as_flags_and_the_rest_is_said(order):
    launchd.install(order(), "win32")

    root = ET.fromstring((order.home / PLACES["win32"]).read_bytes())
    words = dict(_named(root))

    assert words["Command"].text == sys.executable
    assert shlex.split(words["Arguments"].text) == [
        *("-m", "ppmproxy", "run", "--upstream"),
        "https://pm.example.com/a&b",
    ]
    assert 'setx NETRC "/my netrc"' in order.err.getvalue()
    assert 'setx PPMPROXY_TOKEN_FILE "/a token"' in order.err.getvalue()
