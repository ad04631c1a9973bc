"""Claims about notifications on the desktop, with a real message bus: when, what they say, and what a click does."""

import asyncio
import contextlib
import importlib.util
import json
import shutil
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from downloads import skip_or_fail
from processes import START_DEADLINE, plain_environment, running_server
from proxy_client import DEADLINE, PAGE, UV, leaked_forms, wait_until

from ppmproxy.auth.credential import Claims, Credential
from ppmproxy.auth.secret import Secret
from ppmproxy.config.model import Settings, SignIn, Upstream
from ppmproxy.credentials.device_flow_responses import DeviceGrant
from ppmproxy.credentials.token_file import TokenFile
from ppmproxy.environment import Environment
from ppmproxy.server.notifications import MAX_NOTICE, Notifications, session_bus
from ppmproxy.testing.package_manager import wheel

pytestmark = [pytest.mark.real, pytest.mark.skipif(sys.platform != "linux", reason="a desktop of freedesktop.org")]

SERVER = Path(__file__).parents[1] / "notification_server.py"


@dataclass
class Desktop:
    """The person's desktop: the environment of the session, and its notifications."""

    environ: dict[str, str]
    server: object
    clicked: Path  # the pages that the browser was told to open

    @property
    def calls(self):
        return [json.loads(line) for line in self.server.lines]

    async def notified(self, number=1):
        """A notification, as soon as it is shown."""
        return json.loads(await asyncio.wait_for(self.server.line_with(f'"number": {number}, "title"'), DEADLINE))

    async def withdrawn(self, number=1):
        await asyncio.wait_for(self.server.line_with(json.dumps({"call": "withdrawn", "number": number})), DEADLINE)

    def acts(self, what):
        self.server.process.stdin.write(f"{what}\n".encode())


@pytest.fixture
async def bus(tmp_path):
    """A session's message bus: its address."""
    if shutil.which("dbus-daemon") is None or importlib.util.find_spec("jeepney") is None:
        skip_or_fail("dbus-daemon or jeepney is not installed", "on Debian: apt-get install dbus; pip install jeepney")
    command = ["dbus-daemon", "--session", "--nofork", "--nopidfile", "--print-address"]
    async with running_server(command, plain_environment(tmp_path), tmp_path) as running:
        yield (await asyncio.wait_for(running.line_with("unix:"), START_DEADLINE)).strip()


@contextlib.asynccontextmanager
async def notification_server(bus, tmp_path, *abilities):
    environ = plain_environment(tmp_path, DBUS_SESSION_BUS_ADDRESS=bus)
    async with running_server([sys.executable, SERVER, *abilities], environ, tmp_path, stdin=True) as server:
        await asyncio.wait_for(server.line_with("ready"), START_DEADLINE)
        yield server


@pytest.fixture
async def desktop(bus, tmp_path):
    pages = tmp_path / "pages"
    browser = tmp_path / "browser"
    browser.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$1\" > {pages}.part\nmv {pages}.part {pages}\n")
    browser.chmod(0o755)
    async with notification_server(bus, tmp_path, "actions", "body") as server:
        yield Desktop({"DBUS_SESSION_BUS_ADDRESS": bus, "PATH": "/usr/bin:/bin"}, server, pages)


@pytest.fixture
async def server(package_manager):
    started = await package_manager(device_interval=0.01)
    started.add(wheel("hello"))
    return started


# a sign-in that waits


async def test_a_sign_in_that_waits_is_announced_and_withdrawn_once_somebody_has_signed_in(server, proxy, desktop):
    running = await proxy(server, environ=desktop.environ, sign_in=SignIn.ALWAYS)
    asking = asyncio.create_task(running.get(PAGE, {"User-Agent": UV}))

    shown = await desktop.notified()
    flow = await server.next_sign_in()
    server.approve(flow.user_code)

    assert (await asking).status == 200
    await desktop.withdrawn()
    assert shown["title"] == "Sign in to 127.0.0.1"
    assert server.url in shown["text"]
    assert shown["actions"] == ["default", "Open the page"]
    assert leaked_forms(flow.device_code, desktop.server.log) == []


