"""Claims about `ppmproxy login` and `logout`."""

import shutil
import signal
import stat
import time

import pytest
from login_commands import signed_in
from malformed_sign_ins import DIGITS, GRANT, MALFORMED
from proxy_client import DEADLINE, leaked_forms

from ppmproxy.config.model import PUBLIC_URL
from ppmproxy.credentials.token_file import TokenFile
from ppmproxy.errors import EXIT_CONFIGURATION, EXIT_NO_CREDENTIAL, EXIT_OK, EXIT_UPSTREAM
from ppmproxy.testing.package_manager import Status, claims_of

INTERRUPTED = 130


# login
async def test_who_confirms_has_a_token_where_others_find_it(scene):
    login = await scene.command("login")
    await login.says(r"waiting for your confirmation, for (5:00|4:5\d)\n")
    flow = await scene.server.next_sign_in()

    lines = [line.strip() for line in login.said.splitlines()]
    assert f"{scene.url}/__device__?user_code={flow.user_code}" in lines
    assert flow.user_code in lines
    scene.server.approve(flow.user_code, subject="kim@example.com")
    assert await login.ended() == EXIT_OK

    token = scene.store.find(scene.url).reveal()
    assert claims_of(token)["sub"] == "kim@example.com"
    assert scene.server.tokens.permissions(token) is not None
    assert scene.store.path.read_text().splitlines() == [
        "[[connections]]",
        f'address = "{scene.url}"',
        f'token = "{token}"',
        'auth_type = "sso"',
    ]
    assert stat.S_IMODE(scene.store.path.stat().st_mode) == 0o600


async def test_the_result_says_how_long_the_token_is_good_and_where_it_is(scene):
    scene.server.clock_offset = -600  # a clock that is ten minutes behind
    login = await signed_in(scene, TZ="UTC")

    expires_at = claims_of(scene.store.find(scene.url).reveal())["exp"]
    last = login.said.splitlines()[-1]
    assert last.startswith(f"signed in to {scene.url}; token valid until ")
    assert f"{time.strftime('%H:%M', time.gmtime(expires_at))} +0000 ({scene.store.path})" in last


async def test_a_token_without_an_end_is_reported_as_such(scene):
    scene.server.access_token_lifetime = None

    login = await signed_in(scene)

    assert "token without a known end" in login.said


async def test_an_answer_that_is_held_until_the_person_confirms_ends_it_at_once(scene):
    scene.server.holds_device_access = True
    started = time.monotonic()

    await signed_in(scene, PPMPROXY_READ_TIMEOUT="100ms")

    assert len(scene.server.requests_for("*/device_access")) == 1
    assert time.monotonic() - started < DEADLINE


async def test_who_refuses_ends_it_with_the_reason(scene):
    login = await scene.command("login")
    await login.says(r"waiting for your confirmation")
    scene.server.deny()

    assert await login.ended() == EXIT_NO_CREDENTIAL
    assert f"ppmproxy: the sign-in to {scene.url} was refused: access_denied: the user refused" in login.said
    assert not scene.store.path.exists()


async def test_a_sign_in_that_nobody_finishes_ends_by_itself(scene):
    scene.server.device_lifetime = 1

    login = await scene.command("login")

    assert await login.ended() == EXIT_NO_CREDENTIAL
    assert "expired before anybody confirmed it" in login.said


async def test_control_c_ends_it_in_silence(scene):
    login = await scene.command("login")
    await login.says(r"waiting for your confirmation.*\n")
    said = login.said

    login.process.send_signal(signal.SIGINT)

    assert await login.ended() == INTERRUPTED
    assert login.said == said
    assert not scene.store.path.exists()


@pytest.mark.parametrize("knob", ["sso", "offers_device"])
async def test_a_server_without_sign_in_is_reported_as_such(scene, knob):
    setattr(scene.server, knob, False)

    login = await scene.command("login")

    assert await login.ended() == EXIT_NO_CREDENTIAL
    assert f"ppmproxy: {scene.url} offers no sign-in through the browser" in login.said


async def test_a_server_that_is_not_there_is_reported_as_unreachable(scene):
    login = await scene.command("login", "--upstream", "https://127.0.0.1:1")

    assert await login.ended() == EXIT_UPSTREAM
    assert "ppmproxy: cannot connect to https://127.0.0.1:1" in login.said


async def test_a_server_that_is_not_trusted_is_reported(scene):
    login = await scene.command("login", PPMPROXY_CA_FILE="")

    assert await login.ended() == EXIT_UPSTREAM
    assert "is not trusted" in login.said


