"""Claims about the log on a terminal: local time, words, one line of at most 120 columns, nothing to copy is cut."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppmproxy.server.logs import LineStyle, line_style
from ppmproxy.server.terminal_log import LONGEST_LINE, TerminalRenderer

REQUEST = {"method": "GET", "path": "/pypi/latest/simple/six/", "status": 200, "kind": "index", "sent": 9, "ms": 12.3}
FILE = {**REQUEST, "path": "/pypi/latest/packages/six-1.0.whl", "kind": "file"}
WHY = "https://pm.example.com requires a token (401), and none was found; run `ppmproxy login`"


def rendered(event, level="info", *, has_colours=False, **fields):
    said = {"event": event, "level": level, "timestamp": "2026-11-26T11:04:05.123456Z", **fields}
    return TerminalRenderer(has_colours=has_colours)(None, level, said)


def words(event, level="info", **fields):
    """What is said about an event, without the time in front."""
    return rendered(event, level, **fields)[len("11:04:05 ") :]


@pytest.mark.usefixtures("two_hours_east")
def test_the_time_is_local_and_to_the_second():
    assert rendered("request", **REQUEST) == "13:04:05 GET six/ 200 12 ms"


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (REQUEST, "GET six/ 200 12 ms"),
        ({**REQUEST, "ms": 1234.5}, "GET six/ 200 1.2 s"),
        ({**REQUEST, "cache": "hit; ttl=30"}, "GET six/ 200 12 ms from the cache"),
        (FILE, "GET six-1.0.whl 200 12 ms"),
        (
            {**FILE, "status": 0, "head_status": 200, "code": "client-left"},
            "GET six-1.0.whl 200, cut 12 ms: client-left",
        ),
        ({**REQUEST, "path": "/-/status", "kind": ""}, "GET /-/status 200 12 ms"),
        ({**REQUEST, "status": 407, "detail": WHY, "code": "token-missing"}, f"GET six/ 407 12 ms: {WHY}"[:108]),
    ],
)
def test_a_request_is_told_by_what_it_asks_for_its_status_and_its_time(fields, text):
    assert words("request", **fields).startswith(text.rpartition(" ")[0])


@pytest.mark.parametrize(
    ("event", "fields", "text"),
    [
        (
            "daemon_listening",
            {"urls": ["http://127.0.0.1:7760", "http://[::1]:7760"], "upstreams": {"/": "https://pm.example.com"}},
            "serving https://pm.example.com at http://127.0.0.1:7760",
        ),
        ("index_url", {"url": "http://127.0.0.1:7760/x/"}, "index URL for pip and uv: http://127.0.0.1:7760/x/"),
        ("credential_found", {"source": "file /t", "expires_at": None, "scopes": ()}, "token from file /t"),
        (
            "credential_found",
            {"source": "file /t", "expires_at": "2026-11-26T12:00:00+01:00", "scopes": ("repos:read",)},
            "token from file /t until 2026-11-26T12:00:00+01:00 (scopes: repos:read)",
        ),
        (
            "credential_missing",
            {"url": "https://pm.example.com", "hint": "run `ppmproxy login`"},
            "no token for https://pm.example.com: run `ppmproxy login`",
        ),
        ("daemon_stopping", {"why": "SIGINT", "in_flight": 2}, "stopping (SIGINT), 2 requests in flight"),
        ("new_event", {"count": 3, "why": "it is so", "hint": "do that"}, "new event (count 3): it is so; do that"),
        ("A message: of others", {}, "A message: of others"),
    ],
)
def test_an_event_is_told_in_words(event, fields, text):
    assert words(event, **fields) == text


def test_the_only_package_manager_has_no_name_that_its_user_gave_it():
    assert " sign in to the Package Manager:\n" in rendered("sign_in_needed", "warning", upstream="default")


def test_a_sign_in_is_a_block_with_the_whole_address_and_the_code():
    address = "https://pm.example.com/" + "a" * 200

    lines = rendered("sign_in_needed", "warning", upstream="lab", url=address, code="ABCD-EFGH").splitlines()

    assert lines[0].endswith("sign in to the Package Manager lab:")
    assert [line.split() for line in lines[1:]] == [["URL", address], ["code", "ABCD-EFGH"]]
    assert {len(line) - len(line.lstrip()) for line in lines[1:]} == {len("11:04:05 ")}


@given(st.text(), st.dictionaries(st.text("abcdef_", min_size=1), st.text(max_size=300), max_size=5))
def test_every_other_event_is_one_printable_line_that_fits(event, fields):
    line = rendered(event, "warning", **fields)

    assert len(line) <= LONGEST_LINE
    assert line.isprintable()


def test_a_traceback_follows_the_line():
    assert rendered("process_crashed", "error", exception="Traceback:\n  x").splitlines()[1:] == ["Traceback:", "  x"]


@pytest.mark.parametrize(("has_colours", "escapes"), [(True, True), (False, False)])
def test_colours_are_there_on_demand_only(has_colours, escapes):
    assert bool(re.search("\x1b", rendered("x", "warning", has_colours=has_colours))) is escapes


@pytest.mark.parametrize(
    ("environ", "style"),
    [
        ({}, LineStyle.COLOURED),
        ({"TERM": "xterm", "NO_COLOR": ""}, LineStyle.COLOURED),
        ({"NO_COLOR": "1"}, LineStyle.PLAIN),
        ({"TERM": "dumb"}, LineStyle.PLAIN),
    ],
)
def test_no_color_and_a_dumb_terminal_get_plain_lines(environ, style):
    assert line_style(environ) is style
    assert line_style(environ, in_journal=True) is LineStyle.JOURNAL
