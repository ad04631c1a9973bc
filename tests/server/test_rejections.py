import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppmproxy.auth.credential import Claims, Credential, Use
from ppmproxy.auth.secret import Secret
from ppmproxy.config.model import CredentialSpec, Upstream
from ppmproxy.credentials.lookup import LookupResult, NothingFound, SourceBroken
from ppmproxy.errors import (
    LONGEST_MESSAGE,
    NotPermittedError,
    RejectedElsewhereError,
    TokenExpiredError,
    TokenMissingError,
    TokenRejectedError,
)
from ppmproxy.server.rejections import MOST_WORDS, Rejection, error_for, more_specific, rejected_elsewhere, words_of

NOW = 1000.0
PM = Upstream(url="https://pm.example.com/rspm", configured=True)
PUBLIC = Upstream()
TOKEN = "s3cr3t-token-value"
VALID = Credential.of_secret(Secret(TOKEN), "environment variable X")
EXPIRED = replace(VALID, claims=Claims(expires_at=NOW - 1))
SCOPED = replace(VALID, claims=Claims(scopes=("repos:read", "sources:write")))


@pytest.mark.parametrize(
    ("status", "credential", "error"),
    [
        (401, None, TokenMissingError),
        (403, None, TokenMissingError),
        (404, None, TokenMissingError),
        (401, VALID, TokenRejectedError),
        (404, VALID, TokenRejectedError),
        (403, VALID, NotPermittedError),
        (401, EXPIRED, TokenExpiredError),
        (403, EXPIRED, TokenExpiredError),
    ],
)
def test_a_rejection_is_explained_by_its_status_and_the_token(status, credential, error):
    explained = error_for(Rejection(status, "No"), PM, LookupResult(credential), NOW)

    assert type(explained) is error
    assert "https://pm.example.com/rspm" in str(explained)
    assert str(status) in str(explained)
    assert explained.hint
    assert TOKEN not in explained.detail


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("credential", [VALID, EXPIRED])
def test_the_source_of_the_token_is_named(status, credential):
    assert "environment variable X" in error_for(Rejection(status), PM, LookupResult(credential), NOW).detail


def test_a_token_is_replaced_by_the_command_of_its_source_where_there_is_one():
    credential = replace(VALID, remedy="run `ppmproxy login`")

    assert "run `ppmproxy login`" in error_for(Rejection(401), PM, LookupResult(credential), NOW).hint


def test_a_token_that_was_rejected_a_moment_ago_is_still_the_explanation():
    error = error_for(Rejection(401), PM, LookupResult(None, rejected=VALID), NOW)

    assert isinstance(error, TokenRejectedError)
    assert "environment variable X" in error.detail


NOT_SET = NothingFound("variable X", "not set")
BROKEN = SourceBroken("file /t", "cannot be read: permission denied")
LISTED = (CredentialSpec("env", variable="X"), CredentialSpec("netrc"))


@pytest.mark.parametrize(
    ("credentials", "skipped", "said"),
    [
        (None, (NOT_SET, NothingFound("/.netrc", "no such file")), "requires a token (401), and none was found"),
        (None, (NOT_SET, BROKEN), "file /t gives no token: cannot be read: permission denied"),
        (LISTED, (NOT_SET, BROKEN), "file /t gives no token: cannot be read: permission denied"),
        (LISTED, (NOT_SET, NothingFound("/.netrc", "no such file")), "variable X gives no token: not set"),
    ],
)
def test_a_missing_token_names_the_broken_source_or_the_first_one_of_the_settings(credentials, skipped, said):
    error = error_for(Rejection(401), replace(PM, credentials=credentials), LookupResult(None, skipped), NOW)

    assert said in str(error)
    assert len(error.detail) <= LONGEST_MESSAGE


def test_why_a_source_has_no_token_is_seen_in_a_client_however_long_its_path_is():
    upstream = replace(PM, url="https://packagemanager.department.example.com:8443/rspm/production")
    source = "file /home/somebody/.config/ppmproxy/tokens/production/token (PPMPROXY_TOKEN_FILE)"
    why = "cannot be read: permission denied"

    error = error_for(Rejection(401), upstream, LookupResult(None, (SourceBroken(source, why),)), NOW)

    assert why in error.within()
    assert "`ppmproxy login`" in error.within()
    assert len(error.within()) <= LONGEST_MESSAGE


@pytest.mark.parametrize(("in_ci", "is_named"), [(False, True), (True, False)])
@pytest.mark.parametrize("skipped", [NOT_SET, BROKEN])
@pytest.mark.parametrize("credential", [None, replace(EXPIRED, remedy="run `ppmproxy login`")])
def test_a_sign_in_is_recommended_outside_of_ci_jobs_only(in_ci, is_named, credential, skipped):
    error = error_for(Rejection(401), PM, LookupResult(credential, (skipped,)), NOW, in_ci=in_ci)

    assert ("login" in error.hint) is is_named
    assert error.hint


def test_the_hint_names_only_sources_of_the_settings():
    own = replace(PM, name="pm", credentials=(CredentialSpec("command", argv=("helper",)),))
    broken = LookupResult(None, (SourceBroken("command helper", "ended with exit code 1"),))

    told = error_for(Rejection(401), own, broken, NOW)
    nobody = error_for(Rejection(401), own, LookupResult(None), NOW)

    assert "command helper gives no token: ended with exit code 1" in str(told)
    assert told.hint == "correct that source"
    assert nobody.hint == "add a source for this repository to [[upstream.pm.credentials]]"


