import enum
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppmproxy.config.file import inline_value
from ppmproxy.config.location import Layer, Location
from ppmproxy.config.values import (
    BOOLEAN,
    BYTE_SIZE,
    MAX_AGE,
    OPTIONAL_PATH,
    PATH,
    choice_of,
    duration,
    list_of,
    string,
    toml_string,
    whole_number,
)
from ppmproxy.errors import ConfigError

HOME = Path("/home/alice")
IN_FILE = Location(Layer.FILE, "/etc/ppmproxy/config.toml", HOME, ("key",))
IN_VARIABLE = Location(Layer.ENVIRONMENT, "PPMPROXY_KEY", HOME)


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


def message(kind, value, location=IN_FILE):
    with pytest.raises(ConfigError) as caught:
        kind.parse(value, location)
    return f"{caught.value}\n{caught.value.hint}"


def read_text(kind, text):
    return kind.parse(kind.from_text(text, IN_VARIABLE), IN_VARIABLE)


# --- booleans and numbers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("true", True),
        ("1", True),
        ("Yes", True),
        (" on ", True),
        ("false", False),
        ("0", False),
        ("no", False),
        ("OFF", False),
    ],
)
def test_a_boolean_may_be_written_in_words(text, expected):
    assert read_text(BOOLEAN, text) is expected


@pytest.mark.parametrize("text", ["", "maybe", "2", "truth", "true,"])
def test_other_words_are_no_boolean(text):
    with pytest.raises(ConfigError, match=r"PPMPROXY_KEY is .*, not true or false"):
        read_text(BOOLEAN, text)


@pytest.mark.parametrize(
    ("value_type", "value", "what"),
    [
        (BOOLEAN, "true", "must be true or false, not a string"),
        (BOOLEAN, 1, "must be true or false, not a whole number"),
        (whole_number(1, 9), "5", "must be a whole number, not a string"),
        (whole_number(1, 9), True, "must be a whole number, not a boolean"),
        (whole_number(1, 9), 5.0, "must be a whole number, not a number"),
        (duration(), True, "must be a time, not a boolean"),
        (duration(), [1], "must be a time, not a list"),
        (choice_of(Size), 1, "must be a string, not a whole number"),
        (PATH, {}, "must be a string, not a table"),
        (list_of(string, "X"), "a", "must be a list, not a string"),
        (list_of(string, "X"), ["a", 1], "key[2] must be a string, not a whole number"),
        (BOOLEAN, inline_value("1979-05-27"), "must be true or false, not a date or a time"),
    ],
)
def test_types_in_a_file_are_not_converted(value_type, value, what):
    assert what in message(value_type, value)


@pytest.mark.parametrize("number", [0, 10, -1, 10**400])
def test_a_number_stays_in_its_range(number):
    assert "not from 1 to 9" in message(whole_number(1, 9), number)


@pytest.mark.parametrize("text", ["", "x", "1.5", "-1", "1e3", "٣", "1_0", "9" * 5000])
def test_text_that_is_no_whole_number_is_refused(text):
    with pytest.raises(ConfigError):
        read_text(whole_number(1, 9), text)


def test_a_number_in_a_variable_is_read():
    assert read_text(whole_number(1, 9), " 7 ") == 7


# --- durations ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("20s", 20),
        ("1m", 60),
        ("500ms", 0.5),
        ("1h30m", 5400),
        ("1h0m1s500ms", 3601.5),
        ("1.5h", 5400),
        ("90", 90),
        ("0.25", 0.25),
        (20, 20),
        (0.5, 0.5),
        ("24h", 86400),
    ],
)
def test_a_duration_is_seconds(value, seconds):
    assert duration().parse(value, IN_FILE) == seconds


@pytest.mark.parametrize("value", ["", "s", "1w", "1s1m", "1m1m", "-1s", "1 s", "1,5s", "٣s", "1e3", "inf", "nan"])
def test_an_invalid_duration_is_refused(value):
    assert '"1h30m"' in message(duration(), value)


@pytest.mark.parametrize(
    "value", ["0s", 0, -1, 0.0, "0", "25h", 86401, float("inf"), float("nan"), 10**400, -(10**400), "9" * 500 + "h"]
)
def test_a_duration_stays_in_its_range(value):
    assert "not more than 0s and at most 24h" in message(duration(), value)


