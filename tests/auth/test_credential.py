import base64
import copy
import io
import json
import pickle
from dataclasses import replace
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppmproxy.auth.credential import Claims, Credential, claims_of, token_problem
from ppmproxy.auth.secret import MASK, Secret, encoded_forms
from ppmproxy.credentials.lookup import STANDARD_CHAIN, LookupResult, NothingFound, SourceBroken

TOKEN = "s3cr3t-Token_value~42"
TOKENS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=8, max_size=40)


def jwt(payload):
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    head, middle = (base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (b'{"alg":"HS256"}', body))
    return f"{head}.{middle}.c2lnbmF0dXJlLWJ5dGVz"


# --- Secret -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shown",
    [
        str(Secret(TOKEN)),
        repr(Secret(TOKEN)),
        f"{Secret(TOKEN)}",
        f"{Secret(TOKEN):>40}",
        f"{Secret(TOKEN)!r}",
        "%s %r" % (Secret(TOKEN), Secret(TOKEN)),  # noqa: UP031 - it is what logging does
        "{0} {0!r}".format(Secret(TOKEN)),
        str([Secret(TOKEN)]),
        repr({"token": Secret(TOKEN)}),
        repr(Credential.of_token(TOKEN, "a test")),
        str(ValueError(Secret(TOKEN))),
    ],
)
def test_a_secret_is_never_shown(shown):
    assert MASK in shown
    assert TOKEN not in shown


@pytest.mark.parametrize("write", [pickle.dumps, copy.copy, copy.deepcopy, json.dumps, bytes, io.StringIO().write])
def test_a_secret_is_not_written_or_copied_by_accident(write):
    with pytest.raises(TypeError):
        write(Secret(TOKEN))


def test_a_secret_has_its_value_nowhere_but_behind_reveal():
    assert Secret(TOKEN).reveal() == TOKEN
    assert not hasattr(Secret(TOKEN), "__dict__")


def test_secrets_are_equal_by_value_and_never_to_a_string():
    assert Secret(TOKEN) == Secret(TOKEN)
    assert hash(Secret(TOKEN)) == hash(Secret(TOKEN))
    assert Secret(TOKEN) != Secret("another")
    assert Secret(TOKEN) != TOKEN


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
    assert claims_of(jwt(payload)) == claims


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
def test_a_claim_that_makes_no_sense_is_none(payload):
    assert claims_of(jwt(payload)) == Claims()


@given(st.one_of(st.text(max_size=60), st.binary(max_size=60).map(jwt), st.from_regex(r"[^.]*\.[^.]*\.[^.]*")))
def test_no_token_makes_reading_its_claims_fail(token):
    assert isinstance(claims_of(token), Claims)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=3), max_leaves=4))  # fmt: skip
def test_no_value_of_a_claim_makes_reading_it_fail(value):
    assert isinstance(claims_of(jwt(dict.fromkeys(("exp", "iat", "scopes", "scope", "sub"), value))), Claims)


@pytest.mark.parametrize(("expires_at", "expired"), [(99.0, True), (100.0, True), (100.1, False), (None, False)])
def test_a_token_has_expired_from_the_moment_it_names(expires_at, expired):
    credential = replace(Credential.of_token(TOKEN, "a test"), claims=Claims(expires_at=expires_at))

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
def test_what_cannot_be_a_token_is_named_without_showing_it(token, word):
    problem = token_problem(token)

    assert word in problem
    assert not token or token not in problem


@given(TOKENS.filter(lambda token: token[0] not in "'\"" or token[-1] != token[0]))
def test_visible_ascii_without_quotes_around_it_can_be_a_token(token):
    assert token_problem(token) == ""


@given(TOKENS, st.sampled_from("'\""))
def test_quotes_around_a_token_are_somebody_s_mistake(token, quote):
    assert "quotes" in token_problem(f"{quote}{token}{quote}")


# --- the forms in which a token shows up ------------------------------------------------------------------------------


@given(token=TOKENS, user=st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=8))
def test_every_usual_form_of_a_token_is_known(token, user):
    forms = encoded_forms(token, user)

    assert token in forms
    assert {quote(token), quote(token, safe="")} <= forms
    for text in (token, f"{user}:{token}", f"__token__:{token}"):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            encoded = encode(text.encode()).decode()
            assert {encoded, encoded.rstrip("="), quote(encoded, safe=""), quote(encoded, safe="").lower()} & forms
            assert {encoded, encoded.rstrip("=")} <= forms


@given(token=TOKENS, before=st.binary(max_size=7), after=st.binary(max_size=7))
def test_in_base64_a_token_is_found_whatever_stands_around_it(token, before, after):
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        text = encode(before + token.encode() + after).decode()

        assert any(form in text for form in encoded_forms(token))


def test_escapes_are_known_in_either_case():
    forms = encoded_forms("abc/def+ghi=")

    assert {"abc%2Fdef%2Bghi%3D", "abc%2fdef%2bghi%3d", "abc/def%2Bghi%3D", "abc/def%2bghi%3d"} <= forms


def test_the_parts_of_a_jwt_that_are_secret_are_known_and_its_header_is_not():
    header, payload, signature = jwt({"sub": "somebody"}).split(".")

    forms = encoded_forms(f"{header}.{payload}.{signature}")

    assert {payload, signature} <= forms
    assert header not in forms


@given(TOKENS)
def test_no_form_is_so_short_that_it_blots_out_ordinary_text(token):
    assert min(map(len, encoded_forms(token))) >= min(8, len(token))


# --- searching --------------------------------------------------------------------------------------------------------


def test_a_search_explains_what_each_source_said():
    search = LookupResult(None, (NothingFound("tokens.toml", "no entry"), SourceBroken("file /t", "cannot be read")))

    assert search.explanation() == "file /t: cannot be read; tokens.toml: no entry"
    assert (search.broken, search.nothing) == ("file /t: cannot be read", "tokens.toml: no entry")


def test_variables_that_are_not_set_are_told_together():
    unset = [NothingFound(f"environment variable {name}", "not set") for name in ("A", "B")]

    one, both = (
        LookupResult(None, (unset[0],)),
        LookupResult(None, (unset[0], NothingFound("netrc", "no such file"), unset[1])),
    )

    assert one.explanation() == "environment variable A: not set"
    assert both.explanation() == "environment variables A, B: not set; netrc: no such file"


def test_the_standard_chain_is_asked_in_this_order():
    assert list(STANDARD_CHAIN) == [
        "PPMPROXY_TOKEN",
        "PPMPROXY_TOKEN_FILE",
        "CREDENTIALS_DIRECTORY",
        "PACKAGEMANAGER_TOKEN",
        "PACKAGEMANAGER_IDENTITY_TOKEN_FILE",
        "github-actions",
        "tokens",
        "netrc",
        "keyring",
    ]


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
    claims = claims_of(f"e30.{base64.urlsafe_b64encode(payload).decode().rstrip('=')}.s")

    assert all(text.isprintable() for text in (*claims.scopes, *claims.audience, claims.expiry or ""))
