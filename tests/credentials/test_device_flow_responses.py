import base64
import json
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppmproxy.auth.secret import Secret, encoded_forms
from ppmproxy.credentials.device_flow_responses import (
    DeviceGrant,
    DeviceRequest,
    NotYet,
    ServerResponse,
    audience_of,
    offers_sso,
    parse_grant,
    parse_identity,
    parse_token,
)
from ppmproxy.errors import (
    IdentityRefusedError,
    PpmProxyError,
    SignInExpiredError,
    SignInNotOfferedError,
    SignInRefusedError,
    UpstreamUnexpectedError,
    UpstreamUnreachableError,
)
from ppmproxy.testing.package_manager import jwt

URL = "https://pm.example.com/rspm"
VERIFIER = Secret("the-verifier")
ASKED = DeviceRequest(URL, VERIFIER, 1000.0)
DEVICE = {
    "device_code": "the-device-code",
    "user_code": "BCDF-GHJK",
    "verification_uri": "https://pm.example.com/device",
}


def answer(status, document=None, **fields):
    return ServerResponse(status, "application/json", json.dumps(document or fields).encode())


def page(status):
    return ServerResponse(status, "text/html; charset=utf-8", b"<!DOCTYPE html><title>Sign in</title>")


GRANT = parse_grant(answer(200, DEVICE), ASKED)


# Whether sign-in is offered


@pytest.mark.parametrize(
    ("said", "offered"),
    [
        (answer(200, sso_enabled=True), True),
        (answer(200, sso_enabled=False), False),
        (answer(200, version="2025.04"), True),
        (answer(200, sso_enabled="no"), True),
        (answer(404, sso_enabled=False), True),
        (ServerResponse(200, "application/json", b"[" * 100_000), True),
        (page(200), True),
    ],
)
def test_only_an_explicit_false_means_no_sign_in(said, offered):
    assert offers_sso(said) is offered


# The grant


@pytest.mark.parametrize(
    ("fields", "interval", "lifetime"),
    [
        ({}, 5, 300),
        ({"interval": 7, "expires_in": 900}, 7, 900),
        ({"interval": 2.5, "expires_in": 60.5}, 2.5, 60.5),
        ({"interval": 0, "expires_in": 0}, 5, 300),
        ({"interval": 0.001}, 1, 300),
        ({"interval": -1, "expires_in": -1}, 5, 300),
        ({"interval": "5", "expires_in": "soon"}, 5, 300),
        ({"interval": True, "expires_in": None}, 5, 300),
        ({"interval": float("nan"), "expires_in": float("inf")}, 5, 300),
        ({"interval": 10**400, "expires_in": 10**400}, 5, 300),
        ({"interval": -(10**400), "expires_in": -float("inf")}, 5, 300),
        ({"interval": 1e308, "expires_in": 1e308}, 5, 300),
        ({"interval": [5], "expires_in": {"seconds": 5}}, 5, 300),
    ],
)
def test_a_grant_has_its_own_lifetime_or_the_default_one(fields, interval, lifetime):
    grant = parse_grant(answer(200, DEVICE | fields), ASKED)

    assert (grant.interval, grant.expires_at) == (interval, 1000 + lifetime)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "https://",
        "https://[",
        "//pm.example.com/device",
        "https://pm.example.com/\ndevice",
        "https://pm.example.com/\x1b[2J",
        "https://pm.example.com/a b",
        "https://pm.example.com@evil.example.com/",
        None,
        5,
    ],
)
def test_only_an_http_address_is_shown_and_opened(uri):
    complete = parse_grant(answer(200, DEVICE | {"verification_uri_complete": uri}), ASKED)
    only = parse_grant(answer(200, DEVICE | {"verification_uri": uri, "verification_uri_complete": "http://a/"}), ASKED)

    assert complete.page == DEVICE["verification_uri"]
    assert only.page == only.verification_uri == "http://a/"
    with pytest.raises(UpstreamUnexpectedError, match="without a page that can be opened"):
        parse_grant(answer(200, DEVICE | {"verification_uri": uri}), ASKED)


