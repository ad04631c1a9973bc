"""Claims about dates of HTTP that the other side wrote."""

import pytest

from ppmproxy.upstream.http_date import seconds_since_epoch

ODD = [
    *(None, "", ",", "Mon,", "1 2 3", "\udcff", "Mon, 31 Feb 2026 00:00:00 GMT"),
    "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
    "Mon, 01 Jan 2026 00:00:00 +99999999999999999999",
]


@pytest.mark.parametrize("date", ODD)
def test_what_is_no_date_is_none(date):
    assert seconds_since_epoch(date) is None


def test_a_date_is_a_moment():
    assert seconds_since_epoch("Thu, 01 Jan 1970 00:01:00 GMT") == 60.0
