import json
import re
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppmproxy import errors
from ppmproxy.access.policy import ForbiddenUserError
from ppmproxy.errors import (
    LONGEST_MESSAGE,
    BadTargetError,
    ForbiddenClientError,
    MethodNotAllowedError,
    NotForwardedError,
    NotPermittedError,
    PpmProxyError,
    RejectedElsewhereError,
    TokenExpiredError,
    TokenMissingError,
    TokenRejectedError,
    UploadsOffError,
    UpstreamTimeoutError,
    UpstreamUnexpectedError,
    UpstreamUnreachableError,
    UpstreamUntrustedError,
    one_line,
    shortened,
)
from ppmproxy.index.routing import ResourceKind
from ppmproxy.server.error_responses import LONGEST_DETAIL, ClientContext, render_error

PIP = 'pip/26.3 {"ci":null,"python":"3.11.7"}'
UV = 'uv/0.13.9 {"installer":{"name":"uv"}}'
MATURIN = ClientContext(ResourceKind.UPLOAD, "maturin/1.9.4")
PIP_PAGE = ClientContext(ResourceKind.INDEX_PAGE, PIP)
UV_PAGE = ClientContext(ResourceKind.INDEX_PAGE, UV)
PIP_FILE = ClientContext(ResourceKind.FILE, PIP)
UV_FILE = ClientContext(ResourceKind.FILE, UV)
UPLOAD = ClientContext(ResourceKind.UPLOAD, "twine/7.0.0")
EARLY = ClientContext(None, PIP)


def every_error(kind=PpmProxyError):
    """All classes of errors, from the one file where they are."""
    for subclass in kind.__subclasses__():
        if subclass.__module__ == errors.__name__:
            yield subclass
        yield from every_error(subclass)


ERRORS = sorted({kind for kind in every_error() if kind.__module__ == errors.__name__}, key=lambda kind: kind.__name__)
TOLD_TO_PIP = (errors.CredentialError, errors.NotPermittedError, errors.UpstreamError)
EVERY_ASKED = [
    PIP_PAGE,
    UV_PAGE,
    PIP_FILE,
    UV_FILE,
    UPLOAD,
    MATURIN,
    EARLY,
    ClientContext(ResourceKind.API, "renv"),
    ClientContext(ResourceKind.OTHER, PIP),
]
TEXTS = st.text(max_size=400)


@pytest.mark.parametrize(
    ("error", "code", "pip_page", "uv_page", "file", "upload"),
    [
        (TokenMissingError, "token-missing", 200, 407, 407, 407),
        (TokenExpiredError, "token-expired", 200, 407, 407, 407),
        (TokenRejectedError, "token-rejected", 200, 407, 407, 407),
        (NotPermittedError, "not-permitted", 200, 451, 403, 403),
        (UpstreamUnreachableError, "upstream-unreachable", 200, 424, 424, 424),
        (UpstreamUntrustedError, "upstream-untrusted", 200, 424, 424, 424),
        (UpstreamTimeoutError, "upstream-timeout", 200, 424, 424, 424),
        (UpstreamUnexpectedError, "upstream-unexpected", 200, 424, 424, 424),
        (RejectedElsewhereError, "upstream-unexpected", 200, 451, 403, 403),
        (ForbiddenClientError, "forbidden-client", 403, 403, 403, 403),
        (partial(ForbiddenUserError, uid=1001), "forbidden-client", 200, 407, 403, 403),
        (BadTargetError, "bad-target", 400, 400, 400, 400),
        (NotForwardedError, "not-forwarded", 403, 403, 403, 403),
        (MethodNotAllowedError, "not-forwarded", 405, 405, 405, 405),
        (UploadsOffError, "uploads-off", 403, 403, 403, 403),
    ],
)
def test_each_failure_has_its_code_and_the_status_that_its_reader_is_shown(
    error, code, pip_page, uv_page, file, upload
):
    answers = [render_error(error("what", "do"), asked) for asked in (PIP_PAGE, UV_PAGE, PIP_FILE, UV_FILE, UPLOAD)]

    assert [answer.status for answer in answers] == [pip_page, uv_page, file, file, upload]
    assert {answer.headers["X-Ppmproxy-Error"] for answer in answers} == {code}