def test_zero_is_a_duration_where_not_waiting_makes_sense():
    assert duration(may_be_zero=True).parse("0s", IN_FILE) == 0
    assert "at least 0s" in message(duration(may_be_zero=True), -1)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (10.0, "10s"),
        (60.0, "60s"),
        (120.0, "2m"),
        (5400.0, "1h30m"),
        (0.5, "500ms"),
        (0.0, "0s"),
        (1.25, "1.25s"),
        (0.0001, "0.0001s"),
    ],
)
def test_a_duration_prints_in_a_short_way(seconds, text):
    assert duration().format(seconds) == f'"{text}"'


@given(st.floats(min_value=1e-9, max_value=86400, exclude_min=True) | st.integers(1, 86400).map(float))
def test_a_printed_duration_reads_back_exactly(seconds):
    printed = inline_value(duration().format(seconds))

    assert duration().parse(printed, IN_FILE) == seconds


# --- choices, strings, paths, lists -----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["large", " large\t", "\ufefflarge\u200b", "large\n"])
def test_a_choice_is_a_value_of_its_enumeration_with_or_without_the_blanks_of_a_paste(text):
    assert choice_of(Size).parse(text, IN_FILE) is Size.LARGE
    assert choice_of(Size).format(Size.LARGE) == '"large"'
    assert choice_of(Size).metavar == "small|large"


@pytest.mark.parametrize("word", ["larg", "LARGE", "huge-s3cret"])
def test_an_unknown_choice_is_refused_with_the_nearest_and_quoted_unless_it_may_be_a_token(word):
    said = message(choice_of(Size), word)

    assert "small or large" in said
    assert "the nearest is large" in said
    assert "s3cret" not in said


@pytest.mark.parametrize("text", ["a\nb", "\0", "a\x7f", "\x1b[2J"])
def test_a_string_has_no_control_characters(text):
    with pytest.raises(ConfigError, match="control character"):
        string(text, IN_FILE)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_printed_string_reads_back_as_the_same(text):
    assert inline_value(toml_string(text)) == text


def test_a_path_that_is_no_utf8_can_still_be_printed():
    toml_string("caf\udce9").encode()


@pytest.mark.parametrize(
    ("location", "text", "expected"),
    [
        (IN_FILE, "ca.pem", "/etc/ppmproxy/ca.pem"),
        (IN_FILE, "../ca.pem", "/etc/ppmproxy/../ca.pem"),
        (IN_FILE, "/ca.pem", "/ca.pem"),
        (IN_FILE, "~/ca.pem", "/home/alice/ca.pem"),
        (IN_FILE, "~", "/home/alice"),
        (IN_VARIABLE, "ca.pem", "ca.pem"),
        (IN_VARIABLE, "~/ca.pem", "/home/alice/ca.pem"),
        (IN_VARIABLE, "$HOME/ca.pem", "$HOME/ca.pem"),
    ],
)
def test_a_relative_path_starts_at_the_folder_of_its_file(location, text, expected):
    assert PATH.parse(text, location) == Path(expected)


def test_the_home_of_another_user_is_not_looked_up():
    assert "begin it with ~/" in message(PATH, "~bob/ca.pem")


def test_an_empty_path_is_none_where_that_is_allowed():
    assert OPTIONAL_PATH.parse("", IN_FILE) is None
    assert OPTIONAL_PATH.format(None) == '""'
    assert "is empty" in message(PATH, "")


@pytest.mark.parametrize(("text", "items"), [("", ()), ("a", ("a",)), ("a, b", ("a", "b")), ("a,a", ("a",))])
def test_a_list_in_a_variable_is_separated_by_commas(text, items):
    assert read_text(list_of(string, "X"), text) == items


# --- sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "size"), [("2GiB", 2 << 30), ("500MB", 500_000_000), ("1.5 KiB", 1536), (7, 7), ("7", 7), ("0", 0)]
)
def test_a_size_is_bytes(value, size):
    assert BYTE_SIZE.parse(value, IN_FILE) == size


@pytest.mark.parametrize("value", ["", "2 apples", "-1", "GiB", True, [], "9999TiB"])
def test_an_invalid_size_is_refused(value):
    assert "2GiB" in message(BYTE_SIZE, value) or "at most 1024TiB" in message(BYTE_SIZE, value)


@given(st.integers(0, 1 << 50))
def test_a_printed_size_reads_back_exactly(size):
    assert BYTE_SIZE.parse(inline_value(BYTE_SIZE.format(size)), IN_FILE) == size


def test_what_is_kept_may_be_kept_for_days():
    kept = duration(may_be_zero=True, most=MAX_AGE)

    assert kept.parse("7d", IN_FILE) == 7 * 86400
    assert kept.format(7 * 86400.0) == '"7d"'
    assert "at most 3650d" in message(kept, "3651d")