async def test_a_click_opens_the_proxy_s_own_page(server, proxy, desktop, tmp_path):
    environ = {**desktop.environ, "BROWSER": f"{tmp_path}/browser %s"}
    running = await proxy(server, environ=environ, sign_in=SignIn.ALWAYS)
    asking = asyncio.create_task(running.get(PAGE, {"User-Agent": UV}))
    await desktop.notified()
    await wait_until(desktop.clicked.exists)  # the sign-in's own page
    desktop.clicked.unlink()

    desktop.acts("click 1")

    await wait_until(desktop.clicked.exists)
    assert desktop.clicked.read_text() == f"{running.url}/-/\n"
    server.approve((await server.next_sign_in()).user_code)
    await asking


async def test_a_notification_that_the_person_closes_opens_nothing(server, proxy, desktop):
    running = await proxy(server, environ=desktop.environ, sign_in=SignIn.ALWAYS)
    asking = asyncio.create_task(running.get(PAGE, {"User-Agent": UV}))
    await desktop.notified()
    task = running.daemon._notifications._shown["default"]

    desktop.acts("close 1")

    await asyncio.wait_for(task, DEADLINE)
    assert not desktop.clicked.exists()
    server.approve((await server.next_sign_in()).user_code)
    await asking


async def test_the_end_of_the_daemon_withdraws_what_is_shown(server, proxy, desktop):
    running = await proxy(server, environ=desktop.environ, sign_in=SignIn.ALWAYS)
    asking = asyncio.create_task(running.get(PAGE, {"User-Agent": UV}))
    await desktop.notified()

    await running.daemon.stop()

    await desktop.withdrawn()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


@pytest.mark.parametrize("how", ["at the start", "by a reload"])
async def test_a_setting_switches_them_off(server, proxy, desktop, how):
    settings = {"notifications": False} if how == "at the start" else {}
    running = await proxy(server, environ=desktop.environ, sign_in=SignIn.ALWAYS, settings=settings)
    if how == "by a reload":
        running.daemon.reload(replace(running.daemon.services.settings, notifications=False))
    asking = asyncio.create_task(running.get(PAGE, {"User-Agent": UV}))

    server.approve((await server.next_sign_in()).user_code)

    assert (await asking).status == 200
    assert [call["call"] for call in desktop.calls] == ["ready"]


@pytest.mark.parametrize("address", ["", "unix:path=/nonexistent/bus", "tcp:host=localhost,port=1", "nonsense"])
async def test_without_a_bus_or_with_a_broken_one_a_sign_in_goes_on(server, proxy, logs, address):
    running = await proxy(server, environ={"DBUS_SESSION_BUS_ADDRESS": address}, sign_in=SignIn.ALWAYS)
    asking = asyncio.create_task(running.get(PAGE, {"User-Agent": UV}))

    server.approve((await server.next_sign_in()).user_code)

    assert (await asking).status == 200
    assert len(logs.events("notification_failed")) == bool(address)


async def test_a_session_without_a_desktop_is_no_error(server, proxy, bus, logs):
    running = await proxy(server, environ={"DBUS_SESSION_BUS_ADDRESS": bus}, sign_in=SignIn.ALWAYS)
    asking = asyncio.create_task(running.get(PAGE, {"User-Agent": UV}))
    await wait_until(lambda: logs.events("notification_failed"))

    server.approve((await server.next_sign_in()).user_code)

    assert (await asking).status == 200


# a session that is about to end


def signed_in(server, home, lifetime):
    token = server.issue_token(lifetime=lifetime)
    TokenFile(home / ".ppm" / "tokens.toml").save(server.url, Secret(token))
    return token


