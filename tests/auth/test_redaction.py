"""Claims about the redactor: the inventory of secrets, and what it does to texts and headers."""

import time

import pytest

from ppmproxy.auth.redaction import MOST_MASKED, Redactor, without_user_info
from ppmproxy.auth.secret import MASK, Secret
from ppmproxy.testing.package_manager import jwt

TOKEN = jwt({"sub": "kim@example.com", "scopes": ["repos:read"]})
OTHER = "pa/ss+w0rd=of~another&qjzkvwxyhg"


def knowing(*tokens):
    redactor = Redactor()
    for token in tokens:
        redactor.add(Secret(token))
    return redactor


# --- the inventory ----------------------------------------------------------------------------------------------------


def test_the_longest_of_two_secrets_is_masked_where_one_contains_the_other():
    assert knowing("abcdefgh", "abcdefgh-ijkl").text("abcdefgh-ijkl abcdefgh-xyz") == f"{MASK} {MASK}-xyz"


def test_a_value_too_short_to_be_a_token_does_not_blot_out_the_log():
    assert knowing("abc").text("abc abcd") == "abc abcd"


def test_a_redactor_without_secrets_changes_nothing():
    assert Redactor().text("anything") == Redactor().server_text("anything") == "anything"
    assert Redactor().value({"a": [1, None, "b"]}) == {"a": [1, None, "b"]}
    assert Redactor().server_headers([("A", "b")]) == [("A", "b")]
    assert not Redactor().is_in_body("anything")
    assert not Redactor().is_in_url("https://pm.example.com/anything")


def test_a_redactor_shows_no_secret_itself():
    redactor = knowing(TOKEN)

    assert TOKEN not in repr(redactor)
    assert TOKEN in redactor.forms


def test_a_year_of_hourly_tokens_does_not_pile_up_and_one_in_use_is_never_forgotten():
    redactor = Redactor()
    for hour in range(3 * MOST_MASKED):
        redactor.add(Secret("the-token-in-use"))
        redactor.add(Secret(f"token-of-hour-{hour:05}"))

    assert repr(redactor) == f"Redactor({MOST_MASKED} secrets)"
    assert redactor.text("the-token-in-use") == MASK
    assert redactor.text(f"token-of-hour-{3 * MOST_MASKED - 1:05}") == MASK
    assert redactor.text("token-of-hour-00000") != MASK


# --- what a server says -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", [TOKEN, OTHER])
@pytest.mark.parametrize("end", [8, 20, 40])
def test_a_part_of_a_servers_text_shows_no_part_of_a_token(token, end):
    text = knowing(TOKEN, OTHER).server_text(f"{token} is what you sent")

    assert text == f"{MASK} is what you sent"
    assert token[:4] not in text[:end]


@pytest.mark.parametrize("token", [TOKEN, OTHER])
@pytest.mark.parametrize(
    "written",
    [
        lambda token: token[:-12],
        lambda token: token[1:-3],
        ".".join,
        "\u200b".join,
        lambda token: "".join(f"%{ord(char):02x}" for char in token),
        lambda token: "".join(f"&#{ord(char)};" for char in token),
        lambda token: "".join(f"\\u{ord(char):04x}" for char in token),
        str.upper,
    ],
)
def test_a_servers_text_with_a_token_in_pieces_or_encoded_is_masked_as_a_whole(token, written):
    assert knowing(TOKEN, OTHER).server_text(f"you sent {written(token)}!") == MASK


def test_headers_are_masked_in_their_values_and_dropped_for_their_names():
    given = [
        ("X-Echo", f"you sent {OTHER}, {TOKEN}"),
        (f"X-{TOKEN}", "a"),
        ("ETag", '"e"'),
        ("x-" + OTHER.upper(), "b"),
    ]

    assert knowing(TOKEN, OTHER).server_headers(given) == [("X-Echo", f"you sent {MASK}, {MASK}"), ("ETag", '"e"')]


def test_headers_that_show_nothing_stay_as_they_are_though_a_token_has_ordinary_words_in_it():
    given = [("Content-Type", "application/vnd.pypi.simple.v1+json"), ("Server", "Package Manager 2026.11")]

    assert knowing("application-packagemanager-repository").server_headers(given) == given


def test_the_header_of_a_jwt_is_no_secret():
    another = jwt({"iat": 1})
    foreign = another.split(".")[0] + ".b3RoZXJwYXlsb2Fk.c2lnbmF0dXJl"

    assert knowing(TOKEN).server_text(foreign) == foreign


@pytest.mark.parametrize(
    ("url", "is_in"),
    [
        (f"https://cdn.example.com/?t={TOKEN}", True),
        (f"https://cdn.example.com/{TOKEN.lower()}", True),
        ("https://cdn.example.com/?t=pa%2Fss%2Bw0rd%3Dof~another%26qjzkvwxyhg", True),
        ("https://cdn.example.com/?t=pa%252Fss%252Bw0rd%253Dof~another%2526qjzkvwxyhg", True),
        ("https://cdn.example.com/password-of-another", False),
        (f"https://cdn.example.com/?t={TOKEN.split('.')[0]}.eyJhIjoiYiJ9.c2ln", False),
    ],
)
def test_a_url_is_searched_for_every_known_secret(url, is_in):
    assert knowing(TOKEN, OTHER).is_in_url(url) is is_in


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("https://u:p@host/x", "https://****@host/x"),
        ("http://u:p/a@b@host/x 'https://v@host'", "http://****@host/x 'https://****@host'"),
        ("mail kim@example.com", "mail kim@example.com"),
    ],
)
def test_user_names_and_passwords_of_urls_are_masked(text, masked):
    assert without_user_info(text) == masked


def test_a_servers_headers_are_searched_in_less_than_a_millisecond():
    redactor = knowing(*(f"{TOKEN[:-5]}{number:05}" for number in range(3)))
    given = [(f"X-Header-Number-{number}", f"value-{number}" * 5) for number in range(20)]
    redactor.server_headers(given)
    best = 1.0
    for _ in range(50):
        started = time.perf_counter()
        redactor.server_headers(given)
        best = min(best, time.perf_counter() - started)

    assert best < 0.001