@pytest.mark.parametrize(
    "fields", [{"device_code": ""}, {"device_code": None}, {"user_code": "A\x1b[2J"}, {"user_code": "A" * 100}]
)
def test_a_grant_without_a_printable_code_is_an_error(fields):
    with pytest.raises(UpstreamUnexpectedError):
        parse_grant(answer(200, DEVICE | fields), ASKED)


def test_a_grant_may_have_no_user_code():
    assert parse_grant(answer(200, {**DEVICE, "user_code": None}), ASKED).user_code == ""


@pytest.mark.parametrize(
    ("said", "error", "words"),
    [
        (answer(404), SignInNotOfferedError, "offers no sign-in"),
        (answer(405), SignInNotOfferedError, "offers no sign-in"),
        (answer(501), SignInNotOfferedError, "offers no sign-in"),
        (page(200), SignInNotOfferedError, "offers no sign-in"),
        (page(403), SignInNotOfferedError, "offers no sign-in"),
        (page(503), UpstreamUnreachableError, "answered 503"),
        (answer(429), UpstreamUnreachableError, "answered 429"),
        (answer(400, error="invalid_request", error_description="no"), SignInRefusedError, "invalid_request: no"),
        (answer(403), SignInRefusedError, "status 403"),
        (answer(200), UpstreamUnexpectedError, "without a page"),
        (ServerResponse(200, "", b""), UpstreamUnexpectedError, "without a page"),
    ],
)
def test_a_response_without_a_grant_is_an_error_with_its_reason(said, error, words):
    with pytest.raises(error, match=words) as caught:
        parse_grant(said, ASKED)

    assert URL in str(caught.value)
    assert caught.value.hint


# The poll


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        (answer(200, id_token="the-token"), Secret("the-token")),
        (answer(400, error="authorization_pending"), NotYet.PENDING),
        (answer(428, error="authorization_pending"), NotYet.PENDING),
        (answer(400, error="slow_down"), NotYet.SLOW_DOWN),
        (answer(429), NotYet.SLOW_DOWN),
        (answer(408), NotYet.PENDING),
        (page(504), NotYet.PENDING),
        (answer(500, error="server_error"), NotYet.PENDING),
    ],
)
def test_a_poll_returns_a_token_or_not_yet(said, meaning):
    assert parse_identity(said, GRANT) == meaning


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (answer(400, error="access_denied"), SignInRefusedError),
        (answer(400, error="expired_token"), SignInExpiredError),
        (answer(400, error="invalid_grant"), SignInRefusedError),
        (answer(401, error="something_new"), SignInRefusedError),
        (answer(400), UpstreamUnexpectedError),
        (answer(200), UpstreamUnexpectedError),
        (answer(200, id_token=5), UpstreamUnexpectedError),
        (page(200), UpstreamUnexpectedError),
    ],
)
def test_a_poll_that_ends_a_sign_in_is_an_error_of_its_kind(said, error):
    with pytest.raises(error):
        parse_identity(said, GRANT)


# The exchange


def test_the_token_is_returned_unchanged():
    assert parse_token(answer(200, access_token="a.b.c"), URL, VERIFIER) == Secret("a.b.c")


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (answer(400, error="invalid_target"), IdentityRefusedError),
        (answer(401), IdentityRefusedError),
        (answer(404), SignInNotOfferedError),
        (page(200), SignInNotOfferedError),
        (answer(503), UpstreamUnreachableError),
        (answer(200), UpstreamUnexpectedError),
        (answer(200, access_token="two\nlines"), UpstreamUnexpectedError),
    ],
)
def test_an_exchange_without_a_token_is_an_error_of_its_kind(said, error):
    with pytest.raises(error, match=URL):
        parse_token(said, URL, VERIFIER)


def without_signature(payload):
    return Secret(f"e30.{base64.urlsafe_b64encode(payload).decode().rstrip('=')}.")


@pytest.mark.parametrize(
    ("token", "audience"),
    [
        (Secret(jwt({"aud": "ppm"})), "audience ppm"),
        (Secret(jwt({"aud": ["a", "b"]})), "audience a, b"),
        (Secret(jwt({"aud": "a\x1b[2J"})), "audience a?[2J"),
        (Secret(jwt({})), "it names no audience"),
        (Secret("opaque"), "it is not a JWT"),
        (Secret("a.!.c"), "it names no audience"),
        (without_signature(b"5"), "it names no audience"),
        (without_signature(b"[" * 50_000), "it names no audience"),
        (without_signature(b"\xff"), "it names no audience"),
    ],
)
def test_the_audience_of_an_identity_token_is_described(token, audience):
    assert audience_of(token) == audience


