"""Claims about the grammar of request targets: a target that parsers read differently is refused."""

import pytest

from ppmproxy.auth.paths import checked_target, is_below
from ppmproxy.errors import BadTargetError

DOTS = [
    "..",
    ".",
    "%2e%2e",
    "%2E%2e",
    ".%2e",
    "%2e",
    "%252e%252e",
    "%25252e.",
    "%%32%65.",
    "..;",
    "..;a=b",
    ".;",
    "%2e%2e;x",
    "..%3b",
    "..%3Bx=y",
    "..%253b",
]
BYTES = [
    "a%2fb",
    "a%2Fb",
    "%2f",
    "a%252fb",
    "a%25252Fb",
    "a%5cb",
    "a%5Cb",
    "..%5c",
    "a%255cb",
    "a\\b",
    "a%00",
    "%00",
    "a%2500",
    "a%0ab",
    "a%0d%0aX:y",
    "a%7f",
    "a%1b[0m",
    "%c0%ae%c0%ae",
    "%C0%AF",
    "%c1%9c",
    "%e0%80%ae",
    "%E0%80%AF",
    "%f0%80%80%ae",
    "%25c0%25ae",
    "a%" + "25" * 20 + "2e",
]


@pytest.mark.parametrize(
    "place", ["/{}", "/{}/x", "/x/{}", "/x/{}/y", "/x/{}?q", "/other/{}/x", "/-/{}", "/-/files/default/{}/x"]
)
@pytest.mark.parametrize("segment", DOTS + BYTES)
def test_a_segment_with_two_readings_is_refused_everywhere_in_a_path(segment, place):
    with pytest.raises(BadTargetError) as caught:
        checked_target(place.format(segment))

    assert (caught.value.status, caught.value.code) == (400, "bad-target")


@pytest.mark.parametrize(
    "raw_target",
    [
        "",
        "*",
        "x",
        "x/y",
        "?x",
        "#x",
        "http://pm.example.com/pypi",
        "https://pm.example.com/",
        "HTTP://127.0.0.1:7760/pypi/",
        "pm.example.com:443",
        "127.0.0.1:7760",
        "[::1]:443",
        "@evil.com",
        ".evil.com",
        ":80/x",
        "\\evil.com",
    ],
)
def test_a_target_that_is_not_a_path_is_refused(raw_target):
    with pytest.raises(BadTargetError):
        checked_target(raw_target)


BROKEN_UTF8 = chr(0xDC80)  # how Python hands on a byte that is none


@pytest.mark.parametrize("char", ["\x00", "\t", "\n", "\r", "\x1f", " ", "\x7f", "#", BROKEN_UTF8])
@pytest.mark.parametrize("place", ["/{}", "/a{}b", "/a?b{}c"])
def test_control_bytes_blanks_fragments_and_broken_utf8_are_refused_in_path_and_query(char, place):
    with pytest.raises(BadTargetError):
        checked_target(place.format(char))


@pytest.mark.parametrize(
    ("base", "path", "below"),
    [
        ("", "/", True),
        ("", "/x", True),
        ("", "", True),
        ("", "x", False),
        ("/rspm", "/rspm", True),
        ("/rspm", "/rspm/", True),
        ("/rspm", "/rspm-evil", False),
        ("/rspm", "/rspm/../x", False),
        ("/rspm", "/", False),
    ],
)
def test_below_a_base_compares_whole_segments_of_plain_paths(base, path, below):
    assert is_below(base, path) is below