def test_a_failure_that_names_no_command_has_one_that_says_more_where_it_may_help():
    details = [
        json.loads(render_error(error, UV_PAGE).body)["detail"]
        for error in (
            UpstreamUnreachableError("no route", "check the VPN"),
            TokenExpiredError("it has expired", "run `ppmproxy login`"),
            BadTargetError("it has .. in it", "write it plainly"),
        )
    ]

    assert details == [
        "no route; check the VPN; see `ppmproxy doctor`.",
        "it has expired; run `ppmproxy login`.",
        "it has .. in it; write it plainly.",
    ]


@pytest.mark.parametrize("asked", EVERY_ASKED)
@pytest.mark.parametrize("error", ERRORS)
def test_no_error_makes_a_client_prompt_or_use_another_index_or_wait_or_post_again(error, asked):
    answer = render_error(error("what", "do"), asked)

    assert answer.status not in {401, 404, 429}
    assert not (asked.kind is ResourceKind.UPLOAD and answer.status >= 500)
    assert "retry-after" not in {name.lower() for name in answer.headers}
    assert "www-authenticate" not in {name.lower() for name in answer.headers}
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("error", ERRORS)
def test_a_failure_has_a_title_and_a_stable_code(error):
    assert error.code.replace("-", "").isalpha()
    assert error.title.isascii()


@pytest.mark.parametrize("asked", [UV_PAGE, UV_FILE, PIP_FILE, UPLOAD, EARLY])
def test_an_error_is_a_problem_document_with_the_same_reason_phrase(asked):
    answer = render_error(TokenExpiredError("the token from T has expired", "run `ppmproxy login`"), asked)

    assert answer.headers["Content-Type"] == "application/problem+json"
    assert json.loads(answer.body) == {
        "type": "about:blank",
        "title": "token expired",
        "status": 407,
        "detail": "the token from T has expired; run `ppmproxy login`.",
        "code": "token-expired",
    }
    assert answer.reason == "the token from T has expired; run `ppmproxy login`"


@pytest.mark.parametrize("user_agent", ["pip/26.3", "pip/22.3.1 {}", "PIP/1", "pdm/2.29.3 CPython/3.11"])
def test_pip_and_pdm_read_a_failure_on_an_index_page_as_the_content_type_of_a_200(user_agent):
    answer = render_error(
        TokenMissingError("no token", "set PPMPROXY_TOKEN"), ClientContext(ResourceKind.INDEX_PAGE, user_agent)
    )

    assert (answer.status, answer.reason) == (200, "OK")
    assert answer.headers["Content-Type"] == (
        "text/x-ppmproxy; no token; set PPMPROXY_TOKEN; see `ppmproxy doctor` (error: token-missing)"
    )
    assert json.loads(answer.body)["code"] == "token-missing"


@pytest.mark.parametrize("error", TOLD_TO_PIP)
def test_pipx_finds_the_word_for_which_it_shows_a_line_of_pip_s(error):
    said = render_error(error("what" * LONGEST_MESSAGE), PIP_PAGE).headers["Content-Type"]

    assert re.search(r"error:.+[^:]$", said, re.IGNORECASE)  # pipx.util.analyze_pip_output


@pytest.mark.parametrize("error", [UploadsOffError, NotPermittedError, ForbiddenClientError])
def test_maturin_is_never_sent_the_403_that_it_takes_for_a_wrong_password(error):
    answer = render_error(error("what", "do"), MATURIN)

    assert answer.status == json.loads(answer.body)["status"] == 451


