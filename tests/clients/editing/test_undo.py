import pytest

from ppmproxy.clients.editing.apply import CannotEdit
from ppmproxy.clients.editing.ini import INI
from ppmproxy.clients.editing.toml import TOML
from ppmproxy.clients.editing.undo import Versions, tree_without_us, undone

URL = "http://127.0.0.1:7760/"


@pytest.mark.parametrize(
    ("before", "ours", "now", "wanted", "left"),
    [
        ({}, {}, {"a": 1}, {"a": 1}, 0),
        ({}, {"u": 1}, {"u": 1}, {}, 0),
        ({}, {"u": 1}, {"u": 1, "a": 2}, {"a": 2}, 0),
        ({}, {"u": 1}, {"u": 3}, {"u": 3}, 1),
        ({}, {"u": 1}, {}, {}, 0),
        ({"u": 0}, {"u": 1}, {"u": 1, "a": 2}, {"u": 0, "a": 2}, 0),
        ({"u": 0}, {"u": 1}, {"u": 0}, {"u": 0}, 0),
        ({"u": 0}, {"u": 1}, {"u": 2}, {"u": 2}, 1),
        ({"u": 0}, {"u": 1}, {"a": 2}, {"a": 2}, 1),
        ({"u": True}, {"u": False}, {"u": False}, {"u": True}, 0),
        ({}, {"t": {"u": 1}}, {"t": {"u": 1, "a": 2}}, {"t": {"a": 2}}, 0),
        ({}, {"t": {"u": 1, "v": 1}}, {"t": {"u": 1, "v": 2}}, {"t": {"v": 2}}, 1),
        ({"t": {}}, {"t": {"u": 1}}, {"t": {"u": 1}, "a": 2}, {"t": {}, "a": 2}, 0),
        ({}, {"l": ["us"]}, {"l": ["us"]}, {}, 0),
        ({}, {"l": ["us"]}, {"l": ["a", "us", "b"]}, {"l": ["a", "b"]}, 0),
        ({"l": ["a"]}, {"l": ["a", "us"]}, {"l": ["a", "us", "b"]}, {"l": ["a", "b"]}, 0),
        ({"l": ["a"]}, {"l": ["a", "us"]}, {"l": ["b"]}, {"l": ["b"]}, 1),
        ({"l": ["old"]}, {"l": ["us"]}, {"l": ["us", "b"]}, {"l": ["old", "b"]}, 0),
        ({"l": [{"u": 0, "n": 1}]}, {"l": [{"u": 1, "n": 1}]}, {"l": [{}, {"u": 1}]}, {"l": [{}, {"u": 0}]}, 0),
        ({"l": [{"u": 0}]}, {"l": [{"u": 1}]}, {"l": [{"u": 2}]}, {"l": [{"u": 2}]}, 1),
        ({}, {"l": [{"u": 1}]}, {"l": [{"u": 1, "n": 2}]}, {"l": [{"u": 1, "n": 2}]}, 1),
    ],
)
def test_our_changes_are_taken_back_where_they_stand_and_everything_else_stays(before, ours, now, wanted, left):
    assert tree_without_us(before, ours, now) == (wanted, left)


@pytest.mark.parametrize(
    ("before", "ours", "now", "wanted"),
    [
        ("", "[g]\nu = 1\nt = 2\n", "[g]\nu = 1\nt = 2\na = 3\n", "[g]\na = 3\n"),
        ("", "[g]\nu = 1\nt = 2\n", "[g]\na = 3\nu = 1\n\nt = 2\n", "[g]\na = 3\n\n"),
        ("[x]\ny = 1", "[x]\ny = 1\n\n[g]\nu = 1\n", "[x]\ny = 2\n\n[g]\nu = 1\n", "[x]\ny = 2\n"),
        ("[g]\nu = old\n  more\n", "[g]\nu = 1\n", "# c\n[g]\nu = 1\nz = 1\n", "# c\n[g]\nu = old\n  more\nz = 1\n"),
        ("[g]\nt =\n  a\n", "[g]\nt =\n  a\n  us\n", "[g]\nt =\n  us\n  b\n", "[g]\nt =\n  b\n"),
        # as `pip config set` writes a file anew
        ("# c\n[g]\nt=2", "# c\n[g]\nt=2\nu = 1\n", "[g]\nt = 2\nu = 1\na = 3\n\n", "[g]\nt = 2\na = 3\n\n"),
    ],
)
def test_ini_text_loses_only_our_lines(before, ours, now, wanted):
    assert undone(Versions(before, ours, now), INI).text == wanted


@pytest.mark.parametrize(
    ("before", "ours", "now", "wanted"),
    [
        (
            "[p]\nx = 1\n",
            f'[p]\nx = 1\n\n[[index]]\nurl = "{URL}"\n',
            f'[p]\nx = 2\n\n[[index]]\nurl = "{URL}"\n[[index]]\nurl = "other"\n',
            '[p]\nx = 2\n[[index]]\nurl = "other"\n',
        ),
        ("", f'[pypi]\nurl = "{URL}"\n', f'[pypi]\nurl = "{URL}"\nssl = true\n', "[pypi]\nssl = true\n"),
        (
            "[[index]]\nurl = 'old' # c\n",
            f'[[index]]\nurl = "{URL}" # c\n',
            f'[[index]]\nname = "n"\nurl = "{URL}" # c\n',
            "[[index]]\nname = \"n\"\nurl = 'old' # c\n",
        ),
    ],
)
def test_toml_text_loses_only_our_lines(before, ours, now, wanted):
    assert undone(Versions(before, ours, now), TOML).text == wanted


def test_an_entry_of_ours_that_somebody_has_made_their_own_stays():
    ours = f'[[index]]\nurl = "{URL}"\n'
    theirs = ours + 'name = "mine"\n'

    found = undone(Versions("", ours, theirs), TOML)

    assert (found.text, found.left) == (theirs, 1)


def test_lines_that_cannot_be_told_from_others_are_not_guessed():
    before, ours = "x = 1\n", f'x = 1\nindex = [{{ url = "{URL}" }}]\n'
    rewritten = f"index = [ {{ url = '{URL}' }} ]\nx = 2\n"

    with pytest.raises(CannotEdit):
        undone(Versions(before, ours, rewritten), TOML)