def test_a_servers_error_text_becomes_one_short_line_without_the_token():
    subject = Secret(jwt({"aud": "ppm", "sub": "kim"}))
    part = subject.reveal().split(".")[1]
    words = f"bad token {subject.reveal()}\r\nwith {part} \x1b[31m" + "x" * 1000

    response = answer(400, error="invalid_grant", error_description=words)
    response.redactor.add(subject)

    with pytest.raises(IdentityRefusedError) as caught:
        parse_token(response, URL, subject)

    said = str(caught.value)
    assert "(audience ppm): invalid_grant: bad token **** with ****" in said
    assert said.isprintable()
    assert len(said) < 500


# Arbitrary responses


NUMBERS = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from([10**400, -(10**400), 1e308, float("nan"), float("inf"), 2**63, 0, -1]),
)
TEXTS = st.one_of(
    st.text(max_size=20),
    st.text(st.characters(categories=["Cs", "Cc"]), max_size=5),
    st.sampled_from(["https://pm.example.com/device", "http://[", "BCDF-GHJK", "a" * 5000, "e30.e30.e30", "\ud800"]),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=5,
)
NAMES = [*DEVICE, "id_token", "access_token", "error", "error_description", "sso_enabled"]
FIELDS = st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, VALUES))
BODIES = st.one_of(
    st.one_of(FIELDS, VALUES).map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=50),
    st.sampled_from(
        [
            b"[" * 100_000,
            b'{"a":' * 100_000,
            b'{"interval": ' + b"9" * 5000 + b"}",
            b'{"interval": 1e999, "expires_in": -1e999}',
            json.dumps(DEVICE | {"interval": 10**400}).encode(),
            "{}".encode("utf-16"),
            b"\xef\xbb\xbf{}",
        ]
    ),
)
RESPONSES = st.builds(
    ServerResponse,
    st.one_of(st.just(200), st.sampled_from([400, 401, 403, 404, 405, 408, 425, 429, 500, 501, 503, 999])),
    st.sampled_from(["application/json", "text/html", "", "\udcff"]),
    BODIES,
)


def outcome_of(parse, *arguments):
    """The result, or the detail of an error of our own."""
    try:
        return parse(*arguments)
    except PpmProxyError as error:
        return error.detail


@settings(max_examples=300, deadline=None)
@given(RESPONSES)
def test_any_response_to_a_device_flow_is_a_grant_or_an_error_of_our_own(response):
    grant = outcome_of(parse_grant, response, ASKED)

    if isinstance(grant, DeviceGrant):
        assert 0 < grant.interval < 1e6
        assert 0 < grant.expires_at < 1e6
        assert (grant.page + grant.user_code).isprintable()
        assert urlencode({"device_code": grant.device_code.reveal()})
        assert encoded_forms(grant.device_code.reveal())
    else:
        assert grant.isprintable()


@settings(max_examples=300, deadline=None)
@given(RESPONSES)
def test_any_response_to_a_poll_is_a_token_or_not_yet_or_an_error_of_our_own(response):
    result = outcome_of(parse_identity, response, GRANT)

    if isinstance(result, Secret):
        assert urlencode({"subject_token": result.reveal()})
        assert encoded_forms(result.reveal())
        assert audience_of(result).isprintable()


@settings(max_examples=300, deadline=None)
@given(RESPONSES, st.text(st.characters(codec="ascii"), min_size=1) | st.sampled_from(["a" * 5000, "e30.e30.e30"]))
def test_any_response_to_an_exchange_is_a_token_or_an_error_of_our_own(response, subject):
    result = outcome_of(parse_token, response, URL, Secret(subject))

    if isinstance(result, Secret):
        assert result.reveal().isascii()


@settings(max_examples=300, deadline=None)
@given(RESPONSES)
def test_any_status_response_says_whether_sign_in_is_offered(response):
    assert offers_sso(response) in {True, False}
