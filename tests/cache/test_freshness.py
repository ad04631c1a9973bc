"""Claims about freshness, and about what may be stored (RFC 9111)."""

import pytest

from ppmproxy.cache.freshness import form_of, fresh_seconds, may_be_stored, wants_upstream

PIP = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01"
UV = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01"


@pytest.mark.parametrize(
    ("cache_control", "age", "seconds"),
    [
        ([], None, 60),
        (["max-age=5"], None, 5),
        (["private", "Max-Age=5"], None, 5),
        (["max-age=5"], "3", 2),
        (["max-age=5"], "9", 0),
        (["max-age=5"], "x", 5),
        (["no-cache, max-age=5"], None, 0),
        (["max-age=x"], None, 60),
        (['max-age="7"'], None, 7),
    ],
)
def test_a_page_is_fresh_for_as_long_as_its_server_says(cache_control, age, seconds):
    assert fresh_seconds(cache_control, age, 60.0) == seconds


@pytest.mark.parametrize(
    ("cache_control", "vary", "may"),
    [
        ([], [], True),
        (["no-store"], [], False),
        (["private, No-Store"], [], False),
        ([], ["Accept, Accept-Encoding"], True),
        ([], ["User-Agent"], False),
        ([], ["*"], False),
        ([], ["Cookie"], False),
    ],
)
def test_what_may_be_stored(cache_control, vary, may):
    assert may_be_stored(cache_control, vary) is may


def test_what_is_keyed_by_a_header_may_vary_with_it():
    assert may_be_stored([], ["User-Agent"], ("user-agent",))


@pytest.mark.parametrize(
    ("value", "wants"), [("no-cache", True), ("max-age=0", False), ("No-Store", True), ("", False)]
)
def test_no_cache_asks_the_upstream_and_max_age_0_does_not(value, wants):
    assert wants_upstream([("Cache-Control", value)]) is wants


def test_pip_and_uv_share_a_page():
    assert form_of(PIP) == form_of(UV)
    assert form_of("text/html") != form_of(PIP)
    assert form_of("text/html;q=0, a/b") == "a/b"
