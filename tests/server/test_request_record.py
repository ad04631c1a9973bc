"""Claims about the record of a request: its log line, and what counts as failed."""

import pytest

from ppmproxy.server.request_record import RequestRecord


def test_the_log_line_of_a_request_leaves_out_unknown_fields():
    record = RequestRecord("GET", "/x", status=200, sent=7)

    assert record.fields(0.01234) == {"method": "GET", "path": "/x", "status": 200, "sent": 7, "ms": 12.3}


def test_the_log_line_of_a_failed_request_has_the_reason_and_the_credential_s_source():
    record = RequestRecord("GET", "/x", "pm", "index", 407, "token-expired", "it has expired", "file /t", 120)

    assert record.fields(1.0) == {
        "method": "GET",
        "path": "/x",
        "status": 407,
        "upstream": "pm",
        "kind": "index",
        "code": "token-expired",
        "detail": "it has expired",
        "source": "file /t",
        "sent": 120,
        "ms": 1000.0,
    }


@pytest.mark.parametrize(
    ("status", "code", "failed"),
    [
        (200, "", False),
        (404, "", False),
        (429, "", True),
        (200, "client-left", False),
        (307, "sign-in-needed", False),
        (407, "sign-in-needed", True),
        (200, "upstream-unreachable", True),
        (502, "upstream-unreachable", True),
    ],
)
def test_a_request_has_failed_unless_its_client_left_or_is_to_come_back(status, code, failed):
    assert RequestRecord("GET", "/x", status=status, code=code).has_failed is failed
