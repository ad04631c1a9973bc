from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppmproxy.config.file import Candidate, file_candidates, inline_value, line_of, parse_document
from ppmproxy.environment import Environment
from ppmproxy.errors import ConfigError

HOME = Path("/home/alice")
ETC = Path("/etc/ppmproxy/config.toml")


@pytest.mark.parametrize(
    ("environ", "platform", "first"),
    [
        ({}, "linux", HOME / ".config/ppmproxy/config.toml"),
        ({"XDG_CONFIG_HOME": "/xdg"}, "linux", Path("/xdg/ppmproxy/config.toml")),
        ({"XDG_CONFIG_HOME": ""}, "linux", HOME / ".config/ppmproxy/config.toml"),
        ({"XDG_CONFIG_HOME": "relative"}, "linux", HOME / ".config/ppmproxy/config.toml"),
        ({"PPMPROXY_CONFIG": ""}, "linux", HOME / ".config/ppmproxy/config.toml"),
        ({}, "darwin", HOME / "Library/Application Support/ppmproxy/config.toml"),
        ({"XDG_CONFIG_HOME": "/xdg"}, "darwin", Path("/xdg/ppmproxy/config.toml")),
    ],
)
def test_the_users_file_comes_before_the_machines(environ, platform, first):
    assert file_candidates(Environment(environ, HOME, platform=platform)) == (Candidate(first), Candidate(ETC))


def test_windows_has_its_own_folders():
    environ = {"APPDATA": "/roaming", "PROGRAMDATA": "/data"}

    found = [candidate.path for candidate in file_candidates(Environment(environ, HOME, platform="win32"))]

    assert found == [Path("/roaming/ppmproxy/config.toml"), Path("/data/ppmproxy/config.toml")]


@pytest.mark.parametrize(
    ("environ", "flag", "expected"),
    [
        ({"PPMPROXY_CONFIG": "/a.toml"}, None, Candidate(Path("/a.toml"), "PPMPROXY_CONFIG")),
        ({"PPMPROXY_CONFIG": "/a.toml"}, "~/b.toml", Candidate(HOME / "b.toml", "--config")),
        ({}, "c.toml", Candidate(Path("c.toml"), "--config")),
    ],
)
def test_a_named_file_is_the_only_candidate(environ, flag, expected):
    (candidate,) = file_candidates(Environment(environ, HOME), flag)

    assert candidate == expected
    assert candidate.is_explicit


def test_a_default_path_is_not_explicit():
    assert not any(candidate.is_explicit for candidate in file_candidates(Environment({}, HOME)))


def test_an_unreadable_file_is_reported_with_the_flag_that_names_it():
    error = Candidate(Path("/a.toml"), "--config").unreadable("No such file or directory")

    assert str(error) == "--config names a file that cannot be read: /a.toml: No such file or directory"
    assert error.hint
    assert Candidate(Path("/a.toml")).unreadable("Permission denied").hint


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("a = 1\nb = \n", "f.toml, line 2, column 5 is not valid TOML: "),
        ("a = 1\nb = [1,", "f.toml, line 2, column 8 is not valid TOML: "),
        ('a = "x\n', "f.toml, line 1, column 7 is not valid TOML: "),
        ("a = 1\na = 2", "not valid TOML: "),
        ("a = " + "9" * 5000, "f.toml"),
        ("a = " + "[" * 20_000, "f.toml"),
    ],
)
def test_invalid_toml_is_reported_with_line_and_column(text, where):
    with pytest.raises(ConfigError) as caught:
        parse_document(text, "f.toml")

    assert str(caught.value).startswith("f.toml")
    assert where in str(caught.value)
    assert caught.value.hint


def test_the_error_for_an_unquoted_token_does_not_quote_it():
    with pytest.raises(ConfigError) as caught:
        parse_document("token = eyJhbGciOi.s3cret.x\n", "f.toml")

    assert "s3cret" not in caught.value.detail


def test_a_byte_order_mark_is_ignored():
    assert parse_document("\ufeffa = 1", "f.toml") == {"a": 1}
    assert line_of("\ufeffa = 1", ("a",)) == 1


TEXT = '''\
# a comment
listen = [
  "127.0.0.1:1",  # [upstream.default]
]
quoted = """
scheme = 1
"""

[upstream.default]   # the first
url = "x"
  "scheme" = "y"
headers = { a = "b", c = "d" }
api.deep = 3
[[upstream.default.credentials]]
from = "file"
[[upstream.default.credentials]]

from = "env"
[upstream.lab]
url = "x"
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("listen",), 2),
        (("listen", 0), 2),
        (("quoted",), 5),
        (("upstream", "default"), 9),
        (("upstream", "default", "mount"), 9),
        (("upstream", "default", "url"), 10),
        (("upstream", "default", "scheme"), 11),
        (("upstream", "default", "headers", "c"), 12),
        (("upstream", "default", "api", "deep"), 13),
        (("upstream", "default", "credentials", 0, "from"), 15),
        (("upstream", "default", "credentials", 1), 16),
        (("upstream", "default", "credentials", 1, "from"), 18),
        (("upstream", "lab", "url"), 20),
        (("nothing",), None),
        ((), None),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_key_is_found_on_its_line(path, line, newline):
    assert line_of(TEXT.replace("\n", newline), path) == line


@given(
    st.lists(st.sampled_from(TEXT.splitlines()), max_size=12).map("\n".join), st.sampled_from(["listen", "upstream"])
)
def test_finding_a_line_never_fails(text, key):
    line = line_of(text, (key, "default", 0))

    assert line is None or 1 <= line <= text.count("\n") + 1


def test_a_table_inside_an_element_of_a_list_belongs_to_the_last_element():
    text = "[[a]]\n[a.b]\nc = 1\n[[a]]\n[a.b]\nc = 2\n"

    assert parse_document(text, "f.toml")
    assert line_of(text, ("a", 1, "b", "c")) == 6


@pytest.mark.parametrize(("text", "value"), [("3", 3), ('{ a = "b" }', {"a": "b"}), ("[1, 2]", [1, 2])])
def test_an_inline_value_stands_alone(text, value):
    assert inline_value(text) == value


@pytest.mark.parametrize("text", ["", "{", "1\nother = 2", "{}\n[x]", "[" * 20_000])
def test_text_that_is_not_exactly_one_value_is_refused(text):
    with pytest.raises(ValueError, match="not a TOML value"):
        inline_value(text)


@pytest.mark.parametrize("table", ["[upstream.b]", "[upstream.default]", "  [upstream]"])
def test_an_upstream_key_beside_an_upstream_table_is_reported_as_a_contradiction(table):
    with pytest.raises(ConfigError, match=r"c.toml, line 3, column .* has both upstream = … and") as caught:
        parse_document(f'upstream = "https://a"\n\n{table}\nurl = "https://b"\n', "c.toml")

    assert "write [upstream.default] with url" in (caught.value.hint or "")


def test_an_empty_config_flag_is_refused():
    with pytest.raises(ConfigError, match="--config names no file"):
        file_candidates(Environment({}, HOME), "")
