import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppmproxy.clients.editing.apply import BrokenText, CannotEdit, apply_edits
from ppmproxy.clients.editing.edits import SetBlock, SetKey
from ppmproxy.clients.editing.json import JSON
from ppmproxy.clients.editing.undo import Versions, undone

URL = "http://127.0.0.1:7760/cran/latest"
NEW = f'    "r.default": "auto",\n    "r.repo": "{URL}"'
EDITS = (SetKey(("r.repo",), URL), SetKey(("r.default",), "auto"))
NESTED = (SetKey(("env", "A"), "1"), SetKey(("env", "B"), "2"))


def edited(text, *edits):
    return apply_edits(text, edits or EDITS, JSON)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", f"{{\n{NEW}\n}}\n"),
        ("{}", f"{{\n{NEW}\n}}"),
        ("// mine\n/* { */\n", f"// mine\n/* {{ */\n{{\n{NEW}\n}}\n"),
        ('{\n  "a": 1\n}\n', f'{{\n{NEW.replace("    ", "  ")},\n  "a": 1\n}}\n'),
        ('{\n\t// c\n\t"a": 1\n}\n', f'{{\n{NEW.replace("    ", chr(9))},\n\t// c\n\t"a": 1\n}}\n'),
        (
            '{\n    // {\n    "a": { "r.repo": 1 }, /* { */\n}\n',
            f'{{\n{NEW},\n    // {{\n    "a": {{ "r.repo": 1 }}, /* {{ */\n}}\n',
        ),
        ('{"r.repo": null, "r.default" : "none"}', f'{{"r.repo": "{URL}", "r.default" : "auto"}}'),
        ('{"x": "// no { comment", "r.repo": "b\\"", "r.default":"auto",}', None),
    ],
)
def test_keys_come_first_in_their_object_in_its_indentation_or_change_where_they_are(before, after):
    expected = after or before.replace('"b\\""', f'"{URL}"')

    assert edited(before) == expected
    assert edited(expected) == expected


def test_objects_on_the_way_are_made_or_found():
    made = edited("{}", *NESTED)

    assert json.loads(made) == {"env": {"A": "1", "B": "2"}}
    assert edited('{"env": {"x": "{"}}', *NESTED) == '{"env": {\n        "B": "2",\n        "A": "1",\n"x": "{"}}'
    assert json.loads(edited('{"env": {}}', *NESTED)) == {"env": {"A": "1", "B": "2"}}


@pytest.mark.parametrize(
    ("text", "line"),
    [("{\n", 2), ("[]", 1), ("1", 1), ('{\n/* a\nb */ "x"\n}', 4), ("{'a': 1}", 1), ('{"a":' * 9999, 0)],
)
def test_a_file_that_is_no_json_is_reported_with_its_line(text, line):
    with pytest.raises(BrokenText) as caught:
        edited(text)

    assert caught.value.line == line


@pytest.mark.parametrize(
    ("text", "edits"),
    [('{"env": 1}', NESTED), ('{"r.repo": []}', EDITS), ('{"\\u0072.repo": 1}', EDITS), ("{}", (SetBlock(()),))],
)
def test_a_file_with_no_place_for_it_is_not_touched(text, edits):
    with pytest.raises(CannotEdit):
        edited(text, *edits)


@pytest.mark.parametrize(
    ("find", "replace"),
    [
        (r"\{", '{\n    "mine": 1,'),
        (r"\n\}", ',\n    "mine": 1\n}'),
        (r'"r.default"', '"mine": 1, // c\n    "r.default"'),
    ],
    ids=["first", "last", "between"],
)
@pytest.mark.parametrize("before", ["", "{}\n", '{\n    "a": {"b": 1}\n}\n', '{\n    "r.repo": "old"\n}\n'])
def test_what_others_add_afterwards_outlives_us(before, find, replace):
    ours = edited(before)
    now = re.sub(find, replace, ours, count=1)

    found = undone(Versions(before, ours, now), JSON)

    assert found.left == 0
    assert JSON.tree(found.text) == {**JSON.tree(before), "mine": 1}


SCALARS = st.none() | st.booleans() | st.text() | st.integers()
OBJECTS = st.recursive(SCALARS, lambda below: st.dictionaries(st.text(), below, max_size=3), max_leaves=8)


@given(st.dictionaries(st.text(), OBJECTS, max_size=4))
def test_any_object_is_edited_without_a_change_to_the_rest(tree):
    text = json.dumps(tree, indent=4)

    assert json.loads(edited(text)) == {**tree, "r.repo": URL, "r.default": "auto"}
