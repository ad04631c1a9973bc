"""Claims about where responses end: after which bytes every request has its whole response."""

import pytest

from ppmproxy.server.intercept.response_ends import ResponseEnds

OK = b"HTTP/1.1 200 OK\r\n"
SIZED = OK + b"Content-Length: 5\r\n\r\nhello"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nb;x=y\r\n world\r\n\r\n0\r\n0\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
NOT_MODIFIED = b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n"
HEAD_ONLY = OK + b"Content-Length: 5\r\n\r\n"
EMPTY = OK + b"Content-Length: 0\r\n\r\n"


@pytest.mark.parametrize("step", [1, 2, 7, 1000])
@pytest.mark.parametrize(
    ("methods", "sent"),
    [
        (["GET"], SIZED),
        (["GET"], CHUNKED),
        (["GET"], EMPTY),
        (["POST"], CONTINUE + SIZED),
        (["GET"], NOT_MODIFIED),
        (["HEAD"], HEAD_ONLY),
        (["HEAD", "GET", "GET", "GET"], HEAD_ONLY + CHUNKED + NOT_MODIFIED + SIZED),
    ],
)
def test_all_are_answered_with_the_last_byte_and_not_before(methods, sent, step):
    responses = ResponseEnds()
    for method in methods:
        responses.asked(method)

    for at in range(0, len(sent), step):
        assert not responses.has_answered_all
        responses.received(memoryview(sent)[at : at + step])

    assert responses.has_answered_all


def test_a_body_that_only_the_end_of_its_connection_ends_is_never_whole():
    responses = ResponseEnds()
    responses.asked("GET")

    responses.received(OK + b"\r\nhello" + SIZED)

    assert responses.missing == 1


def test_each_response_answers_one_request():
    responses = ResponseEnds()
    for _ in range(3):
        responses.asked("GET")

    responses.received(SIZED + SIZED[:-1])

    assert responses.missing == 2