@pytest.mark.parametrize("user_agent", ["", UV, "pipenv/2026", "poetry/2.5.1", "pipx/1", "Mozilla/5.0 pip/26.3", "pip"])
def test_only_pip_and_pdm_get_a_200_for_an_error(user_agent):
    answer = render_error(TokenMissingError("no token"), ClientContext(ResourceKind.INDEX_PAGE, user_agent))

    assert answer.status == 407


@given(what=TEXTS, hint=TEXTS, error=st.sampled_from(ERRORS), asked=st.sampled_from(EVERY_ASKED))
def test_headers_and_reason_are_always_one_short_line_of_ascii(what, hint, error, asked):
    answer = render_error(error(what, hint), asked)

    for text in (answer.reason, *answer.headers.values()):
        assert text.isascii()
        assert text.isprintable()
        assert len(text) <= LONGEST_MESSAGE + len("text/x-ppmproxy; ")
        assert text == text.strip()


@given(what=TEXTS, hint=TEXTS, error=st.sampled_from(ERRORS), asked=st.sampled_from(EVERY_ASKED))
def test_the_body_is_always_ascii_json_on_one_line(what, hint, error, asked):
    body = render_error(error(what, hint), asked).body

    assert body.isascii()
    assert body.count(b"\n") == 1
    assert body.endswith(b"\n")
    assert json.loads(body)["detail"].startswith(error(what, hint).detail.removesuffix("."))


def test_a_detail_of_any_length_is_cut_to_one_that_fits():
    answer = render_error(NotPermittedError("word " * 5000), UV_FILE)

    assert len(json.loads(answer.body)["detail"]) <= LONGEST_DETAIL
    assert len(answer.reason) <= LONGEST_MESSAGE


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("it failed", "it failed; do this (with a command)"),
        ("it failed " * 4, "it failed it failed it failed it failed; do this"),
        ("it failed " * 5, "it failed it failed it failed it failed it ...; do this"),
    ],
)
def test_what_does_not_fit_is_a_remark_on_the_advice_then_the_end_of_what_happened(what, line):
    assert UpstreamTimeoutError(what, "do this (with a command)").within(len("it failed " * 5) + 5) == line


@pytest.mark.parametrize("error", ERRORS)
def test_the_detail_has_cause_and_remedy_once_each(error):
    detail = error("what happened", "what to do").detail

    assert (detail.count("what happened"), detail.count("what to do")) == (1, 1)
    assert error("what happened").detail == "what happened."


@given(st.integers(0, LONGEST_MESSAGE + 50))
def test_no_cut_leaves_a_part_of_a_token_which_no_mask_would_know(before):
    token = "eyJhbGciOi." + "x" * 300 + ".c2lnbmF0dXJl"
    error = NotPermittedError("x " * (before // 2) + "y" * (before % 2) + " " + token)

    reason = render_error(error, UV_FILE).reason

    assert token in reason or "eyJ" not in reason


# --- the words themselves ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "longest", "cut"),
    [
        ("", 10, ""),
        ("one two", 7, "one two"),
        ("one two three", 12, "one two ..."),
        ("one two three", 11, "one two ..."),
        ("one two three", 10, "one ..."),
        ("one", 3, "one"),
        ("word-without-end", 8, "..."),
    ],
)
def test_a_text_is_cut_between_two_words(text, longest, cut):
    assert shortened(text, longest) == cut


@given(st.text(max_size=80), st.integers(5, 90))
def test_a_cut_text_fits(text, longest):
    assert len(shortened(text, longest)) <= longest


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\r\nX-Header: b", "a X-Header: b"),
        ("  a\t\tb\n", "a b"),
        ("a\x1b[31mb\x00", "a?[31mb?"),
        ("a\u202eb\u200bc", "a?b?c"),
        ("b\u00fcndig", "b\u00fcndig"),
    ],
)
def test_a_text_becomes_one_line_without_anything_that_moves_a_cursor(text, line):
    assert one_line(text) == line
