from pathlib import Path

import pytest

from ppmproxy.auth.credential import Use
from ppmproxy.config.credentials import CREDENTIALS, SOURCES
from ppmproxy.config.file import inline_value
from ppmproxy.config.location import Layer, Location
from ppmproxy.config.model import CredentialSpec
from ppmproxy.errors import ConfigError

HOME = Path("/home/alice")
IN_FILE = Location(Layer.FILE, "/etc/config.toml", HOME, ("credentials",))


def message(value):
    with pytest.raises(ConfigError) as caught:
        CREDENTIALS.parse(value, IN_FILE)
    return f"{caught.value}\n{caught.value.hint}"


@pytest.mark.parametrize(
    ("table", "spec"),
    [
        ({"from": "env", "variable": "MY_TOKEN"}, CredentialSpec("env", variable="MY_TOKEN")),
        ({"from": "env"}, CredentialSpec("env")),
        ({"from": "file", "path": "~/t"}, CredentialSpec("file", path=HOME / "t")),
        ({"from": "file", "path": "t"}, CredentialSpec("file", path=Path("/etc/t"))),
        (
            {"from": "command", "argv": ["vault", "read", "a\nb", ""], "timeout": "5s"},
            CredentialSpec("command", argv=("vault", "read", "a\nb", ""), timeout=5.0),
        ),
        ({"from": "netrc", "path": "/n"}, CredentialSpec("netrc", path=Path("/n"))),
        ({"from": "keyring", "timeout": 2}, CredentialSpec("keyring", timeout=2.0)),
        ({"from": "tokens"}, CredentialSpec("tokens")),
        ({"from": "identity-token", "path": "/i"}, CredentialSpec("identity-token", path=Path("/i"))),
        ({"from": "github-actions", "audience": "ppm"}, CredentialSpec("github-actions", audience="ppm")),
        ({"from": "none"}, CredentialSpec("none")),
        ({"from": "none", "repos": ["cran"]}, CredentialSpec("none", repos=("cran",))),
        (
            {"from": "netrc", "repos": ["a", "b"], "use": "upload"},
            CredentialSpec("netrc", Use.UPLOAD, ("a", "b")),
        ),
    ],
)
def test_each_source_takes_its_own_keys(table, spec):
    assert CREDENTIALS.parse([table], IN_FILE) == (spec,)


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_of_the_documentation_is_known(source):
    table = {"from": source} | ({"argv": ["x"]} if source == "command" else {})

    (spec,) = CREDENTIALS.parse([table], IN_FILE)

    assert (spec.source, spec.use, spec.repos) == (source, Use.ANY, ())


def test_no_tables_at_all_are_the_standard_chain():
    assert CREDENTIALS.parse([], IN_FILE) is None
    assert CREDENTIALS.format(None) == "[]"


@pytest.mark.parametrize(
    ("table", "what", "hint"),
    [
        ({}, "does not say where the token comes from", "from = env, file"),
        ({"path": "x"}, "does not say where the token comes from", "from = env, file"),
        ({"form": "file"}, "[1].form is not a key of the settings", "nearest key is from"),
        ({"from": "flie"}, '[1].from is "flie", not env, file', "nearest is file"),
        ({"from": "token"}, "not env, file", "nearest is tokens"),
        ({"from": 1}, "must be a string, not a whole number", ""),
        ({"from": "file", "pth": "x"}, "pth is not a key", "nearest key is path"),
        ({"from": "file", "argv": ["x"]}, 'argv is a key of command, not of from = "file"', "use path"),
        (
            {"from": "env", "path": "x"},
            "path is a key of file, identity-token, netrc or tokens",
            "variable",
        ),
        ({"from": "none", "path": "x"}, "path is a key of", "use repos or use"),
        ({"from": "command"}, 'has from = "command" without argv', "add argv"),
        ({"from": "command", "command": ["vault"]}, "command is not a key", "nearest key is argv"),
        ({"from": "command", "argv": "vault read"}, "must be a list of strings, not a string", "without a shell"),
        ({"from": "command", "argv": []}, "names no program", ""),
        ({"from": "command", "argv": [""]}, "names no program", ""),
        ({"from": "command", "argv": ["a", 1]}, "argv[2] must be a string", ""),
        ({"from": "command", "argv": ["a\0"]}, "NUL", ""),
        ({"from": "command", "argv": ["a"], "timeout": 0}, "not more than 0s", ""),
        ({"from": "env", "variable": "$X"}, "is not the name of an environment variable", "without $"),
        ({"from": "file", "path": ""}, "is empty", ""),
        ({"from": "netrc", "repos": "a"}, "must be a list, not a string", ""),
        ({"from": "netrc", "repos": ["a/b"]}, "not a repository's name", ""),
        ({"from": "netrc", "use": "write"}, "not read, upload or any", ""),
    ],
)
def test_a_mistake_names_what_was_meant(table, what, hint):
    said = message([table])

    assert "credentials[1]" in said
    assert what in said
    assert hint in said


@pytest.mark.parametrize("key", ["token", "password", "secret", "api_key", "TOKEN"])
@pytest.mark.parametrize("table", [{}, {"from": "file"}, {"from": "env", "variable": "X"}])
def test_a_secret_in_a_table_is_refused_with_its_right_place_and_not_quoted(key, table):
    said = message([{**table, key: "s3cret"}])

    assert "put the token into a file" in said
    assert "PPMPROXY_TOKEN_FILE" in said
    assert "s3cret" not in said


def test_a_token_pasted_as_a_variables_name_is_not_quoted():
    assert "s3cret" not in message([{"from": "env", "variable": "eyJ.s3cret.x"}])


@pytest.mark.parametrize("value", ["netrc", {"from": "netrc"}, ["netrc"]])
def test_credentials_are_a_list_of_tables(value):
    assert "must be a" in message(value)


def test_printed_credentials_read_back_as_the_same():
    specs = CREDENTIALS.parse(
        [{"from": "file", "path": "/t", "repos": ["a"], "use": "read"}, {"from": "keyring", "timeout": "2s"}], IN_FILE
    )

    assert CREDENTIALS.parse(inline_value(CREDENTIALS.format(specs)), IN_FILE) == specs


def test_the_arguments_of_a_command_are_printed_masked():
    specs = CREDENTIALS.parse([{"from": "command", "argv": ["vault", "s3cret"]}], IN_FILE)

    assert CREDENTIALS.format(specs) == '[{ from = "command", argv = ["vault", "****"] }]'
