"""Claims about `environment`: a service keeps the given settings and no secret, and reports what it leaves out."""

from pathlib import Path

import pytest

from ppmproxy.cli.service.environment import ServiceEnvironment, service_environment
from ppmproxy.config.keys import KEYS
from ppmproxy.environment import Environment
from ppmproxy.errors import ConfigError

HOME, FOLDER = Path("/home/me"), Path("/project")


def carried(environ=None, **flags):
    return service_environment(Environment(environ or {}, HOME, FOLDER), flags)


@pytest.mark.parametrize("key", [key for key in KEYS if key.is_flag], ids=lambda key: key.name)
def test_every_setting_that_may_be_a_flag_goes_along_given_either_way(key):
    by_variable = carried({key.variable: "/value"})
    by_flag = carried(**{key.name: "/value"})

    assert by_variable.variables == by_flag.variables == ((key.variable, "/value"),)


@pytest.mark.parametrize("key", [key for key in KEYS if not key.is_flag], ids=lambda key: key.name)
def test_what_may_hold_a_secret_is_an_error_that_names_where_it_belongs(key):
    with pytest.raises(ConfigError, match=f"{key.variable} may hold a secret") as caught:
        carried({key.variable: "a-secret"})

    assert f"set {key.name} in ~/.config/ppmproxy/config.toml" in caught.value.hint
    assert "a-secret" not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize("name", ["PPMPROXY_TOKEN_FILE", "PPMPROXY_AUDIENCE", "PPMPROXY_CA_FILE", "NETRC"])
@pytest.mark.parametrize("line_end", ["\n", "\r", "\x0c", "\x85", "\u2028"], ids=ascii)
def test_no_value_brings_a_line_of_its_own_into_a_unit(name, line_end):
    """systemd ends a line at a carriage return, too, whatever quotes are around it."""
    with pytest.raises(ConfigError, match=f"{name} contains a line break") as caught:
        carried({name: f"/token{line_end}ExecStartPre=/bin/other"})

    assert "ExecStartPre" not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize("end", ["\\", " "])
def test_a_token_file_whose_name_systemd_would_read_otherwise_is_refused(end):
    with pytest.raises(ConfigError, match="PPMPROXY_TOKEN_FILE ends with a backslash or a blank"):
        carried({"PPMPROXY_TOKEN_FILE": f"/token{end}"})


def test_a_flag_overrules_a_variable_even_under_the_key_s_other_name():
    both = carried({"PPMPROXY_URL": "https://old.example.com"}, upstream="https://new.example.com")

    assert both.variables == (("PPMPROXY_UPSTREAM", "https://new.example.com"),)


@pytest.mark.parametrize(
    ("environ", "kept"),
    [
        ({"PPMPROXY_CA_FILE": "ca.pem"}, ("PPMPROXY_CA_FILE", "/project/ca.pem")),
        ({"PPMPROXY_CA_FILE": "~/ca.pem"}, ("PPMPROXY_CA_FILE", "/home/me/ca.pem")),
        ({"PPMPROXY_CONFIG": "../my.toml"}, ("PPMPROXY_CONFIG", "/project/../my.toml")),
        ({"NETRC": "netrc"}, ("NETRC", "/project/netrc")),
        ({"SSL_CERT_FILE": "/etc/ca.pem"}, ("SSL_CERT_FILE", "/etc/ca.pem")),
        ({"XDG_CONFIG_HOME": "/home/me/.settings"}, ("XDG_CONFIG_HOME", "/home/me/.settings")),
        ({"HTTPS_PROXY": "http://proxy:3128"}, ("HTTPS_PROXY", "http://proxy:3128")),
        ({"no_proxy": "localhost"}, ("no_proxy", "localhost")),
        ({"PACKAGEMANAGER_ADDRESS": "https://pm.example.com"}, ("PACKAGEMANAGER_ADDRESS", "https://pm.example.com")),
        ({"PACKAGEMANAGER_IDENTITY_TOKEN_FILE": "id"}, ("PACKAGEMANAGER_IDENTITY_TOKEN_FILE", "/project/id")),
    ],
)
def test_what_else_decides_how_the_upstream_is_reached_goes_along_and_holds_from_everywhere(environ, kept):
    assert carried(environ).variables == (kept,)


def test_an_empty_path_stays_the_absence_of_one():
    assert carried({"PPMPROXY_CA_FILE": ""}).variables == (("PPMPROXY_CA_FILE", ""),)


@pytest.mark.parametrize("variable", ["PPMPROXY_TOKEN", "PACKAGEMANAGER_TOKEN"])
def test_a_token_stays_and_that_is_reported_with_the_way_out(variable):
    found = carried({variable: "a-secret-token"})

    assert found.variables == ()
    [note] = found.notes
    assert note.startswith(f"{variable} is not carried over")
    assert "PPMPROXY_TOKEN_FILE" in note
    assert "a-secret-token" not in repr(found)


def test_a_file_with_a_token_is_not_a_variable_but_a_credential():
    found = carried({"PPMPROXY_TOKEN_FILE": "~/token"})

    assert (found.variables, found.token_file, found.notes) == ((), Path("/home/me/token"), ())


def test_a_proxy_with_a_password_stays_and_that_is_reported():
    found = carried({"HTTPS_PROXY": "http://me:a-secret@proxy:3128", "HTTP_PROXY": "http://proxy:3128"})

    assert found.variables == (("HTTP_PROXY", "http://proxy:3128"),)
    [note] = found.notes
    assert "HTTPS_PROXY has a password in it" in note
    assert "a-secret" not in note
    with pytest.raises(ConfigError, match="PPMPROXY_PROXY"):
        carried(proxy="http://me:a-secret@proxy:3128")


BEFORE = ServiceEnvironment((("NETRC", "/n"), ("PPMPROXY_UPSTREAM", "https://old.example.com")), Path("/token"))


def test_what_was_given_the_last_time_stays_and_that_is_reported():
    found = service_environment(Environment({"PPMPROXY_LOG_LEVEL": "debug"}, HOME, FOLDER), {}, BEFORE)

    assert dict(found.variables) == dict(BEFORE.variables) | {"PPMPROXY_LOG_LEVEL": "debug"}
    assert found.token_file == Path("/token")
    assert found.notes == (
        "kept from the last time: NETRC, PPMPROXY_UPSTREAM, PPMPROXY_TOKEN_FILE; to begin anew, uninstall first",
    )


def test_what_is_given_anew_counts_under_whichever_name():
    environ = {"PPMPROXY_URL": "https://new.example.com", "NETRC": "/m", "PPMPROXY_TOKEN_FILE": "/another"}
    found = service_environment(Environment(environ, HOME, FOLDER), {}, BEFORE)

    assert dict(found.variables) == {"PPMPROXY_URL": "https://new.example.com", "NETRC": "/m"}
    assert (found.token_file, found.notes) == (Path("/another"), ())


def test_nothing_else_of_an_environment_goes_along():
    assert carried({"HOME": "/x", "PATH": "/bin", "AWS_SECRET_ACCESS_KEY": "a", "LD_PRELOAD": "/y"}).variables == ()
