from pathlib import Path

import pytest

from ppmproxy.auth.origin import Origin
from ppmproxy.clients.index_url import Index, chosen_index, local_origin
from ppmproxy.clients.variables import client_variables
from ppmproxy.config.local_address import TcpAddress, UnixAddress
from ppmproxy.config.model import Settings, Upstream
from ppmproxy.errors import ConfigError, UsageError

HERE = Origin("http", "127.0.0.1", 7760)
SIMPLE = "http://127.0.0.1:7760/pypi/latest/simple/"
SOCKET = UnixAddress(Path("/run/ppmproxy.sock"))
TEAM = Upstream(name="team", url="https://team.example.com", mount="/team", configured=True)
SETTINGS = Settings(upstreams=(TEAM, Upstream(url="https://pm.example.com", configured=True)))


def variables(environ=None, index=None, r_index=None):
    return client_variables(index or Index(HERE, Upstream(), "pypi", "latest"), r_index, environ or {})


ODD_NAMES = [
    "",
    "a b",
    "a'b",
    'a"b',
    "a$(x)",
    "a`b",
    "../x",
    "a/../b",
    "a//b",
    "/a",
    "a/",
    "a\n",
    "é",
    "%2e",
    ".",
    "..",
]


# --- where the clients are sent ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        (("127.0.0.1", 7760), "http://127.0.0.1:7760"),
        (("127.0.0.9", 1), "http://127.0.0.9:1"),
        (("localhost", 7760), "http://127.0.0.1:7760"),
        (("::1", 7760), "http://[::1]:7760"),
        (("0.0.0.0", 7760), "http://127.0.0.1:7760"),
        (("::", 7760), "http://[::1]:7760"),
        (("10.0.0.5", 7760), "http://10.0.0.5:7760"),
    ],
)
def test_clients_are_sent_to_a_number_that_they_can_reach(listen, url):
    assert str(local_origin(Settings(listen=(TcpAddress(*listen),)))) == url


def test_the_first_loopback_address_goes_before_all_others():
    addresses = (SOCKET, TcpAddress("10.0.0.5", 1), TcpAddress("::1", 2), TcpAddress("127.0.0.1", 3))

    assert str(local_origin(Settings(listen=addresses))) == "http://[::1]:2"


@pytest.mark.parametrize(
    ("listen", "words"), [((SOCKET,), "Unix socket only"), ((TcpAddress("127.0.0.1", 0),), "any free port")]
)
def test_an_address_that_no_client_can_be_given_is_a_clear_error(listen, words):
    with pytest.raises(ConfigError, match=words) as caught:
        local_origin(Settings(listen=listen))

    assert "7760" in caught.value.hint


@pytest.mark.parametrize(
    ("repo", "snapshot", "url"),
    [
        ("pypi", "latest", "http://127.0.0.1:7760/pypi/latest/simple/"),
        ("internal", "2026-01-31", "http://127.0.0.1:7760/internal/2026-01-31/simple/"),
        ("team/pypi", "latest", "http://127.0.0.1:7760/team/pypi/latest/simple/"),
        ("default/pypi", "latest", "http://127.0.0.1:7760/pypi/latest/simple/"),
        ("team", "latest", "http://127.0.0.1:7760/team/latest/simple/"),
        ("cran/__linux__/bookworm", "latest", "http://127.0.0.1:7760/cran/__linux__/bookworm/latest/simple/"),
        ("pypi", "2021-06-22+Y3JhbiwyMDIw=", "http://127.0.0.1:7760/pypi/2021-06-22+Y3JhbiwyMDIw=/simple/"),
    ],
)
def test_repository_and_snapshot_make_the_path_below_the_upstreams_mount(repo, snapshot, url):
    assert chosen_index(SETTINGS, repo, snapshot).simple_url == url


def test_without_a_default_the_first_upstream_is_meant():
    assert (
        chosen_index(Settings(upstreams=(TEAM,)), "cran", "latest").repo_url == "http://127.0.0.1:7760/team/cran/latest"
    )


