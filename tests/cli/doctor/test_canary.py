"""Claims about `canary`: the places that it searches, and that it finds a token in every form."""

import os

import pytest

from ppmproxy.auth.secret import encoded_forms
from ppmproxy.cli.doctor.canary import OWN_PAGES, PRIVATE_KEY, SITUATIONS, Capture, run_leak_test
from ppmproxy.config.model import Settings
from ppmproxy.testing.package_manager import jwt

TOKEN = jwt({"sub": "canary@example.com", "jti": "0123456789abcdef"})
FORMS = encoded_forms(TOKEN)


@pytest.mark.parametrize("form", sorted(FORMS))
def test_it_sees_a_token_in_every_form(form):
    assert Capture("somewhere", f"so it said: {form}.").contains(FORMS)


def test_it_sees_none_where_there_is_none():
    assert not Capture("somewhere", TOKEN.partition(".")[0]).contains(FORMS)


def test_it_sees_a_private_key_where_none_may_be():
    files = "ca-bundle.pem -----BEGIN EC PRIVATE KEY-----"

    assert Capture("the files of a command", files, frozenset({PRIVATE_KEY})).contains(FORMS)


async def test_it_looks_at_answers_own_pages_the_log_and_around_a_command(logs):
    outcome = await run_leak_test(Settings(), {"PATH": os.environ["PATH"], "PPMPROXY_TOKEN": "of-the-user"})

    assert outcome.has_arrived
    assert outcome.leaks == ()
    commands = {"the environment of a command", "the environment and files of a command under --intercept"}
    assert {*OWN_PAGES, "the log", *commands} < {*outcome.looked_at}
    for situation, _ in SITUATIONS:
        assert [place for place in outcome.looked_at if place.startswith(f"{situation}: ")]
