import configparser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppmproxy.clients.editing.apply import BrokenText, CannotEdit, apply_edits
from ppmproxy.clients.editing.edits import AddWord, SetBlock, SetKey
from ppmproxy.clients.editing.ini import INI
from ppmproxy.clients.editing.undo import Versions, undone

URL = "http://127.0.0.1:7760/pypi/latest/simple/"
OURS = f"index-url = {URL}\ntrusted-host = 127.0.0.1\n"
INDEX = SetKey(("global", "index-url"), URL)
HOST = AddWord(("global", "trusted-host"), "127.0.0.1")


def edited(text, *edits):
    return apply_edits(text, edits or (INDEX, HOST), INI)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", f"[global]\n{OURS}"),
        ("[install]\nx = 1", f"[install]\nx = 1\n\n[global]\n{OURS}"),
        (
            "# mine\n[global]\n; c\ntimeout=60\n\n# about install\n[install]\nx = 1\n",
            f"# mine\n[global]\n; c\ntimeout=60\n{OURS}\n# about install\n[install]\nx = 1\n",
        ),
        (
            "[global]\n\n[install]\nx = 1\n",
            f"[global]\n{OURS}\n[install]\nx = 1\n",
        ),
        (
            "[global]\n  a = 1\n  b = 2\n\n",
            f"[global]\n  a = 1\n  b = 2\n  index-url = {URL}\n  trusted-host = 127.0.0.1\n\n",
        ),
        (
            "[global]\nno-index =\n    true\n# end",
            f"[global]\nno-index =\n    true\n{OURS}# end",
        ),
    ],
    ids=["empty", "other-section", "comments", "empty-section", "indented", "long-value"],
)
def test_what_is_missing_comes_below_its_own_section_and_everything_else_stays(before, after):
    assert edited(before) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("[global]\nindex-url = https://old/\n", f"[global]\nindex-url = {URL}\n"),
        ("[global]\nIndex_URL:https://old/  \nx=1\n", f"[global]\nIndex_URL:{URL}\nx=1\n"),
        ("[global]\n--index-url=\n", f"[global]\n--index-url={URL}\n"),
        ("[global]\nindex-url = a\n  # in between\n  b\n\nx = 1\n", f"[global]\nindex-url = {URL}\n\nx = 1\n"),
        (
            "[install]\nindex-url = keep\n[global]\nindex-url = a",
            f"[install]\nindex-url = keep\n[global]\nindex-url = {URL}\n",
        ),
        ("[global]\n# index-url = keep\nindex-url = a # b\n", f"[global]\n# index-url = keep\nindex-url = {URL}\n"),
    ],
)
def test_a_value_is_replaced_where_it_stands_in_the_way_it_is_written(before, after):
    assert edited(before, INDEX) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("trusted-host = a", "trusted-host = a\n    127.0.0.1\n"),
        ("trusted-host = a b\nx=1\n", "trusted-host = a b\n    127.0.0.1\nx=1\n"),
        ("trusted-host =\n\ta\n\tb\n\nx=1\n", "trusted-host =\n\ta\n\tb\n\t127.0.0.1\n\nx=1\n"),
        ("trusted_host =\n  a\n  # c\n  b\n", "trusted_host =\n  a\n  # c\n  b\n  127.0.0.1\n"),
        ("trusted-host =\n", "trusted-host =\n    127.0.0.1\n"),
    ],
)
def test_a_word_comes_below_the_others(before, after):
    assert edited(f"[global]\n{before}", HOST) == f"[global]\n{after}"


@pytest.mark.parametrize("value", ["127.0.0.1", "a 127.0.0.1 b", "a\n  127.0.0.1\n  b"])
def test_a_word_that_is_there_is_not_added(value):
    assert edited(f"[global]\ntrusted-host = {value}\n", HOST) == f"[global]\ntrusted-host = {value}\n"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("index-url = x\n", 1, "no \\[section\\]"),
        ("# c\n\ngarbage\n", 3, "no \\[section\\]"),
        ("[global]\ngarbage\n", 2, "no key = value"),
        ("[global]\n= x\n", 2, "no key = value"),
        ("[a]\n[b]\n[a]\n", 3, "section \\[a\\] is there twice"),
        ("[a]\nx-y = 1\nX_Y = 2\n", 3, "key x-y is there twice"),
    ],
)
def test_a_file_that_pip_cannot_read_is_reported_with_its_line(text, line, words):
    with pytest.raises(BrokenText, match=words) as caught:
        edited(text)

    assert caught.value.line == line


def test_only_keys_and_words_can_be_said_in_ini():
    with pytest.raises(CannotEdit):
        edited("", SetBlock(()))


# --- any file at all --------------------------------------------------------------------------------------------------

LINES = st.sampled_from(
    [
        "[global]", "[install]", " [global]", "[ global ]", "[DEFAULT]", "[global] # c", "", "   ", "# comment", "; c",
        "  # indented", "index-url = https://u:p@old/", "index_url=a", "  index-url = b", "INDEX-URL : c",
        "  continued", "\tcontinued", "trusted-host = a", "trusted-host =", "    b c", "timeout = 60", "x", "= y", "[",
        "a = [b]", "é = ☃", "\udcff = 1", "k = a\x0cb", "k = \x85", "k\u2028 = 1", "\r", "a = 1\r", "%(x)s = %(y)s",
    ]
)  # fmt: skip
TEXTS = st.builds(lambda lines, end: "\n".join(lines) + end, st.lists(LINES, max_size=9), st.sampled_from(["", "\n"]))


def says(text):
    parser = configparser.RawConfigParser(default_section="\0")
    parser.read_string(text)
    return {name: dict(parser[name]) for name in parser.sections()}


@given(TEXTS)
def test_an_edit_makes_the_change_and_keeps_all_other_lines_in_order(text):
    try:
        after = edited(text)
    except (BrokenText, CannotEdit):
        return

    tree = INI.tree(after)
    assert tree["global"]["index-url"] == [URL]
    assert "127.0.0.1" in " ".join(tree["global"]["trusted-host"]).split()
    assert edited(after) == after
    kept = iter(after.split("\n"))
    values = ("index", "INDEX", " ", "\t", "trusted")  # or lines of a value that was replaced
    assert all(line in kept for line in text.split("\n") if line.strip() and not line.startswith(values))


@given(TEXTS)
def test_a_file_that_can_be_read_can_be_edited(text):
    try:
        before = says(text)
    except configparser.Error:
        return
    try:
        after = edited(text)
    except BrokenText:  # pip takes two spellings of a key for one
        return

    others = {name: section for name, section in before.items() if name != "global"}
    assert {name: section for name, section in says(after).items() if name != "global"} == others


@given(TEXTS, LINES)
def test_what_others_add_afterwards_outlives_us(text, line):
    try:
        ours = edited(text)
        now = f"{ours.rstrip()}\n{line}\n"
        wanted, found = INI.tree(now), undone(Versions(text, ours, now), INI)
    except (BrokenText, CannotEdit):
        return

    left = INI.tree(found.text)
    assert URL not in found.text or found.left
    for section, keys in wanted.items():
        for key, value in keys.items():
            if (section, key) not in {INDEX.path, HOST.path}:
                assert left[section][key] == value
