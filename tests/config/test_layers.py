from pathlib import Path

import pytest

from ppmproxy.config.load import ConfigInputs, load
from ppmproxy.config.model import Settings
from ppmproxy.environment import Environment
from ppmproxy.errors import EXIT_CONFIGURATION, ConfigError

HOME = Path("/home/alice")
URL = 'url = "https://pm.example.com"\n'


def mistake(text=None, environ=None, flags=None):
    with pytest.raises(ConfigError) as caught:
        load(ConfigInputs(Environment(environ or {}, HOME), flags or {}, text, "/etc/config.toml"))
    assert caught.value.exit_code == EXIT_CONFIGURATION
    assert "s3cret" not in caught.value.detail
    return f"{caught.value}\n{caught.value.hint}"


@pytest.mark.parametrize(
    ("text", "where", "known"),
    [
        ('acess = "any"', "line 1: acess is not a key", "access"),
        (URL + "\nloglevel = 1", "line 3: loglevel is not a key", "log_level"),
        (
            "[upstream.default]\n" + URL + 'cafile = ""',
            "line 3: upstream.default.cafile is not a key",
            "ca_file",
        ),
        ("[upstreams.a]\n" + URL, "line 1: upstreams is not a key", "upstream"),
        ("[[credential]]", "line 1: credential is not a key", "credentials"),
        ("cash = true", "line 1: cash is not a key", ""),
    ],
)
def test_an_unknown_key_in_a_file_is_named_with_its_line_and_the_nearest_one(text, where, known):
    said = mistake(text)

    assert where in said
    assert f"the nearest key is {known}" in said


@pytest.mark.parametrize(
    ("text", "what", "hint"),
    [
        ("[upstream.a]\n" + URL + 'log_level = "info"', "is not a key of an upstream", "top of the file"),
        ("[upstream.a]\n" + URL + "upstream = 1", "is a key for the top of the file", "write url here"),
        ("[upstream]\n" + URL, "is in [upstream]", "[upstream.default]"),
        ('[upstream]\nlab = "https://lab.example.com"', "must be a table, not a string", "upstream.lab.url"),
        ("[[upstream]]\n" + URL, "must be a string, not a list", ""),
        ("upstream = 1", "must be a string, not a whole number", ""),
        ('[upstream."a b"]\n' + URL, "is not a name for an upstream", ""),
        ('[upstream."-"]\n' + URL, "is not a name for an upstream", ""),
        ('[upstream.".."]\n' + URL, "is not a name for an upstream", ""),
        ('[upstream."a."]\n' + URL, "is not a name for an upstream", ""),
        ("[upstream.a.credentials]\nfrom = 1", "must be a list of tables, not a table", "double brackets"),
    ],
)
def test_a_misplaced_key_is_refused_with_its_right_place(text, what, hint):
    said = mistake(text)

    assert what in said
    assert hint in said


@pytest.mark.parametrize("key", ["token", "password", "secret", "Token", "api_key", "client_secret"])
@pytest.mark.parametrize(
    "text",
    [
        '{key} = "s3cret"',
        '[upstream]\n{key} = "s3cret"',
        '[upstream.default]\n{key} = "s3cret"',
        '[[upstream.default.credentials]]\n{key} = "s3cret"',
        '[[upstream.default.credentials]]\nfrom = "file"\n{key} = "s3cret"',
        '[[credentials]]\nfrom = "none"\n{key} = "s3cret"',
        "[{key}]\na = 's3cret'",
    ],
)
def test_a_secret_in_the_file_is_refused_with_its_right_place(text, key):
    said = mistake(text.format(key=key))

    assert f"{key} is not a key of the settings" in said
    assert "PPMPROXY_TOKEN_FILE" in said


@pytest.mark.parametrize("text", ['token_file = "x"', '[upstream.default]\ntoken_file = "x"'])
def test_token_file_is_refused_with_the_table_that_replaces_it(text):
    assert 'write [[credentials]] with from = "file" and path' in mistake(text)


@pytest.mark.parametrize(
    ("variable", "known"),
    [
        ("PPMPROXY_ACESS", "PPMPROXY_ACCESS"),
        ("PPMPROXY_UPSTREAM_URL", "PPMPROXY_UPSTREAM"),
        ("PPMPROXY_TOKN_FILE", "PPMPROXY_TOKEN_FILE"),
        ("PPMPROXY_listen", "PPMPROXY_LISTEN"),
        ("PPMPROXY_", "PPMPROXY_"),
        ("PPMPROXY_PORT", "PPMPROXY_"),
    ],
)
def test_an_unknown_variable_is_an_error_with_the_nearest(variable, known):
    said = mistake(environ={variable: "s3cret"})

    assert said.startswith(f"{variable} is not a setting")
    assert f"the nearest setting is {known}" in said


@pytest.mark.parametrize("variable", ["PPMPROXY_PASSWORD", "PPMPROXY_SECRET", "PPMPROXY_TOKENS"])
def test_a_wrong_variable_for_a_secret_is_refused_with_the_right_one(variable):
    assert "PPMPROXY_TOKEN_FILE" in mistake(environ={variable: "s3cret"})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PPMPROXY_TOKEN", "x"),
        ("PPMPROXY_TOKEN_FILE", "x"),
        ("PPMPROXY_AUDIENCE", "x"),
        ("PPMPROXY_CONFIG", "x"),
        ("PPMPROXY_TEST_STRICT", "1"),
        ("PPMPROXYX", "x"),
        ("HOME", "/root"),
        ("PPMPROXY_SERVICE_HOST", "10.0.0.1"),
        ("PPMPROXY_SERVICE_PORT", "7760"),
        ("PPMPROXY_SERVICE_PORT_HTTP", "7760"),
        ("PPMPROXY_PORT", "tcp://10.0.0.1:7760"),
        ("PPMPROXY_PORT_7760_TCP", "tcp://10.0.0.1:7760"),
        ("PPMPROXY_PORT_7760_TCP_PROTO", "tcp"),
        ("PPMPROXY_PORT_7760_TCP_PORT", "7760"),
        ("PPMPROXY_PORT_7760_TCP_ADDR", "10.0.0.1"),
    ],
)
def test_a_variable_that_is_no_setting_is_ignored(variable, value):
    assert load(ConfigInputs(Environment({variable: value}, HOME))).settings == Settings()


@pytest.mark.parametrize("name", ["headers", "credentials", "sign-inn", "cash_url"])
def test_a_flag_that_does_not_exist_is_an_error(name):
    assert "is not a flag" in mistake(flags={name: "s3cret"})


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("PPMPROXY_HEADERS", "X-A: s3cret"),
        ("PPMPROXY_HEADERS", '{ X-A = "s3cret" }\nother = 1'),
        ("PPMPROXY_CREDENTIALS", "netrc"),
        ("PPMPROXY_UPLOADS", "maybe"),
        ("PPMPROXY_MAX_CONNECTIONS", "many"),
        ("PPMPROXY_SCHEME", "digest"),
        ("PPMPROXY_FILE_HOSTS", "a,,b"),
    ],
)
def test_a_wrong_value_is_reported_under_the_variables_name(variable, text):
    assert mistake(environ={variable: text}).startswith(variable)


def test_a_file_of_invalid_toml_is_reported_with_line_and_column():
    assert mistake("a = 1\nb = [").startswith("/etc/config.toml, ")
