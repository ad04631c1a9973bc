"""Claims about arbitrary input: whatever is in a file or variable, errors are of our own."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loaded_settings import FILE, loaded

from ppmproxy.config.file import parse_document
from ppmproxy.config.keys import KEYS
from ppmproxy.config.values import toml_string
from ppmproxy.errors import ConfigError


def toml_of(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{toml_string(key)} = {toml_of(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml_of, value)) + "]"
    return toml_string(value) if isinstance(value, str) else str(value).lower()


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


WORDS = TEXT | st.sampled_from(
    [
        "from",
        "file",
        "path",
        "command",
        "argv",
        "any",
        "127.0.0.1:1",
        "unix:/x",
        "https://a",
        "http://[::1]",
        "a@b",
        "1m",
    ]
)


SCALARS = WORDS | st.integers() | st.booleans() | st.floats() | st.just("1979-05-27")


VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3), max_leaves=8
)


@pytest.mark.parametrize("key", [*(key.name for key in KEYS), "unknown"])
@given(value=VALUES)
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_no_value_in_a_file_raises_anything_but_a_config_error(key, value):
    text = f"{key} = {toml_of(value)}\n"
    parse_document(text, FILE)  # the generator writes TOML

    try:
        loaded(text)
    except ConfigError as error:
        assert str(error).startswith(FILE)  # noqa: PT017 - most values are mistakes, some are not
        assert error.hint  # noqa: PT017


@pytest.mark.parametrize("key", [key.name for key in KEYS])
@given(text=WORDS | VALUES.map(toml_of))
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_no_text_in_a_variable_raises_anything_but_a_config_error(key, text):
    try:
        loaded(None, {f"PPMPROXY_{key.upper()}": text})
    except ConfigError as error:
        assert str(error).startswith(f"PPMPROXY_{key.upper()}")  # noqa: PT017
        assert error.hint  # noqa: PT017


@given(text=st.text(max_size=80) | st.text("[]{}=\"'.,#\n \t\rab0:-\\", max_size=60))
@settings(max_examples=300, deadline=None)
def test_no_file_at_all_raises_anything_but_a_config_error(text):
    try:
        loaded(text)
    except ConfigError as error:
        assert str(error).startswith(FILE)  # noqa: PT017
