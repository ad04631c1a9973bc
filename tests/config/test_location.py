from pathlib import Path

import pytest

from ppmproxy.config.location import Layer, Location, dotted, looks_secret, nearest, one_of, shown, unknown_key

HOME = Path("/home/alice")
IN_FILE = Location(Layer.FILE, "/etc/config.toml", HOME, text="a = 1\n[b]\nc = 2\n")
KNOWN = ("access", "listen", "log_level", "upstream")


@pytest.mark.parametrize(
    ("location", "source", "label"),
    [
        (IN_FILE.below("a"), "file /etc/config.toml", "/etc/config.toml, line 1: a "),
        (IN_FILE.below("b", "c"), "file /etc/config.toml", "/etc/config.toml, line 3: b.c "),
        (IN_FILE.below("d"), "file /etc/config.toml", "/etc/config.toml: d "),
        (IN_FILE, "file /etc/config.toml", "/etc/config.toml "),
        (Location(Layer.ENVIRONMENT, "PPMPROXY_A", HOME), "environment PPMPROXY_A", "PPMPROXY_A "),
        (Location(Layer.ENVIRONMENT, "PPMPROXY_A", HOME).below(1, "b"), "environment PPMPROXY_A", "PPMPROXY_A[2].b "),
        (Location(Layer.FLAG, "--sign-in", HOME), "flag --sign-in", "--sign-in "),
    ],
)
def test_a_location_names_itself(location, source, label):
    assert str(location) == source
    assert str(location.error("x")) == f"{label}x"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("a", "b_c", "d-e"), "a.b_c.d-e"),
        (("a", 0, "b"), "a[1].b"),
        (("a b", "c.d"), '"a b"."c.d"'),
        (("a\x1b\n",), '"a\\u001b\\n"'),
        (("", "ä"), '""."\\u00e4"'),
        ((), ""),
    ],
)
def test_a_path_prints_as_toml_writes_it_and_without_control_characters(path, text):
    assert dotted(path) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("loud", '"loud"'),
        ("htps://pm.example.com/rspm", '"htps://pm.example.com/rspm"'),
        ("https://me:s3cret@pm.example.com/x", '"https://****@pm.example.com/x"'),
        ("me:s3@cret@proxy:1", '"****@proxy:1"'),
        ("https://pm.example.com\\@evil.example", '"https://****@evil.example"'),
        ("https://pm.example.com/?token=s3cret", '"https://pm.example.com/?****"'),
        ("eyJhbGciOi.s3cret.x", '"****"'),
        ("0123456789abcdefs3cret", '"****"'),
        ("a\x00\nb", '"a?****"'),
        ("word " * 50, f'"{"word " * 15}..."'),
        (7, "7"),
        (10**4000, "a number of that size"),
        (float("inf"), "a number of that size"),
    ],
)
def test_a_wrong_value_is_shown_short_and_without_what_may_be_a_secret(value, text):
    assert shown(value) == text


def test_a_very_long_key_is_cut_short():
    assert len(dotted(("x" * 5000,))) < 100


@pytest.mark.parametrize(
    ("name", "known"),
    [("acess", "access"), ("LOG-LEVEL", "log_level"), ("upstreams", "upstream"), ("lsiten", "listen")],
)
def test_an_unknown_key_is_refused_with_the_nearest(name, known):
    error = unknown_key(IN_FILE.below(name), name, KNOWN)

    assert f"{name} is not a key of the settings" in str(error)
    assert f"nearest key is {known}" in error.hint


@pytest.mark.parametrize("name", ["", "zzz", "x" * 100_000, "日本"])
def test_there_is_always_a_nearest_key(name):
    assert nearest(name, KNOWN) in KNOWN


@pytest.mark.parametrize("name", ["token", "PASSWORD", "client-secret", "api_key", "my_token", "passwd"])
def test_a_key_for_a_secret_is_refused_with_its_right_place(name):
    assert looks_secret(name)
    assert "PPMPROXY_TOKEN_FILE" in unknown_key(IN_FILE, name, KNOWN).hint


def test_token_file_is_refused_with_its_table():
    hint = unknown_key(IN_FILE, "token_file", KNOWN).hint

    assert hint.startswith('write [[credentials]] with from = "file" and path')


@pytest.mark.parametrize(("words", "text"), [(["a"], "a"), (["a", "b"], "a or b"), (["a", "b", "c"], "a, b or c")])
def test_words_are_listed_in_english(words, text):
    assert one_of(words) == text
