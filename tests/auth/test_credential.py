import base64
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppmproxy.auth.credential import Claims, Credential, claims_of, token_problem
from ppmproxy.auth.secret import Secret

TOKEN = "s3cr3t-Token_value~42"
TOKENS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=8, max_size=40)


def jwt(payload):
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    head, middle = (base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (b'{"alg":"HS256"}', body))
    return f"{head}.{middle}.c2lnbmF0dXJlLWJ5dGVz"


# --- what a token says of itself --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "claims"),
    [
        ({"exp": 1000, "iat": 400, "sub": "a@b"}, Claims(expires_at=1000.0, issued_at=400.0, subject="a@b")),
        ({"exp": 1000.5}, Claims(expires_at=1000.5)),
        ({"scopes": ["repos:read", "sources:write"]}, Claims(scopes=("repos:read", "sources:write"))),
        ({"scope": "repos:read sources:write"}, Claims(scopes=("repos:read", "sources:write"))),
        ({}, Claims()),
    ],
)
def test_the_claims_of_a_jwt_are_read(payload, claims):
    assert claims_of(Secret(jwt(payload))) == claims


@pytest.mark.parametrize(
    "payload",
    [
        {"exp": "soon"},
        {"exp": True},
        {"exp": None},
        {"exp": -1},
        {"exp": 10**400},
        {"exp": 1e300},
        b'{"exp": NaN}',
        b'{"exp": Infinity}',
        b'{"exp": 1e999}',
        {"scopes": {"a": 1}},
        {"scopes": 7},
        {"sub": ["a"]},
        ["exp", 1000],
        "exp",
        7,
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_a_claim_of_the_wrong_type_is_ignored(payload):
    assert claims_of(Secret(jwt(payload))) == Claims()


@given(st.one_of(st.text(max_size=60), st.binary(max_size=60).map(jwt), st.from_regex(r"[^.]*\.[^.]*\.[^.]*")))
def test_reading_the_claims_of_any_token_raises_nothing(token):
    assert isinstance(claims_of(Secret(token)), Claims)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=3), max_leaves=4))  # fmt: skip
def test_reading_a_claim_with_any_value_raises_nothing(value):
    assert isinstance(claims_of(Secret(jwt(dict.fromkeys(("exp", "iat", "scopes", "scope", "sub"), value)))), Claims)


@pytest.mark.parametrize(("expires_at", "expired"), [(99.0, True), (100.0, True), (100.1, False), (None, False)])
def test_a_token_has_expired_from_its_expiry_on(expires_at, expired):
    credential = replace(Credential.of_secret(Secret(TOKEN), "a test"), claims=Claims(expires_at=expires_at))

    assert credential.has_expired(100.0) is expired


# --- what may be sent as a token --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("token", "word"),
    [
        ("", "empty"),
        ("a\nb", "line break"),
        ("a\rb", "line break"),
        ("a\r\nX-Header: b", "line break"),
        ("a\tb", "control"),
        ("a\0b", "control"),
        ("a\x7fb", "control"),
        ("t\u00f6ken", "ASCII"),
        ("a\u2028b", "ASCII"),
        ("Bearer abc", "space"),
    ],
)
def test_the_reason_why_a_value_is_no_token_does_not_show_it(token, word):
    problem = token_problem(Secret(token))

    assert word in problem
    assert not token or token not in problem


@given(TOKENS.filter(lambda token: token[0] not in "'\"" or token[-1] != token[0]))
def test_visible_ascii_without_quotes_can_be_a_token(token):
    assert token_problem(Secret(token)) == ""


@given(TOKENS, st.sampled_from("'\""))
def test_a_token_in_quotes_is_refused(token, quote):
    assert "quotes" in token_problem(Secret(f"{quote}{token}{quote}"))


@settings(deadline=None)
@given(
    st.one_of(
        st.binary(max_size=40),
        st.fixed_dictionaries(
            {},
            optional=dict.fromkeys(
                ["exp", "iat", "scope", "scopes", "sub", "aud"],
                st.recursive(
                    st.one_of(st.none(), st.integers(), st.floats(), st.text(st.characters(), max_size=5)),
                    lambda inner: st.lists(inner, max_size=3),
                ),
            ),
        ).map(lambda claims: json.dumps(claims).encode()),
        st.sampled_from(
            [b"[" * 900, b'{"scopes": [' + b"[" * 400 + b"]" * 401 + b"}", b'{"exp": 1' + b"0" * 400 + b"}"]
        ),
    )
)
def test_the_claims_of_any_token_are_printable(payload):
    claims = claims_of(Secret(f"e30.{base64.urlsafe_b64encode(payload).decode().rstrip('=')}.s"))

    assert all(text.isprintable() for text in (*claims.scopes, *claims.audience, claims.expiry or ""))


@pytest.mark.usefixtures("two_hours_east")
def test_an_expiry_is_shown_in_local_time_with_its_offset():
    assert Claims(expires_at=1_000_000_000.0).expiry == "2001-09-09T03:46:40+02:00"
