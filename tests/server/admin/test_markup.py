"""Claims about `markup`: no value becomes a tag, an attribute or a script, whatever it is."""

import ast
import html
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppmproxy.server.admin.markup import Html, joined, link, markup, prose

ADMIN = Path(__file__).resolve().parents[3] / "ppmproxy" / "server" / "admin"
HOSTILE = [
    "<script>alert(1)</script>",
    '" onmouseover="alert(1)',
    "' onmouseover='alert(1)",
    "</title><img src=x onerror=alert(1)>",
    "{name}{0}{value.__class__}",
    "&lt;script&gt;",
    "\u202egnp.exe",
    "a\x00b\x1bc",
    "\ud800",
]


class Seen(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.tags, self.text = [], ""

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


def seen(text):
    parser = Seen()
    parser.feed(text)
    parser.close()
    return parser


@pytest.mark.parametrize("value", HOSTILE)
def test_a_value_is_text_and_nothing_else(value):
    read = seen(markup('<p title="{value}">{value}</p>', value=value))

    assert [tag for tag, _ in read.tags] == ["p"]
    assert list(read.tags[0][1]) == ["title"]
    assert read.text == read.tags[0][1]["title"]


@given(st.text(max_size=60))
def test_any_text_comes_back_as_it_was_but_for_what_cannot_be_printed(value):
    read = seen(markup('<p title="{value}">{value}</p>', value=value))

    assert [tag for tag, _ in read.tags] == ["p"]
    if value.isprintable():
        assert read.text == value


def test_html_is_filled_in_as_it_is_and_nothing_escapes_twice():
    assert markup("<ul>{item}</ul>", item=markup("<li>{x}</li>", x="a & b")) == "<ul><li>a &amp; b</li></ul>"
    assert markup("{x}", x=None) == ""
    assert joined([markup("{x}", x=1), markup("{x}", x="<")]) == "1&lt;"


def test_what_turns_the_direction_of_text_is_not_passed_on():
    assert markup("{x}", x="\u202eabc\u2066") == "\ufffdabc\ufffd"


def test_a_sum_of_html_and_text_is_text():
    assert type(Html("<b>") + "<script>") is str
    assert markup("{x}", x=Html("<b>") + "<script>") == html.escape("<b><script>")


@pytest.mark.parametrize(
    "address", ["javascript:alert(1)", "data:text/html,x", "//evil.test", "", " https://x", "vbscript:x"]
)
def test_only_a_web_address_becomes_a_link(address):
    assert seen(link(address, "text")).tags == []


def test_a_link_opens_a_window_that_knows_nothing_of_this_one():
    [(tag, attributes)] = seen(link('https://pm.test/?a="b', "open")).tags

    assert (tag, attributes["href"], attributes["rel"]) == ("a", 'https://pm.test/?a="b', "noopener noreferrer")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("run `ppmproxy login`, please", "run <code>ppmproxy login</code>, please"),
        ("`<b>`", "<code>&lt;b&gt;</code>"),
        ("an odd ` one", "an odd ` one"),
        ("", ""),
    ],
)
def test_commands_of_a_sentence_are_shown_as_such(text, shown):
    assert prose(text) == shown


def test_every_template_is_a_constant_of_the_program():
    """What is put together from values is no template: it would not be escaped."""
    found = []
    for path in ADMIN.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        constants = {
            target.id
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
        }
        for call in [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]:
            if call.func.id in {"markup", "Html"} and call.args and path.name != "markup.py":
                first = call.args[0]
                is_constant = isinstance(first, ast.Constant) or (isinstance(first, ast.Name) and first.id in constants)
                found.append((path.name, call.lineno, is_constant))

    assert len(found) > 40
    assert [place for *place, is_constant in found if not is_constant] == []