@pytest.mark.parametrize(
    ("scopes", "use", "hint"),
    [
        (("repos:read",), Use.UPLOAD, "use a token with the scope sources:write"),
        (("repos:read", "sources:write:other"), Use.UPLOAD, "ask its administrator"),
        ((), Use.UPLOAD, "ask its administrator"),
        (("repos:read:other",), Use.READ, "ask its administrator"),
    ],
)
def test_a_token_without_the_scope_for_uploads_is_reported_as_that(scopes, use, hint):
    credential = replace(VALID, claims=Claims(scopes=scopes))

    error = error_for(Rejection(403, use=use), PM, LookupResult(credential), NOW)

    assert isinstance(error, NotPermittedError)
    assert error.hint.startswith(hint)
    assert "environment variable X" in error.hint


def test_where_nothing_is_configured_the_hint_is_to_name_a_package_manager_and_not_a_token():
    error = error_for(Rejection(403), PUBLIC, LookupResult(None), NOW)

    assert isinstance(error, TokenMissingError)
    assert "PPMPROXY_UPSTREAM" in error.hint
    assert "PPMPROXY_TOKEN" not in error.detail


def test_the_upstream_s_words_reach_the_user_with_the_source_of_the_token():
    refusal = Rejection(403, "Forbidden", "package evil is blocked by policy 7")

    error = error_for(refusal, PM, LookupResult(SCOPED), NOW)

    assert "403 Forbidden: package evil is blocked by policy 7" in str(error)
    assert error.hint == "ask its administrator for access (the token is from environment variable X)"
    assert "policy 7" in error.within(LONGEST_MESSAGE - len(" (error: not-permitted)"))


def test_a_no_from_another_server_is_never_about_the_token():
    error = rejected_elsewhere(Rejection(403, "Forbidden", "expired link"), "s3.example.com", PM)

    assert isinstance(error, RejectedElsewhereError)
    assert "s3.example.com answered 403 Forbidden: expired link" in str(error)


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        (None, 401, 401),
        (None, 403, 403),
        (401, 401, 401),
        (401, 403, 403),
        (403, 401, 403),
        (403, 403, 403),
        (404, 401, 401),
    ],
)
def test_of_two_schemes_the_one_that_was_understood_explains_the_no(first, second, kept):
    bearer = None if first is None else Rejection(first, "Bearer")

    assert more_specific(bearer, Rejection(second, "Basic")).status == kept


@pytest.mark.parametrize(
    ("body", "content_type", "words"),
    [
        ("blocked by policy\n", "text/plain", "blocked by policy"),
        ('{"error":"blocked"}', "application/json", "blocked"),
        ('{"error":"blocked","by":7}', "application/json", '{"error":"blocked","by":7}'),
        ('["blocked"]', "application/problem+json", '["blocked"]'),
        ("{blocked", "application/json", "{blocked"),
        ("<h1>No</h1>\n<p>ask &quot;IT&quot; &amp; wait</p>", "text/html; charset=utf-8", 'No ask "IT" & wait'),
        ("<script>var a='<b>';</script><STYLE>b{}</STYLE >seen", "TEXT/HTML", "seen"),
        ("<html><title>403</title><body>seen<br/>too", "text/html", "seen too"),
        ("a < b", "text/plain", "a < b"),
        ("\x1b]0;title\x07\x1b[2Jred&#27;", "text/html", "?]0;title??[2Jred"),
        ("", "", ""),
    ],
)
def test_the_words_of_a_refusal_are_one_line_without_markup_or_control_characters(body, content_type, words):
    assert words_of(body, content_type) == words


@given(st.text(max_size=200), st.sampled_from(["text/html", "text/plain", ""]))
def test_the_words_of_any_body_are_one_short_printable_line(body, content_type):
    words = words_of(body, content_type)

    assert words.isprintable()
    assert len(words_of(body * 50, content_type)) <= MOST_WORDS


def test_a_token_that_is_echoed_at_the_cut_is_not_cut_in_two():
    body = "x " * (MOST_WORDS // 2 - 5) + TOKEN + " and more " * 20

    assert TOKEN[:3] not in words_of(body, "text/plain")


@pytest.mark.parametrize("opened", ["<", "<script", "<a ", "<title>", "</style"])
def test_a_body_of_nothing_but_opened_tags_is_read_in_no_time(opened):
    started = time.process_time()

    words_of(opened * 10_000, "text/html")

    assert time.process_time() - started < 0.5  # in quadratic time it would be several seconds


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        (Rejection(403), "403"),
        (Rejection(403, "Forbidden"), "403 Forbidden"),
        (Rejection(403, "Forbidden", "Forbidden"), "403 Forbidden"),
        (Rejection(403, "", "why"), "403: why"),
        (Rejection(403, "a\x1b[2Jb\nc"), "403 a?[2Jb c"),
    ],
)
def test_a_refusal_is_said_once_and_on_one_line(refusal, said):
    assert refusal.said() == said
