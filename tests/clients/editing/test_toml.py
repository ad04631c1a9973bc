import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppmproxy.clients.editing.apply import BrokenText, CannotEdit, apply_edits
from ppmproxy.clients.editing.edits import ANY, ReplaceValues, SetBlock, SetKey, UpsertEntry
from ppmproxy.clients.editing.toml import TOML
from ppmproxy.clients.editing.undo import Versions, undone

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

URL = "http://127.0.0.1:7760/pypi/latest/simple/"
OLD = "https://user:pass@old.example.com/simple"


def named(name):
    return lambda entry: entry.get("name") == name


def is_default(entry):
    return entry.get("default") is True


UV = UpsertEntry(("index",), (("url", URL), ("default", True)), is_default)
UV_IN_PROJECT = UpsertEntry(("tool", "uv", "index"), UV.values, is_default)
POETRY = UpsertEntry(
    ("tool", "poetry", "source"), (("name", "ppm"), ("url", URL), ("priority", "primary")), named("ppm")
)
PIPENV = UpsertEntry(("source",), (("url", URL),), named("pypi"), besides=(("verify_ssl", True), ("name", "pypi")))
FIRST = UpsertEntry(("source",), (("url", URL),), named("pypi"), besides=(("name", "pypi"),), goes_first=True)
LOCAL = ReplaceValues(("index", ANY, "url"), lambda url, _: url.replace(OLD, URL))
AUTHENTICATE = ReplaceValues(
    ("index", ANY, "authenticate"), lambda value, entry: "never" if entry["url"] == URL else value
)
PDM = SetKey(("pypi", "url"), URL)
EDITS = (UV, UV_IN_PROJECT, POETRY, PIPENV, PDM)

NEW_UV = f'[[index]]\nurl = "{URL}"\ndefault = true\n'
NEW_PROJECT_UV = f'[[tool.uv.index]]\nurl = "{URL}"\ndefault = true\n'


def edited(text, edit):
    return apply_edits(text, (edit,), TOML)


@pytest.mark.parametrize(
    ("edit", "before", "after"),
    [
        (UV, "", NEW_UV),
        (UV, "# mine\ncache-keys = []", f"# mine\ncache-keys = []\n\n{NEW_UV}"),
        (UV_IN_PROJECT, "[project]\nname = 'x'\n", f"[project]\nname = 'x'\n\n{NEW_PROJECT_UV}"),
        (UV_IN_PROJECT, "[tool.uv]\na = 1\n[tool.ruff]\n", f"[tool.uv]\na = 1\n[tool.ruff]\n\n{NEW_PROJECT_UV}"),
        (
            UV,
            '[[index]]\nurl = "a"\nname = "b" # c\n\n# about pip\n[pip]\nx = 1\n',
            f'[[index]]\nurl = "a"\nname = "b" # c\n\n{NEW_UV}\n# about pip\n[pip]\nx = 1\n',
        ),
        (
            UV,
            'index = [{ url = "a" }]\n[pip]\n',
            f'index = [{{ url = "a" }}, {{ url = "{URL}", default = true }}]\n[pip]\n',
        ),
        (UV, "index = []\n", f'index = [{{ url = "{URL}", default = true }}]\n'),
        (
            UV,
            'index = [ # c\n  { url = "a" },\n]\n',
            f'index = [ # c\n  {{ url = "a" }},\n{{ url = "{URL}", default = true }}]\n',
        ),
        (PDM, "", f'[pypi]\nurl = "{URL}"\n'),
        (PDM, "[pypi] # c\nverify_ssl = true\n[x]\n", f'[pypi] # c\nurl = "{URL}"\nverify_ssl = true\n[x]\n'),
        (PIPENV, "", f'[[source]]\nurl = "{URL}"\nverify_ssl = true\nname = "pypi"\n'),
    ],
)
def test_what_is_missing_is_added_where_it_parts_nothing(edit, before, after):
    assert edited(before, edit) == after


