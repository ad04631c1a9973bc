"""Claims about the table of the clients."""

import pytest
from client_tools import TOOLS, UV_PYLOCK
from compatibility_table import BEGIN, COLUMNS, END, INTERCEPT, NONE, ROWS, cells, is_whole, table, with_table
from other_tools import OTHERS

OF_R = ("R", "remotes", "renv")
EVERYTHING = [(client, column, "yes") for client, columns in ROWS.items() for column in columns]


def test_every_client_has_a_row_with_what_it_has_commands_for():
    commands = {"install": "install", "lock": "lock", "upload": "upload"}
    has = {
        str(tool): {column for column, field in commands.items() if getattr(tool, field)} | {"error shown"}
        for tool in (*TOOLS, *OTHERS)
    }

    of_python = {client: {*columns} - {INTERCEPT} for client, columns in ROWS.items() if client not in OF_R}
    assert of_python == has
    assert str(UV_PYLOCK) in ROWS


def test_a_cell_says_yes_only_when_all_its_tests_do():
    found = [("uv", "lock", "yes"), ("uv", "lock", "yes"), ("PDM", "upload", "yes"), ("PDM", "upload", "with `-v`")]

    assert cells(found) == {("uv", "lock"): "yes", ("PDM", "upload"): "with `-v`"}


def test_a_table_is_whole_when_no_result_is_missing():
    assert is_whole(cells(EVERYTHING))
    assert not is_whole(cells(EVERYTHING[1:]))


def test_the_table_has_a_line_for_each_client_and_a_dash_for_what_it_cannot_do():
    lines = table(cells(EVERYTHING)).splitlines()

    assert lines[0] == f"| client | {' | '.join(COLUMNS)} |"
    assert len(lines) == 2 + len(ROWS)
    assert f"| twine | {NONE} | {NONE} | yes | yes | yes |" in lines


def test_the_table_goes_between_the_markers_and_nothing_else_changes():
    assert with_table(f"a\n{BEGIN}\nold\n{END}\nb", "new") == f"a\n{BEGIN}\nnew\n{END}\nb"


@pytest.mark.parametrize("text", ["", BEGIN, END])
def test_a_text_without_markers_is_an_error(text):
    with pytest.raises(ValueError, match="are not there"):
        with_table(text, "new")
