"""Character references are resolved as the standard library does, and never fail."""

from html import unescape

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ppmproxy.auth.character_references import unescaped


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("&#65;&#x41;&#X41", "AAA"),
        ("&#" + "0" * 5000 + "65;", "A"),
        ("&#x" + "0" * 5000 + "41;", "A"),
        ("&#" + "9" * 5000 + ";!", "\ufffd!"),
        ("&#x" + "f" * 5000 + "!", "\ufffd!"),
        ("&#" + "0" * 5000, "\ufffd"),
        ("&#1114112;&#99999999;", "\ufffd\ufffd"),
        ("&amp;#65;&#;&#x;", "&#65;&#;&#x;"),
    ],
)
def test_a_number_may_have_any_length(text, expected):
    assert unescaped(text) == expected


@example("&#0f")
@given(st.lists(st.sampled_from(["&", "#", "x", "0", "9", "f", ";", "amp", "lt", "a", " "]), max_size=20).map("".join))
def test_any_short_text_becomes_what_the_standard_library_says(text):
    assert unescaped(text) == unescape(text)
