"""Claims about the grammar of request targets: a target that parsers read differently is refused."""

from urllib.parse import quote

import pytest

from ppmproxy.auth.paths import checked_target, is_below, names_api, plainest
from ppmproxy.errors import BadTargetError, NotForwardedError

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
    "\uff0e\uff0e",
    "%EF%BC%8E%EF%BC%8E",
    "%ef%bc%8e%2e",
    ".%EF%BC%8E",
    "%EF%BC%8E",
    "%E2%80%A5",
    "%E2%80%A4%E2%80%A4",
    "%EF%B9%92.",
    "%EF%B8%B0",
    "%25EF%25BC%258E.",
    "%EF%BC%85%32%65%EF%BC%85%32%65",
    "..%EF%BC%9Bx",
    "..%E2%81%84x",
    "x%E2%88%95..",
    ".%CD%8F.",
    "%EF%B8%8F..",
    ".%E2%80%8B.%C2%AD",
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
    "a\uff0fb",
    "a%EF%BC%8Fb",
    "a%EF%BC%BCb",
    "a%EF%B9%A8b",
    "a%E2%84%85b",
    "a%25EF%25BC%258Fb",
    "..%EF%BC%8Fb",
]


@pytest.mark.parametrize(
    "place", ["/{}", "/{}/x", "/x/{}", "/x/{}/y", "/x/{}?q", "/other/{}/x", "/-/{}", "/-/files/default/{}/x"]
)
@pytest.mark.parametrize("segment", DOTS + BYTES)
def test_a_segment_with_two_readings_is_refused_everywhere_in_a_path(segment, place):
    with pytest.raises(BadTargetError) as caught:
        checked_target(place.format(segment))

    assert (caught.value.status, caught.value.code) == (400, "bad-target")


# The first and last of each range, of Default_Ignorable_Code_Point in Unicode's DerivedCoreProperties.txt.
NOT_SHOWN = [
    *(0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x180D, 0x180E, 0x180F, 0x200B, 0x200F, 0x202A),
    *(0x202E, 0x2060, 0x2064, 0x2065, 0x2066, 0x206F, 0x3164, 0xFE00, 0xFE0F, 0xFEFF, 0xFFA0, 0xFFF0, 0xFFF8),
    *(0x1BCA0, 0x1BCA3, 0x1D173, 0x1D17A, 0xE0000, 0xE0001, 0xE0020, 0xE007F, 0xE0100, 0xE01EF, 0xE0FFF),
]


@pytest.mark.parametrize("code", NOT_SHOWN, ids=hex)
def test_a_character_that_is_not_shown_hides_neither_dot_segments_nor_the_api(code):
    hidden = quote(chr(code))

    for segment in (f".{hidden}.", f"..{hidden}", f"{hidden}."):
        with pytest.raises(BadTargetError):
            checked_target(f"/x/{segment}/y")
    for segment in (f"__api__{hidden}", f"{hidden}__api__", f"__a{hidden}pi__"):
        assert names_api(plainest(f"/{segment}/tokens"))


@pytest.mark.parametrize(
    "name",
    [
        "\u00e9t\u00e9-1.0.whl",
        "e\u0301t\u00e9.tar.gz",
        "\u4e2d\u6587-2.0.zip",
        "\ud55c\uad6d\uc5b4",
        "\u1112\u1161\u11ab",
        "\uff46\uff55\uff4c\uff4c.whl",
        "\u2764\ufe0f.zip",
        "\U0001f468\u200d\U0001f4bb",
        "a\u2026b",
        "\u2026",
        "a..b\uff0ewhl",
        "1\u00bd",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "100\uff05",
    ],
)
def test_ordinary_names_beyond_ascii_pass(name):
    assert checked_target(f"/x/{name}") == (f"/x/{name}", "")
    assert checked_target(f"/x/{quote(name)}?q") == (f"/x/{quote(name)}", "?q")


@pytest.mark.parametrize("raw_target", ["/__api__%EF%BC%8Ftokens", "/x%EF%BC%8F__api__/tokens", "/__api__%EF%BC%BCx"])
def test_what_names_the_api_behind_a_slash_in_disguise_is_refused_as_that(raw_target):
    with pytest.raises(NotForwardedError):
        checked_target(raw_target)

    assert not is_below("", raw_target)


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
        ("/rspm", "/rspm/%EF%BC%8E%EF%BC%8E/x", False),
        ("/rspm", "/", False),
    ],
)
def test_below_a_base_compares_whole_segments_of_plain_paths(base, path, below):
    assert is_below(base, path) is below