@pytest.mark.parametrize(
    "name", ["", "a b", "a'b", 'a"b', "a$(x)", "a`b", "../x", "a/../b", "a//b", "/a", "a/", "a\n", "é", "%2e"]
)
def test_a_name_that_a_shell_or_a_url_could_misread_is_refused(name):
    for repo, snapshot in ((name, "latest"), ("pypi", name)):
        with pytest.raises(UsageError, match="is not a name in a URL"):
            chosen_index(SETTINGS, repo, snapshot)


# --- the variables ----------------------------------------------------------------------------------------------------


def test_every_client_that_reads_a_variable_gets_the_index():
    assert variables() == {
        "PIP_INDEX_URL": SIMPLE,
        "PIP_TRUSTED_HOST": "127.0.0.1",
        "UV_DEFAULT_INDEX": SIMPLE,
        "UV_INDEX_URL": SIMPLE,
        "PDM_PYPI_URL": SIMPLE,
        "PIPENV_PYPI_MIRROR": SIMPLE,
        "PPM_URL": SIMPLE,
        "NO_PROXY": "localhost,127.0.0.1,::1",
        "no_proxy": "localhost,127.0.0.1,::1",
    }


def test_r_clients_get_their_own_repository():
    found = variables(r_index=Index(HERE, TEAM, "cran", "latest"))

    assert found["RENV_CONFIG_REPOS_OVERRIDE"] == "http://127.0.0.1:7760/team/cran/latest"
    assert found["PKG_CRAN_MIRROR"] == "http://127.0.0.1:7760/team/cran/latest"


@pytest.mark.parametrize(
    ("environ", "upper", "lower"),
    [
        ({}, "localhost,127.0.0.1,::1", "localhost,127.0.0.1,::1"),
        ({"NO_PROXY": "a, .b"}, "a, .b,localhost,127.0.0.1,::1", "a, .b,localhost,127.0.0.1,::1"),
        ({"no_proxy": "a"}, "a,localhost,127.0.0.1,::1", "a,localhost,127.0.0.1,::1"),
        ({"NO_PROXY": "A", "no_proxy": "b"}, "A,localhost,127.0.0.1,::1", "b,localhost,127.0.0.1,::1"),
        ({"NO_PROXY": "localhost,a,"}, "localhost,a,127.0.0.1,::1", "localhost,a,127.0.0.1,::1"),
        ({"NO_PROXY": "::1 127.0.0.1 localhost"}, "::1 127.0.0.1 localhost", "::1 127.0.0.1 localhost"),
        ({"NO_PROXY": "*"}, "*", "*"),
        ({"NO_PROXY": "notlocalhost"},) + ("notlocalhost,localhost,127.0.0.1,::1",) * 2,
    ],
)
def test_no_proxy_keeps_what_it_has_in_both_spellings(environ, upper, lower):
    found = variables(environ)

    assert (found["NO_PROXY"], found["no_proxy"]) == (upper, lower)


@pytest.mark.parametrize("environ", [{}, {"NO_PROXY": "a"}, {"no_proxy": "a,b"}, {"PIP_TRUSTED_HOST": "h other"}])
def test_a_second_time_changes_nothing(environ):
    once = {**environ, **variables(environ)}

    assert {**once, **variables(once)} == once


def test_trusted_hosts_are_added_to():
    assert variables({"PIP_TRUSTED_HOST": "a b"})["PIP_TRUSTED_HOST"] == "a b 127.0.0.1"


def test_an_address_beyond_loopback_is_spared_by_forward_proxies_too():
    found = variables(index=Index(Origin("http", "10.0.0.5", 7760), Upstream(), "pypi", "latest"))

    assert found["NO_PROXY"] == "localhost,127.0.0.1,::1,10.0.0.5"
    assert found["PIP_TRUSTED_HOST"] == "10.0.0.5"
