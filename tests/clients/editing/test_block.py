import pytest

from ppmproxy.clients.editing.apply import BrokenText, CannotEdit, apply_edits
from ppmproxy.clients.editing.block import BEGIN, END, MARKED
from ppmproxy.clients.editing.edits import SetBlock, SetKey
from ppmproxy.clients.editing.undo import Versions, undone

BLOCK = f"{BEGIN}\nlocal({{\n  x\n}})\n{END}\n"
EDIT = SetBlock(("local({", "  x", "})"))


def edited(text, edit=EDIT):
    return apply_edits(text, [edit], MARKED)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", BLOCK),
        ("a <- 1", f"a <- 1\n\n{BLOCK}"),
        ("a <- 1\n", f"a <- 1\n\n{BLOCK}"),
        (f"a\n{BEGIN}\nold\n{END}\nb\n", f"a\n{BLOCK}b\n"),
        (f"a\n  {BEGIN}  \n{END}", f"a\n{BLOCK}"),
        (BLOCK, BLOCK),
    ],
)
def test_the_block_is_at_the_end_or_where_it_was(before, after):
    assert edited(before) == after
    assert edited(after) == after


@pytest.mark.parametrize(
    ("text", "line"),
    [(f"a\n{BEGIN}\n", 2), (f"{END}\n", 1), (f"{END}\n{BEGIN}\n", 2), (BLOCK + BLOCK, 1), (f"{BEGIN}\n{BLOCK}", 1)],
)
def test_markers_that_do_not_match_are_reported_with_their_line(text, line):
    with pytest.raises(BrokenText, match="not there once each") as caught:
        edited(text)

    assert caught.value.line == line


def test_a_key_cannot_be_said_in_a_language_that_is_not_understood():
    with pytest.raises(CannotEdit):
        edited("", SetKey(("a",), "b"))


@pytest.mark.parametrize("before", ["", "a <- 1\n", "a <- 1"])
@pytest.mark.parametrize(("head", "tail"), [("# new\n", ""), ("", "# new\n"), ("# new\n", "# new\n")])
def test_what_others_add_afterwards_outlives_us(before, head, tail):
    ours = edited(before)

    found = undone(Versions(before, ours, head + ours + tail), MARKED)

    assert found.text.split() == (head + before + tail if not before else f"{head}{before}\n{tail}").split()
    assert found.left == 0


def test_a_block_that_somebody_has_changed_is_theirs():
    ours = edited("a\n")
    theirs = ours.replace("  x\n", "  y\n")

    assert undone(Versions("a\n", ours, theirs), MARKED).text == theirs
    assert undone(Versions("a\n", ours, theirs), MARKED).left == 1
