import asyncio
import json
import sys

import pytest
from proxy_client import wait_until

from ppmproxy.credentials.browser import has_visible_browser, open_browser


@pytest.mark.parametrize(
    ("platform", "environ", "visible"),
    [
        ("linux", {}, False),
        ("linux", {"BROWSER": "firefox"}, True),
        ("linux", {"BROWSER": "firefox", "SSH_CONNECTION": "1.2.3.4 5 6.7.8.9 22"}, True),
        ("linux", {"BROWSER": ""}, False),
        ("linux", {"SSH_CONNECTION": "1.2.3.4 5 6.7.8.9 22"}, False),
        ("linux", {"TERM": "xterm"}, False),
        ("darwin", {}, True),
        ("darwin", {"SSH_CONNECTION": "1.2.3.4 5 6.7.8.9 22"}, False),
        ("darwin", {"SSH_TTY": "/dev/ttys001"}, False),
        ("darwin", {"CI": "true"}, False),
        ("win32", {"SESSIONNAME": "Console"}, True),
        ("win32", {"SESSIONNAME": "RDP-Tcp#3"}, True),
        ("win32", {"SESSIONNAME": "Services"}, False),
        ("win32", {}, False),
        ("win32", {"SESSIONNAME": "Console", "SSH_CONNECTION": "x"}, False),
        ("win32", {"SESSIONNAME": "Console", "CI": "true"}, False),
    ],
)
def test_a_browser_is_visible_on_the_persons_own_machine(platform, environ, visible):
    assert has_visible_browser(environ, platform) is visible


@pytest.mark.parametrize(
    ("installed", "visible"), [("xdg-open", True), ("firefox", True), ("www-browser", False), (None, False)]
)
@pytest.mark.parametrize("display", ["DISPLAY", "WAYLAND_DISPLAY"])
@pytest.mark.skipif(sys.platform in {"darwin", "win32"}, reason="these always have a browser")
async def test_on_a_display_only_a_browser_with_windows_is_visible(tmp_path, display, installed, visible):
    if installed:
        (tmp_path / installed).write_text("#!/bin/sh\n")
        (tmp_path / installed).chmod(0o755)
    ask = "import os; from ppmproxy.credentials.browser import has_visible_browser as ask; print(ask(os.environ))"
    environ = {"PATH": str(tmp_path), "TERM": "xterm", display: ":0"}

    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", ask), env=environ, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await asyncio.wait_for(process.communicate(), 60)

    assert said.decode().strip() == str(visible)


BROWSER = """#!{python}
import json, os, sys
print("noise"); print("noise", file=sys.stderr)
with open("{report}.part", "w") as file:
    json.dump([sys.argv[1:], dict(os.environ)], file)
os.rename("{report}.part", "{report}")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="BROWSER names a script with #! here")
async def test_the_page_is_opened_without_output(tmp_path, capfd):
    browser, report = tmp_path / "browser", tmp_path / "report"
    browser.write_text(BROWSER.format(python=sys.executable, report=report))
    browser.chmod(0o755)
    environ = {"BROWSER": f"{browser} %s", "PATH": "/bin"}

    open_browser("https://pm.example.com/device?user_code=BCDF-GHJK", environ, environ)
    await wait_until(report.exists)

    arguments, seen = json.loads(report.read_text())
    assert arguments == ["https://pm.example.com/device?user_code=BCDF-GHJK"]
    assert "PATH" in seen
    assert capfd.readouterr() == ("", "")


async def test_a_browser_that_cannot_be_started_stays_silent(capfd):
    environ = {"BROWSER": "/nowhere/browser %s"}
    open_browser("https://pm.example.com/device", environ, environ)
    await asyncio.sleep(0)

    assert capfd.readouterr() == ("", "")
