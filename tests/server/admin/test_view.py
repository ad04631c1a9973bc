"""Claims about how the page writes times, durations and sizes."""

import pytest

from ppmproxy.server.admin.view import clock_time, duration, milliseconds


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5, "less than a minute"),
        (0, "less than a minute"),
        (59.9, "less than a minute"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h 0 min"),
        (90061, "1 d 1 h"),
        (1e9, "11574 d 1 h"),
    ],
)
def test_a_duration_is_shown_in_its_two_largest_units(seconds, shown):
    assert duration(seconds) == shown


@pytest.mark.parametrize(("seconds", "shown"), [(0.0004, "0.4 ms"), (0.0123, "12 ms"), (2.5, "2500 ms")])
def test_the_time_of_an_answer_is_shown_in_milliseconds(seconds, shown):
    assert milliseconds(seconds) == shown


@pytest.mark.parametrize("moment", [1e30, float("inf"), -1e20])
def test_a_time_that_no_clock_has_is_said_to_be_unknown(moment):
    assert clock_time(moment) == "an unknown time"