@pytest.mark.parametrize(
    ("edit", "before", "after"),
    [
        (UV, f"[[index]]\nurl = '{OLD}' # c\ndefault = true\n", f'[[index]]\nurl = "{URL}" # c\ndefault = true\n'),
        (UV, f'index = [{{url="{OLD}",default=true}}]', f'index = [{{url="{URL}",default=true}}]'),
        (
            UV,
            '# url = "a"\n[[index]]\nurl = "a"\n[[index]]\ndefault = true\n"url" = "a"\nauthenticate = "always"\n',
            f'# url = "a"\n[[index]]\nurl = "a"\n[[index]]\ndefault = true\n"url" = "{URL}"\nauthenticate = "always"\n',
        ),
        (
            LOCAL,
            f'# {OLD}\n[[index]]\nurl = \'{OLD}\'\n[[index]]\nname="b"\nurl = """{OLD}""" # {OLD}\nexplicit = true\n',
            f'# {OLD}\n[[index]]\nurl = \'{URL}\'\n[[index]]\nname="b"\nurl = """{URL}""" # {OLD}\nexplicit = true\n',
        ),
        (
            UV,
            f'index = [{{\n  url = "{OLD}", # c }}\n  default = true,\n}}]',
            f'index = [{{\n  url = "{URL}", # c }}\n  default = true,\n}}]',
        ),
        (UV, f'[[index]]\nurl = """{OLD}"""\ndefault = true\n', f'[[index]]\nurl = "{URL}"\ndefault = true\n'),
        (LOCAL, f'index = [{{url="{OLD}"}}, {{url="{OLD}"}}]', f'index = [{{url="{URL}"}}, {{url="{URL}"}}]'),
        (
            AUTHENTICATE,
            f'[[index]]\nurl = "a"\nauthenticate = "always"\n[[index]]\nurl = "{URL}"\nauthenticate = "always"\n',
            f'[[index]]\nurl = "a"\nauthenticate = "always"\n[[index]]\nurl = "{URL}"\nauthenticate = "never"\n',
        ),
        (
            FIRST,
            '# c\n[[source]]\nname = "pytorch"\nurl = "a"\n',
            f'# c\n[[source]]\nurl = "{URL}"\nname = "pypi"\n\n[[source]]\nname = "pytorch"\nurl = "a"\n',
        ),
        (PDM, f'pypi.url = "{OLD}"\n', f'pypi.url = "{URL}"\n'),
        (PDM, 'pypi = { url = "a", x = 1 }\n', f'pypi = {{ url = "{URL}", x = 1 }}\n'),
        (
            PIPENV,
            '[[source]]\nurl = "a"\nname = "pypi"\n[[source]]\nurl = "a"\n',
            f'[[source]]\nurl = "{URL}"\nname = "pypi"\n[[source]]\nurl = "a"\n',
        ),
        (
            POETRY,
            '[[tool.poetry.source]]\nname = "ppm"\nurl = "a"\n',
            f'[[tool.poetry.source]]\npriority = "primary"\nname = "ppm"\nurl = "{URL}"\n',
        ),
    ],
)
def test_an_entry_that_matches_is_changed_in_its_place(edit, before, after):
    assert edited(before, edit) == after


@pytest.mark.parametrize("edit", EDITS)
def test_a_second_time_changes_nothing(edit):
    once = edited("# c\n", edit)

    assert edited(once, edit) == once


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a = \n", 1),
        ("\n[x\n", 2),
        ("a = 1\na = 2\n", 2),
        ('a = "', 1),
        (f"a = {'[' * 5000}", 0),
        (f"a = {'9' * 5000}", 0),
    ],
)
def test_a_file_that_is_no_toml_is_reported_with_its_line(text, line):
    with pytest.raises(BrokenText) as caught:
        edited(text, UV)

    assert caught.value.line == line
    assert "(at " not in str(caught.value)


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (UV_IN_PROJECT, "tool = {}\n"),
        (UV_IN_PROJECT, "tool = 1\n"),
        (UV, "index = 1\n"),
        (UV, "index = ['a']\n"),
        (UV, "[index]\n"),
        (PDM, "pypi = 'x'\n"),
        (PDM, "[pypi]\nurl = ['a']\n"),
        (SetBlock(()), ""),
    ],
)
def test_a_file_with_no_place_for_it_is_not_touched(edit, text):
    with pytest.raises(CannotEdit):
        edited(text, edit)


# --- any file at all --------------------------------------------------------------------------------------------------

LINES = st.sampled_from(
    [
        "[[index]]", "[[source]]", "[[tool.uv.index]]", "[[ tool . 'uv' . index ]]", "[tool.uv]", "[tool]", "[pypi]",
        "[project]", "[index.x]", "", "# comment", f'url = "{OLD}"', "url = 'a' # c", '"url"="b"', "default = true",
        "default=false", 'name = "ppm"', "name = 'pypi'", 'authenticate = "always"', "a = [", "]", "1,", "a = 1.5",
        "b = nan", "c = 1979-05-27", 'd = """', '"""', "e = { url = 'a' }", "index = []", "index = [{url='a'}]",
        "index = [{url='a', default = true}] # c", "pypi.url = 'a'", "tool.uv.x = 1", "  url = 'indented'", "é = '☃'",
        "'a b' = 1", "url = '''", "'''",
    ]
)  # fmt: skip
TEXTS = st.builds(lambda lines, end: "\n".join(lines) + end, st.lists(LINES, max_size=8), st.sampled_from(["", "\n"]))


@given(TEXTS, st.sampled_from(EDITS))
def test_an_edit_keeps_every_line_that_it_does_not_replace(text, edit):
    try:
        after = edited(text, edit)
    except (BrokenText, CannotEdit):
        return

    assert URL in after
    assert edited(after, edit) == after
    kept = iter(after.split("\n"))
    touched = ("url", '"url"', "  url", "authenticate", "default", "name", "index", "pypi", "e = ")
    assert all(line in kept for line in text.split("\n") if line.strip() and not line.startswith(touched))


@given(TEXTS, st.sampled_from(EDITS))
def test_a_three_way_merge_restores_the_file(text, edit):
    try:
        ours = edited(text, edit)
        before, now = tomllib.loads(text), f"# somebody was here\n{ours}"
    except (BrokenText, CannotEdit):
        return

    found = undone(Versions(text, ours, now), TOML)

    assert found.left == 0
    assert str(tomllib.loads(found.text)) == str(before)
    assert found.text.rstrip("\n") == f"# somebody was here\n{text}".rstrip("\n")
