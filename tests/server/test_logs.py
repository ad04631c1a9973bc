"""Claims about `logs`: what a line looks like, for programs, for people and in the journal."""

import io
import json
import logging
import re
import sys

import pytest
import structlog
from logged_lines import LIBRARY, Odd, Terminal, log_to, logged, with_exception

from ppmproxy.config.model import LogFormat, LogLevel
from ppmproxy.server.logs import LineStyle


def test_an_event_is_one_line_of_json_with_time_level_name_and_fields():
    text = logged(lambda: structlog.get_logger().warning("request", path="/x\ny", status=200, ms=1.5))

    event = json.loads(text)
    assert text.count("\n") == 1
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", event.pop("timestamp"))
    assert event == {"event": "request", "level": "warning", "path": "/x\ny", "status": 200, "ms": 1.5}


def test_an_event_of_a_library_looks_the_same():
    event = json.loads(logged(lambda: LIBRARY.warning("a %s", "b", extra={"port": 7760})))

    assert (event["event"], event["level"], event["port"]) == ("a b", "warning", 7760)


def test_a_traceback_is_in_the_event_and_not_behind_it():
    text = logged(lambda: with_exception(lambda _: structlog.get_logger().exception("event"), "x"))

    assert text.count("\n") == 1
    assert "KeyError: 'x'" in json.loads(text)["exception"]


def test_an_uncaught_exception_is_an_event():
    error = ValueError("why")

    event = json.loads(logged(lambda: sys.excepthook(ValueError, error, None)))

    assert (event["event"], event["level"], event["error"]) == ("process_crashed", "critical", "ValueError")
    assert "ValueError: why" in event["exception"]


def test_values_that_json_does_not_know_are_logged_as_text():
    event = json.loads(logged(lambda: structlog.get_logger().info("event", field={1, 2}, other=Odd("x"), raw=b"y")))

    assert sorted(event["field"]) == [1, 2]
    assert (event["other"], event["raw"]) == ("Odd('x')", "b'y'")


@pytest.mark.parametrize(
    ("level", "written"),
    [
        (LogLevel.DEBUG, ["debug", "info", "warning", "error"]),
        (LogLevel.INFO, ["info", "warning", "error"]),
        (LogLevel.WARNING, ["warning", "error"]),
        (LogLevel.ERROR, ["error"]),
    ],
)
@pytest.mark.parametrize("logger", [structlog.get_logger(), LIBRARY])
def test_events_below_the_level_are_not_written(logger, level, written):
    def write():
        for name in ("debug", "info", "warning", "error"):
            getattr(logger, name)(name)

    lines = logged(write, level=level).splitlines()

    assert [json.loads(line)["event"] for line in lines] == written


@pytest.mark.parametrize(
    ("stream", "log_format", "is_json"),
    [
        (io.StringIO, LogFormat.AUTO, True),
        (Terminal, LogFormat.AUTO, False),
        (io.StringIO, LogFormat.CONSOLE, False),
        (Terminal, LogFormat.JSON, True),
    ],
)
def test_a_terminal_gets_text_for_people_and_everything_else_json_unless_the_settings_say_otherwise(
    stream, log_format, is_json
):
    written = stream()
    with log_to(written, log_format=log_format):
        structlog.get_logger().info("event", field="x")

    assert written.getvalue().startswith("{") is is_json
    assert ("\x1b[" in written.getvalue()) is (isinstance(written, Terminal) and not is_json)


def test_a_terminal_gets_no_control_characters_of_others():
    def write():
        log = structlog.get_logger()
        log.warning("request", path="/\x9b31m\u202e", detail="\x1b]0;x\x07 a\nb")
        log.error("failed", exc_info=ValueError("\x1b[2J"))

    shown = logged(write, log_format=LogFormat.CONSOLE)

    assert {char for char in shown if not char.isprintable()} == {"\n"}
    assert "ValueError: \\x1b[2J" in shown


# --- the journal ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "priority"), [("debug", 7), ("info", 6), ("warning", 4), ("error", 3), ("critical", 2)]
)
def test_to_the_journal_a_line_begins_with_its_priority(level, priority):
    text = logged(lambda: getattr(structlog.get_logger(), level)("something"), style=LineStyle.JOURNAL)

    assert text.startswith(f'<{priority}>{{"event": "something"')


def test_to_the_journal_each_line_of_a_traceback_has_the_priority_too():
    def write():
        logging.getLogger("of.others").error("it failed", exc_info=ValueError("in\nseveral\nlines"))

    lines = logged(write, style=LineStyle.JOURNAL, log_format=LogFormat.CONSOLE).splitlines()

    assert len(lines) > 2
    assert {line[:3] for line in lines} == {"<3>"}


def test_elsewhere_no_line_has_a_priority_in_front():
    assert logged(lambda: structlog.get_logger().warning("something")).startswith("{")


# --- a log that is closed ---------------------------------------------------------------------------------------------


def test_an_event_after_the_log_was_closed_is_no_error(capsys):
    stream = io.StringIO()
    with log_to(stream):
        stream.close()

        logging.getLogger("asyncio").warning("the loop is closed")
        structlog.get_logger("ppmproxy").warning("too_late")

    assert capsys.readouterr() == ("", "")


def test_an_exception_that_ends_the_process_is_printed_where_the_log_is_closed(capsys):
    stream = io.StringIO()
    with log_to(stream):
        stream.close()

        sys.excepthook(OSError, OSError("no space left on device"), None)

    assert capsys.readouterr().err == "OSError: no space left on device\n"
