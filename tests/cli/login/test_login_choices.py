"""Claims about `ppmproxy login`: the browser, a terminal, a choice among upstreams."""

import asyncio
import signal
import sys
from types import SimpleNamespace

import pytest
from login_commands import signed_in
from terminal import at_terminal

from ppmproxy.errors import EXIT_OK, EXIT_USAGE

INTERRUPTED = 130


# The browser


@pytest.fixture
def browser(tmp_path):
    """A browser that notes what it was told to open."""
    pages = tmp_path / "pages"
    script = tmp_path / "browser"
    script.write_text(
        f"#!/bin/sh\necho noise; echo noise >&2\nprintf '%s\\n' \"$1\" >> {pages}.part\nmv {pages}.part {pages}\n"
    )
    script.chmod(0o755)
    return SimpleNamespace(command=f"{script} %s", pages=pages)


async def test_a_browser_is_opened_where_there_is_one(scene, browser):
    login = await scene.command("login", BROWSER=browser.command)
    await login.says(r"waiting for your confirmation")
    while not browser.pages.exists():
        await asyncio.sleep(0.01)
    scene.server.approve()

    assert await login.ended() == EXIT_OK
    flow = scene.server.sign_in.flows[0]
    assert browser.pages.read_text() == f"{scene.url}/__device__?user_code={flow.user_code}\n"
    assert "noise" not in login.said


async def test_no_browser_means_none(scene, browser):
    await signed_in(scene, "--no-browser", BROWSER=browser.command)

    assert not browser.pages.exists()


# A terminal


LOGIN = [sys.executable, "-m", "ppmproxy", "login"]


async def test_on_a_terminal_one_line_counts_down_and_is_gone_at_the_end(scene):
    async with at_terminal(LOGIN, scene.environ, scene.home) as terminal:
        lines = await terminal.shows("waiting for your confirmation: 4:5")
        assert f"{scene.url}/__device__?user_code=" in "".join(lines)
        at = next(line for line in lines if "left" in line)
        await terminal.shows_that(lambda lines: any("left" in line for line in lines) and at not in lines)
        scene.server.approve()

        assert await terminal.ended() == EXIT_OK
    said = [line for line in terminal.lines if line]
    assert said[-1].startswith(f"signed in to {scene.url}") or said[-2].startswith(f"signed in to {scene.url}")
    assert "left" not in "".join(said)


@pytest.mark.parametrize(("end", "code"), [(signal.SIGINT, INTERRUPTED), (signal.SIGTERM, 143)])
async def test_a_sign_in_that_is_broken_off_leaves_a_cursor(scene, end, code):
    async with at_terminal(LOGIN, scene.environ, scene.home) as terminal:
        await terminal.shows("waiting for your confirmation")
        terminal.process.send_signal(end)

        assert await terminal.ended() == code
    assert terminal.said.rindex("\x1b[?25h") > terminal.said.rindex("\x1b[?25l")
    assert "Traceback" not in terminal.said, terminal.said


# Several upstreams


@pytest.fixture
def several(scene):
    """Settings with two upstreams, none of them the default."""
    file = scene.home / "several.toml"
    file.write_text(
        f'[upstream.one]\nurl = "{scene.url}"\nca_file = "{scene.environ.pop("PPMPROXY_CA_FILE")}"\n'
        '[upstream.two]\nurl = "https://two.example.com"\n'
    )
    del scene.environ["PPMPROXY_UPSTREAM"]
    scene.environ["PPMPROXY_CONFIG"] = str(file)
    return file


async def test_a_name_chooses_among_several_upstreams(scene, several):
    await signed_in(scene, "one")

    assert scene.store.find(scene.url) is not None


async def test_the_default_is_the_one_named_so(scene, several):
    several.write_text(several.read_text().replace("[upstream.one]", "[upstream.default]"))

    await signed_in(scene)

    assert scene.store.find(scene.url) is not None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [([], "the settings have several upstreams: one, two"), (["three"], "the settings have no upstream 'three'")],
)
async def test_without_a_choice_it_is_asked_which(scene, several, arguments, words):
    login = await scene.command("login", *arguments)

    assert await login.ended() == EXIT_USAGE
    assert f"ppmproxy: {words}" in login.said