async def test_a_session_that_is_about_to_end_is_announced_once_and_withdrawn_when_it_is_renewed(
    server, proxy, desktop, tmp_path
):
    token = signed_in(server, tmp_path, 3600)
    running = await proxy(server, environ=desktop.environ, home=tmp_path)
    await running.get(PAGE, {"User-Agent": UV})
    notifications, sessions = running.daemon._notifications, running.daemon.services.sessions
    await notifications.check(sessions)
    assert notifications._shown == {}

    notifications.now = lambda: time.time() + 3600 * 0.95
    await notifications.check(sessions)
    await notifications.check(sessions)
    shown = await desktop.notified()
    signed_in(server, tmp_path, 36000)
    await notifications.check(sessions)

    await desktop.withdrawn()
    assert shown["title"].startswith("Signed in to 127.0.0.1 until ")
    assert [call["call"] for call in desktop.calls] == ["ready", "notify", "withdrawn"]
    assert leaked_forms(token, desktop.server.log) == []


NOW = 1_000_000.0


@pytest.mark.parametrize(
    ("left", "life", "remedy", "is_announced"),
    [
        (MAX_NOTICE, 36_000, "ppmproxy login", True),
        (MAX_NOTICE + 1, 36_000, "ppmproxy login", False),
        (MAX_NOTICE, None, "ppmproxy login", True),
        (300, 600, "ppmproxy login", False),  # a session of ten minutes, in the middle of it
        (59, 600, "ppmproxy login", True),
        (0, 36_000, "ppmproxy login", False),  # it has ended: the next install asks
        (60, 36_000, "", False),  # a token that nobody signs in for
    ],
)
def test_a_session_is_about_to_end_in_its_last_minutes(tmp_path, left, life, remedy, is_announced):
    claims = Claims(expires_at=NOW + left, issued_at=None if life is None else NOW + left - life)
    credential = replace(Credential.of_secret(Secret("t"), "x"), claims=claims, remedy=remedy)
    notifications = Notifications(Environment({}, tmp_path), Settings(), "", now=lambda: NOW)

    assert notifications._is_about_to_end(credential) is is_announced


# what is shown


async def test_markup_is_escaped_and_the_page_is_written_out_where_nothing_can_be_clicked(bus, tmp_path):
    environment = Environment({"DBUS_SESSION_BUS_ADDRESS": bus}, tmp_path)
    notifications = Notifications(environment, Settings(), "http://127.0.0.1:7760/-/")
    async with notification_server(bus, tmp_path, "body-markup") as server:
        url = "https://pm.example.com/a&b"
        grant = DeviceGrant(url, "AB-CD", f"{url}/device", "", 1.0, 1.0, Secret("device-code"), Secret("verifier"))
        notifications.sign_in_changed(Upstream(url=url), grant)
        shown = json.loads(await asyncio.wait_for(server.line_with("title"), DEADLINE))
        await notifications.close()

    assert "https://pm.example.com/a&amp;b" in shown["text"]
    assert shown["text"].endswith("\nhttp://127.0.0.1:7760/-/")


def test_the_bus_is_where_the_session_says_or_where_systemd_has_it(tmp_path):
    runtime = tmp_path / "run time"
    runtime.mkdir()
    without = session_bus(Environment({"XDG_RUNTIME_DIR": str(runtime)}, tmp_path))
    (runtime / "bus").touch()

    assert without == session_bus(Environment({}, tmp_path)) == ""
    assert session_bus(Environment({"XDG_RUNTIME_DIR": str(runtime)}, tmp_path)).endswith("/run%20time/bus")
    assert session_bus(Environment({"DBUS_SESSION_BUS_ADDRESS": "unix:path=/x"}, tmp_path)) == "unix:path=/x"


def test_the_daemon_of_one_command_shows_none(tmp_path):
    environment = Environment({"DBUS_SESSION_BUS_ADDRESS": "unix:path=/x"}, tmp_path)

    assert Notifications(environment, Settings(), "", is_ephemeral=True).address == ""
    assert Notifications(environment, Settings(notifications=False), "").address == ""
    assert Notifications(environment, Settings(), "").address == "unix:path=/x"
