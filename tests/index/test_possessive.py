"""Possessive repeats find the same as ordinary ones, which a Python without them gets."""

import re
import sys
from html import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rewritten_pages import UPSTREAM

from ppmproxy.index import html_links, json_links, possessive

ORDINARY = [
    ("a*+", "a*"),
    ("a++", "a+"),
    ("a?+", "a?"),
    ('(?:"[^"]*+")*', '(?:"[^"]*")*'),
    ("a+", "a+"),
    ("[a+~]", "[a+~]"),
    (r"\+a", r"\+a"),
]

PATTERNS = (
    html_links._ALIKE,
    html_links._ORDINARY,
    json_links._TO_PLAIN_LINK_UNESCAPED,
    json_links._TO_PLAIN_LINK_ESCAPED,
    json_links._NEXT_SIMPLE,
)
PARTS = [
    '<a href="',
    UPSTREAM,
    "/x",
    "/x-1.0.whl",
    "#sha256=0f",
    '"',
    ' data-yanked="',
    " title",
    "=",
    ">",
    "</a>",
    "<br />",
]
PARTS += ["<a", "<p>", "</p", "<script>", "\n", "text", escape("<b>"), "-", "/", "{", "}", "[", "]", ":", ",", '"url"']
PARTS += ['"provenance"', '"url": "', '"}, {"', "null", "\\", "\\n", " "]
PAGES = st.lists(st.sampled_from(PARTS), max_size=30).map("".join).map(str.encode)


@pytest.fixture
def without(monkeypatch):
    monkeypatch.setattr(possessive, "_KNOWN", False)


@pytest.mark.parametrize(("pattern", "ordinary"), ORDINARY)
def test_a_python_without_possessive_repeats_is_given_ordinary_ones(without, pattern, ordinary):
    assert possessive.repeats(pattern) == ordinary
    assert possessive.repeats(pattern.encode()) == ordinary.encode()


@pytest.mark.skipif(sys.version_info < (3, 11), reason="compares the two, and this Python has but one")
@given(PAGES)
@settings(deadline=None)
def test_ordinary_repeats_find_the_same_in_any_page(page):
    for pattern in PATTERNS:
        for at in range(0, len(page), 7):
            assert span(pattern.match(page, at)) == span(ordinary(pattern).match(page, at))


def test_no_group_is_repeated_possessively():
    for pattern in PATTERNS:
        assert not re.search(rb"\)(?:[*+?]|\{[0-9,]*\})\+", pattern.pattern)


@pytest.mark.parametrize(
    "part", [b"</a>", b"<br />", b"<p>x</p>", b'<a href="/x" data-x="1" data-y="2">', b"<a ", b'"x": {},']
)
def test_no_way_back_is_tried_twice(part):
    page = part * 2000
    for pattern in (*PATTERNS, *map(ordinary, PATTERNS)):
        pattern.match(page)  # would take years


def ordinary(pattern):
    return re.compile(possessive._POSSESSIVE.sub("", pattern.pattern.decode()).encode(), pattern.flags)


def span(match):
    return match and [match.span(group) for group in range(match.re.groups + 1)]
