"""Claims about `cache_url`: what is a place for a cache, and that no secret stands in it."""

from pathlib import Path

import pytest

from ppmproxy.config.cache_url import CACHE_URL, folder_of
from ppmproxy.config.location import Layer, Location
from ppmproxy.errors import ConfigError

PLACE = Location(Layer.FILE, "config.toml", Path("/home/alice"), ("cache_url",))


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("", ""),
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("s3://bucket/team/wheels/", "s3://bucket/team/wheels"),
        ("gs://bucket/prefix", "gs://bucket/prefix"),
        ("az://container/prefix", "az://container/prefix"),
        ("file:///mnt/shared/../ppm/", "file:///mnt/ppm"),
    ],
)
def test_a_place_is_taken_without_a_slash_at_its_end(text, url):
    assert CACHE_URL.parse(text, PLACE) == url


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("bucket/prefix", "must begin with"),
        ("https://s3.example.com/bucket", "must begin with"),
        ("s3://", "does not name a bucket"),
        ("s3://s3.example.com:9000/bucket", "AWS_ENDPOINT_URL"),
        ("s3://bucket/a/../b", "prefix"),
        ("s3://bucket/a//b", "prefix"),
        ("s3://bucket?region=x", "has a query"),
        ("file://server/share", "full path"),
        ("file:relative", "full path"),
        ("file:///", "full path"),
        ("file:///mnt/a%00b", "control character"),
        ("s3://[", "not a URL"),
    ],
)
def test_what_is_no_place_is_said_with_an_example(text, what):
    with pytest.raises(ConfigError) as caught:
        CACHE_URL.parse(text, PLACE)

    assert what in f"{caught.value} {caught.value.hint}"


def test_a_secret_in_it_is_refused_and_not_repeated():
    with pytest.raises(ConfigError) as caught:
        CACHE_URL.parse("s3://key:s3cret@bucket/prefix", PLACE)

    assert "s3cret" not in f"{caught.value} {caught.value.hint}"


def test_the_folder_of_a_url_may_have_blanks():
    assert folder_of("file:///mnt/a%20b") == "/mnt/a b"
