"""Claims about the variables that send a command's requests through `exec --intercept`."""

from pathlib import Path

import pytest

from ppmproxy.clients.index_settings import IndexSetting, Role
from ppmproxy.clients.intercepting import (
    BUNDLE_VARIABLES,
    PROXY_VARIABLES,
    Interception,
    intercept_variables,
    no_proxy_for,
)

HOST = "packagemanager.example.com"
REAL = f"https://{HOST}/pypi/latest/simple/"
MADE = Interception("http://ppmproxy:secret@127.0.0.1:4", Path("/t/ca.pem"), Path("/t/wgetrc"), frozenset({HOST}), REAL)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "localhost,127.0.0.1,::1"),
        ("*", "localhost,127.0.0.1,::1"),
        ("a.example, b.example", "a.example,b.example,localhost,127.0.0.1,::1"),
        (HOST, "localhost,127.0.0.1,::1"),
        (HOST.upper(), "localhost,127.0.0.1,::1"),
        (f"{HOST}:443", "localhost,127.0.0.1,::1"),
        (".example.com", "localhost,127.0.0.1,::1"),
        ("*.example.com", "localhost,127.0.0.1,::1"),
        ("example.com.", "localhost,127.0.0.1,::1"),
        ("com", "localhost,127.0.0.1,::1"),
        ("manager.example.com", "localhost,127.0.0.1,::1"),  # old pip takes any end of the name
        ("other.example.com 10.0.0.0/8", "other.example.com,10.0.0.0/8,localhost,127.0.0.1,::1"),
        ("localhost", "localhost,127.0.0.1,::1"),
    ],
)
def test_no_entry_of_no_proxy_leads_around_it(before, after):
    assert no_proxy_for({"NO_PROXY": before}, {HOST}) == after


@pytest.mark.parametrize(
    ("before", "kept"),
    [("10.1.2.3", False), ("10.0.0.0/8", False), ("10.1.2.0/24", False), ("10.2.0.0/16", True), ("10.1.2.4", True)],
)
def test_networks_that_hold_an_upstream_s_address_are_dropped(before, kept):
    assert (before in no_proxy_for({"no_proxy": before}, {"10.1.2.3"}).split(",")) is kept


def test_an_upstream_on_this_machine_is_not_named_among_the_local_hosts():
    assert no_proxy_for({}, {"127.0.0.1"}) == "localhost,::1"


def test_both_spellings_of_no_proxy_keep_the_hosts_of_either():
    made = intercept_variables(MADE, [], {"NO_PROXY": "a.example", "no_proxy": "b.example"})

    assert made["NO_PROXY"] == made["no_proxy"] == "a.example,b.example,localhost,127.0.0.1,::1"


def test_every_client_finds_the_proxy_and_the_bundle():
    made = intercept_variables(MADE, [], {})

    assert {made[name] for name in PROXY_VARIABLES} == {MADE.proxy_url}
    assert {made[name] for name in BUNDLE_VARIABLES} == {"/t/ca.pem"}
    assert made["SYSTEM_WGETRC"] == "/t/wgetrc"
    assert made["PIP_KEYRING_PROVIDER"] == "disabled"


def test_a_client_without_an_index_gets_the_real_url():
    made = intercept_variables(MADE, [], {})

    assert {made[name] for name in ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", "PDM_PYPI_URL")} == {REAL}


def test_a_client_that_has_an_index_keeps_it():
    own = [IndexSetting("uv", Role.INDEX, "uv.toml", "https://pypi.example.org/simple")]

    made = intercept_variables(MADE, own, {})

    assert "UV_DEFAULT_INDEX" not in made
    assert made["PIP_INDEX_URL"] == REAL


def test_an_index_that_is_the_proxy_s_own_url_becomes_the_real_one():
    environ = {"PIP_INDEX_URL": "http://127.0.0.1:7760/pypi/latest/simple/", "UV_INDEX_URL": "http://127.0.0.1:7760/x"}
    own = [IndexSetting("pip", Role.INDEX, "environment variable PIP_INDEX_URL", environ["PIP_INDEX_URL"])]

    made = intercept_variables(MADE, own, environ, local="http://127.0.0.1:7760")

    assert made["PIP_INDEX_URL"] == made["UV_INDEX_URL"] == REAL


def test_the_password_is_in_no_representation():
    assert "secret" not in repr(MADE)
