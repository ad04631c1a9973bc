"""Claims about notifications of the installed service: from its sandbox to the desktop of the user's own session."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from downloads import MAY_DOWNLOAD
from installations import venv
from service_person import PAGE, URL, answer_of

pytestmark = [pytest.mark.real, MAY_DOWNLOAD]

SERVER = Path(__file__).parents[2] / "notification_server.py"


@pytest.fixture
def with_desktop(person, wheels):
    """The person, with `ppmproxy[desktop]` instead."""
    return replace(person, command=venv(person.systemd, wheels, ".local/desktop", "ppmproxy[desktop]"))


@pytest.fixture
def desktop(with_desktop):
    """A notification server on the bus of the user's systemd: each of its lines, read."""
    script = with_desktop.systemd.write(".local/notification_server.py", SERVER.read_text())
    command = with_desktop.systemd.command(with_desktop.command.parent / "python", script, "actions")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def call():
            return json.loads(process.stdout.readline())

        assert call() == {"call": "ready"}
        yield call
        process.kill()


def test_a_sign_in_that_waits_is_announced_and_withdrawn_when_it_is_done(with_desktop, desktop):
    with_desktop.installs(PPMPROXY_SIGN_IN="always")

    asking = with_desktop.begins(PAGE)
    shown = desktop()
    with_desktop.package_manager.told("approve")
    answer = answer_of(asking)

    assert (shown["call"], shown["title"]) == ("notify", "Sign in to 127.0.0.1")
    assert shown["actions"] == ["default", "Open the page"]
    assert answer.startswith("200 ")
    assert desktop() == {"call": "withdrawn", "number": shown["number"]}
    assert f"{URL}/-/" not in shown["text"]  # the page is what a click opens