@pytest.mark.parametrize("command", ["login", "logout"])
async def test_the_public_default_needs_no_token(scene, command):
    del scene.environ["PPMPROXY_UPSTREAM"]

    ended = await scene.command(command)

    assert await ended.ended() == EXIT_CONFIGURATION
    assert f"the public one ({PUBLIC_URL}) takes no token" in ended.said
    assert f"ppmproxy {command} --upstream" in ended.said


@pytest.mark.parametrize(
    "what", ["a grant with 5000 digits", "an identity token with a surrogate", "a token nested too deeply"]
)
async def test_a_malformed_response_ends_it_with_an_error_of_our_own(scene, what):
    endpoint, body = MALFORMED[what]
    scene.server.add_fault(f"*/__api__/{endpoint}", Status(200, body=body))
    login = await scene.command("login")
    if endpoint != "device":
        await login.says(r"waiting for your confirmation")
        scene.server.approve()

    assert await login.ended() == EXIT_UPSTREAM
    assert f"ppmproxy: {scene.url} " in login.said
    assert not scene.store.path.exists()


async def test_absurd_times_of_a_grant_are_replaced_by_the_usual_ones(scene):
    scene.server.add_fault(
        "*/__api__/device", Status(200, body=GRANT % (b'"interval": %s, "expires_in": %s' % (DIGITS, DIGITS)))
    )

    login = await scene.command("login")

    await login.says(r"waiting for your confirmation, for (5:00|4:5\d)\n")


async def test_a_broken_token_file_is_left_alone_and_named_before_the_sign_in(scene):
    scene.store.path.parent.mkdir()
    scene.store.path.write_text("[[connections]\n")

    login = await scene.command("login")

    assert await login.ended() == EXIT_NO_CREDENTIAL
    assert f"ppmproxy: {scene.store.path}: line 1 is not valid TOML" in login.said
    assert scene.store.path.read_text() == "[[connections]\n"
    assert scene.server.requests == []
    scene.store.path.unlink()


async def test_an_unwritable_token_file_is_reported_before_the_sign_in(scene):
    scene.store.path.parent.write_text("no folder")

    login = await scene.command("login")

    assert await login.ended() == EXIT_NO_CREDENTIAL
    assert "cannot be written" in login.said
    assert scene.server.requests == []


async def test_a_token_that_cannot_be_stored_after_the_sign_in_is_tried_again(scene):
    login = await scene.command("login")
    await login.says(r"waiting for your confirmation")
    folder = scene.store.path.parent
    shutil.rmtree(folder)
    folder.write_text("no folder")
    scene.server.approve()

    await login.says(r"warning: .* cannot be written: .*; trying again in 2 s")
    folder.unlink()

    assert await login.ended() == EXIT_OK
    assert scene.store.find(scene.url) is not None


async def test_entries_that_endanger_the_new_one_are_warned_of(scene):
    scene.store.path.parent.mkdir()
    scene.store.path.write_text('[[connections]]\naddress = "https://other.example.com"\ntoken = "t"\n')

    login = await signed_in(scene)

    assert f"warning: {scene.store.path}, line 1: " in login.said


async def test_a_token_that_the_settings_do_not_look_for_is_warned_of(scene):
    login = await signed_in(scene, PPMPROXY_CREDENTIALS='[{ from = "env" }]')

    assert 'warning: the settings do not look there; add [[credentials]] with from = "tokens"' in login.said


async def test_the_file_can_be_elsewhere(scene, tmp_path):
    elsewhere = tmp_path / "elsewhere" / "t.toml"

    login = await signed_in(scene, PACKAGEMANAGER_SSO_TOKEN_FILE=str(elsewhere))

    token = TokenFile(elsewhere).find(scene.url)
    assert scene.server.tokens.permissions(token.reveal()) is not None
    assert leaked_forms(token.reveal(), login.said) == []
    assert not scene.store.path.exists()


# logout
async def test_logout_removes_just_that_entry(scene):
    await signed_in(scene)
    theirs = '# mine\n[[connections]]\naddress = "https://other.example.com"\ntoken = "t"\nauth_type = "sso"\n\n'
    scene.store.path.write_text(theirs + scene.store.path.read_text())

    logout = await scene.command("logout")

    assert await logout.ended() == EXIT_OK
    assert logout.said == f"signed out of {scene.url}; its token is gone from {scene.store.path}\n"
    assert scene.store.path.read_text().strip() == theirs.strip()


async def test_logout_without_an_entry_says_so(scene):
    logout = await scene.command("logout")

    assert await logout.ended() == EXIT_OK
    assert logout.said == f"there was no token for {scene.url} in {scene.store.path}\n"
    assert not scene.store.path.parent.exists()
