"""Claims about `ppmproxy exec`: the project's files that name the proxy."""

import sys
from pathlib import Path

import pytest
from exec_person import python

UV = Path(sys.executable).with_name("uv")


PROJECT = """\
[project]
name = "team"
version = "1"
requires-python = ">=3.10"

[[tool.uv.index]]
name = "company"
url = "{base}/pypi/latest/simple/"
default = true
"""


@pytest.fixture
def project(person, server):
    """A project with uv whose index is the Package Manager itself."""
    if not UV.exists():
        pytest.skip("uv is not installed: python -m pip install uv")
    (person.folder / ".git").mkdir()
    (person.folder / "pyproject.toml").write_text(PROJECT.format(base=server.url))
    person.environ |= {"UV_PYTHON": sys.executable, "UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1"}
    return person


def uv(*words):
    return ("--", str(UV), *words, "--no-sync", "--no-cache")


async def test_files_that_the_command_made_name_the_proxy_are_named_on_one_line(project):
    end = await project.runs(*uv("add", "hello"))

    note = [line for line in end.output.splitlines() if line.startswith("ppmproxy:")]
    assert end.code == 0
    assert len(note) == 1
    assert "pyproject.toml, uv.lock now name the proxy" in note[0]
    assert "ppmproxy lock canonical" in note[0]


async def test_a_command_that_leaves_the_project_alone_has_no_such_line(project):
    (project.folder / "uv.lock").write_text(f'url = "http://{project.environ["PPMPROXY_LISTEN"]}/x"\n')

    end = await project.runs("true")

    assert (end.code, end.output) == (0, "")


async def test_canonical_lock_keeps_every_file_of_a_project_the_package_manager_s(project, server):
    end = await project.runs("--canonical-lock", *uv("add", "hello"))

    texts = {name: (project.folder / name).read_text() for name in ("pyproject.toml", "uv.lock")}
    assert end.code == 0
    assert not [line for line in end.output.splitlines() if line.startswith("ppmproxy:")]
    assert f'url = "{server.url}/pypi/latest/simple/"' in texts["pyproject.toml"]
    assert f"{server.url}/pypi/latest/" in texts["uv.lock"]
    assert not any(
        "127.0.0.1:" + project.environ["PPMPROXY_LISTEN"].rpartition(":")[2] in one for one in texts.values()
    )


async def test_canonical_lock_ends_canonical_when_the_command_changes_nothing(project, server):
    file = project.folder / "uv.lock"
    file.write_text(f'url = "http://{project.environ["PPMPROXY_LISTEN"]}/pypi/latest/simple/"\n')

    end = await project.runs("--canonical-lock", "true")

    assert (end.code, end.output) == (0, "")
    assert file.read_text() == f'url = "{server.url}/pypi/latest/simple/"\n'


async def test_an_explicit_index_that_is_the_package_manager_leads_here(project, server):
    """Without the variable uv would ask the Package Manager itself, which refuses it."""
    base = f"{server.url}/pypi/2026-01-01/simple/"
    (project.folder / "pyproject.toml").write_text(
        PROJECT.format(base=server.url).partition("[[")[0]
        + 'dependencies = ["hello"]\n\n[tool.uv.sources]\nhello = { index = "company" }\n\n'
        + f'[[tool.uv.index]]\nname = "company"\nurl = "{base}"\nexplicit = true\n'
    )

    end = await project.runs("--canonical-lock", "--", str(UV), "lock", "--no-cache")
    seen = await project.runs(*python("import os; print(os.environ['UV_INDEX'])"))

    assert end.code == 0
    assert base in (project.folder / "uv.lock").read_text()
    assert seen.output.splitlines()[0] == f"company=http://{project.environ['PPMPROXY_LISTEN']}/pypi/2026-01-01/simple/"


async def test_a_script_that_uv_adds_to_is_named_and_kept_canonical(project, server):
    script = project.folder / "tool.py"
    script.write_text("import hello\n")

    named = await project.runs(*uv("add", "hello", "--script", "tool.py"))
    kept = await project.runs("--canonical-lock", "true")

    assert "tool.py now names the proxy" in named.output
    assert (kept.code, kept.output) == (0, "")
    assert f'url = "{server.url}/pypi/latest/simple/"' in script.read_text()
