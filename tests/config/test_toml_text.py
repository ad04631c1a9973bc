import contextlib
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppmproxy.config.toml_text import TomlError, parse_toml, statements, without_bom

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@pytest.mark.parametrize(
    "statement",
    [
        "a = 1\n",
        "a.b = 1 # [x\n",
        'a = [\n  "x", # ]\n  [1],\n]\n',
        "a = { b = [1, 2] }\n",
        'a = """\n[b]\n"\n"""\n',
        'a = """x\\"""\n""" # end\n',
        'a = """""x"""""\n',
        'a = """"""\n',
        "a = '''\n[b]\n'''\n",
        "a = '''''x'''''\n",
        'a = "\\"[" # "\n',
        "a = '[' # '\n",
        "[ a . 'b]' ]\n",
        '[["a\\"]".b]]\n',
        "# a 'comment'\n",
        "\n",
        "  \r\n",
        "a = 1\r\n",
    ],
)
def test_a_statement_ends_at_its_own_line_end(statement):
    before, behind = "first = '['\n", "last = 1\n"

    found = statements(before + statement + behind)

    assert [one.text for one in found] == [before, statement, behind]
    assert [one.line for one in found] == [1, 2, 2 + statement.count("\n")]
    assert found[1].values == tomllib.loads(statement)


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("a = 1\nb = \n", 2, 5),
        ("a = 1\nb = [1,", 2, 8),
        ('a = "x\n', 1, 7),
        ("a = 1\na = 2", 2, 6),
        ("a = " + "9" * 5000, 0, 0),
        ("a = " + "[" * 20_000, 0, 0),
        ("\ufeffa = \n", 1, 5),
        ("a = '\x00'", 1, 6),
    ],
)
def test_the_error_for_a_text_that_is_not_toml_has_its_position(text, line, column):
    with pytest.raises(TomlError) as caught:
        parse_toml(text)

    assert (caught.value.line, caught.value.column) == (line, column)
    assert "line" not in str(caught.value)


@settings(deadline=None)
@given(st.text(max_size=30))
def test_any_text_is_parsed_or_a_toml_error(text):
    with contextlib.suppress(TomlError):
        assert isinstance(parse_toml(text), dict)


@pytest.mark.parametrize(
    ("text", "is_header", "is_comment", "is_blank", "table"),
    [
        ("[a.b]\n", True, False, False, ("a", "b")),
        ("[[a.'b.c']] # d\n", True, False, False, ("a", "b.c")),
        ("a = [1]\n", False, False, False, ()),
        ("# [a]\n", False, True, False, ()),
        (" \n", False, False, True, ()),
    ],
)
def test_a_statement_knows_its_kind(text, is_header, is_comment, is_blank, table):
    (found,) = statements(text)

    assert (found.is_header, found.is_comment, found.is_blank) == (is_header, is_comment, is_blank)
    assert found.table == table


@settings(deadline=None)
@given(st.lists(st.sampled_from(['"', '"""', "'", "'''", "\\", "[", "]", "{", "}", "#", "=", "a", "1", "\n", "\r\n"])))
def test_the_statements_of_any_text_are_the_text(pieces):
    text = "".join(pieces)

    assert "".join(one.text for one in statements(text)) == text


@settings(deadline=None)
@given(st.text(max_size=30))
def test_no_text_makes_it_fail(text):
    assert "".join(one.text for one in statements(text)) == without_bom(text)


def test_an_array_of_ten_thousand_lines_is_cut_in_one_pass():
    text = "a = [\n" + '  "x",\n' * 10_000 + "]\nb = 1\n"

    assert [one.line for one in statements(text)] == [1, 10_003]
