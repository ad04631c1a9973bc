"""Claims about a project's files: which they are, how far the project reaches, and what is passed over."""

import os
import re
from pathlib import Path

import pytest

from ppmproxy.clients.project_files import (
    KNOWN_NAMES,
    files_in,
    project_files,
    project_owners,
    project_root,
    records_indexes,
)

ME = frozenset({os.getuid()})
SCRIPT = '# /// script\n# dependencies = ["six"]\n# ///\nimport six\n'


def make(folder, *names, text="x\n"):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir(exist_ok=True)
        else:
            path.write_text(text)


def found(folder, root=None):
    return sorted(path.relative_to(folder).as_posix() for path in files_in(folder, root or folder).paths)


@pytest.mark.parametrize(
    ("name", "is_known"),
    [
        ("uv.lock", True),
        ("poetry.lock", True),
        ("pdm.lock", True),
        ("Pipfile.lock", True),
        ("renv.lock", True),
        ("packrat.lock", True),
        ("pkg.lock", True),
        ("pixi.lock", True),
        ("script.py.lock", True),
        ("pex.lock", True),
        ("lock.json", True),
        ("pylock.toml", True),
        ("pylock.dev.toml", True),
        ("pyproject.toml", True),
        ("Pipfile", True),
        ("manifest.json", True),
        ("requirements.txt", True),
        ("requirements-dev.txt", True),
        ("dev-requirements.txt", True),
        ("requirements.in", True),
        ("constraints.txt", True),
        ("constraints-3.12.txt", True),
        ("Cargo.lock", False),
        ("package-lock.json", False),
        ("xuv.lock", False),
        ("uv.lock.bak", False),
        ("notes.txt", False),
    ],
)
def test_files_are_known_by_their_names_and_to_pre_commit_too(name, is_known):
    hooks = (Path(__file__).resolve().parents[2] / ".pre-commit-hooks.yaml").read_text()
    pattern = re.search(r"&lock_files '(.*)'", hooks)[1]

    assert (KNOWN_NAMES.fullmatch(name) is not None) is is_known
    assert (re.search(pattern, name) is not None) is is_known
    assert (re.search(pattern, f"a/b/{name}") is not None) is is_known


@pytest.mark.parametrize(
    ("name", "is_known"), [("requirements/dev.txt", True), ("app/main.py", True), ("a.txt", False)]
)
def test_pre_commit_passes_scripts_and_folders_of_requirements_too(name, is_known):
    hooks = (Path(__file__).resolve().parents[2] / ".pre-commit-hooks.yaml").read_text()

    assert (re.search(re.search(r"&lock_files '(.*)'", hooks)[1], name) is not None) is is_known


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("tool.py", SCRIPT, True),
        ("tool.py", SCRIPT.replace("\n", "\r\n"), True),
        ("tool.py", "import six\n", False),
        ("tool.py", "x = '''\n#/// script\n'''\n", False),
        ("default.lock", '// pants\n{"pex_version": "2.1", "locked_resolves": []}', True),
        ("Cargo.lock", "version = 3\n", False),
        ("requirements/dev.txt", "six\n", True),
        ("docs/dev.txt", "six\n", False),
    ],
)
def test_where_names_vary_the_content_decides(tmp_path, name, text, expected):
    make(tmp_path, name, text=text)

    assert records_indexes(tmp_path / name) is expected


def test_files_are_found_in_any_folder_but_not_in_environments_and_caches(tmp_path):
    make(tmp_path, "pyproject.toml", "a/b/requirements.txt", ".devcontainer/requirements.txt", "requirements/dev.txt")
    make(
        tmp_path, ".venv/pyvenv.cfg", ".venv/requirements.txt", "node_modules/x/manifest.json", ".git/requirements.txt"
    )
    make(tmp_path, "cache/CACHEDIR.TAG", "cache/uv.lock", ".cache/uv.lock", "renv/library/x/renv.lock", "renv.lock")

    assert found(tmp_path) == [
        ".devcontainer/requirements.txt",
        "a/b/requirements.txt",
        "pyproject.toml",
        "renv.lock",
        "requirements/dev.txt",
    ]


@pytest.mark.parametrize(
    ("made", "root"),
    [
        ((".git/", "a/b/pyproject.toml"), ""),
        (("a/.git", "pyproject.toml"), "a"),
        (("a/pyproject.toml", "a/b/pyproject.toml"), "a"),
        (("Pipfile",), ""),
    ],
)
def test_a_project_reaches_up_to_its_repository_or_its_outermost_project_file(tmp_path, made, root):
    (tmp_path / "a" / "b").mkdir(parents=True)
    make(tmp_path, *made)

    assert project_root(tmp_path / "a" / "b", ME) == tmp_path / root


def test_without_a_project_only_the_folder_itself_is_searched(tmp_path):
    make(tmp_path, "a/b/uv.lock")

    assert project_files(tmp_path, ME).paths == ()


def test_a_folder_with_a_file_of_a_project_is_one(tmp_path):
    make(tmp_path, "requirements.txt", "a/requirements.txt")

    assert project_files(tmp_path, ME).paths == (tmp_path / "requirements.txt", tmp_path / "a/requirements.txt")


def test_a_folder_of_another_user_is_no_project(tmp_path):
    make(tmp_path, ".git/", "a/uv.lock")

    others = frozenset({os.getuid() + 1})

    assert project_root(tmp_path / "a", others) is None
    found = project_files(tmp_path / "a", others)
    assert (found.paths, found.roots) == ((), frozenset())
    assert [one.path for one in found.skipped] == [tmp_path / "a"]


@pytest.mark.parametrize(
    ("environ", "uid", "owners"),
    [
        ({}, 1000, {1000}),
        ({"SUDO_UID": "7"}, 1000, {1000}),
        ({"SUDO_UID": "7"}, 0, {0, 7}),
        ({"SUDO_UID": "x"}, 0, {0}),
    ],
)
def test_under_sudo_the_caller_s_folders_are_projects_too(environ, uid, owners):
    assert project_owners(environ, uid) == owners


def test_a_link_out_of_the_project_is_passed_over_and_one_inside_is_not(tmp_path):
    make(tmp_path, "project/.git/", "project/deep/real.txt", "pip.conf")
    (tmp_path / "project/requirements-dev.txt").symlink_to(tmp_path / "pip.conf")
    (tmp_path / "project/requirements.txt").symlink_to("deep/real.txt")
    (tmp_path / "project/outside").symlink_to(tmp_path)

    result = project_files(tmp_path / "project", ME)

    assert result.paths == (tmp_path / "project/requirements.txt",)
    assert [one.path for one in result.skipped] == [tmp_path / "project/requirements-dev.txt"]


def test_a_file_and_a_link_to_it_are_one(tmp_path):
    make(tmp_path, "z/requirements.txt")
    (tmp_path / "requirements.txt").symlink_to("z/requirements.txt")

    assert found(tmp_path) == ["z/requirements.txt"]


@pytest.mark.skipif(os.getuid() == 0, reason="root may read every folder")
def test_a_folder_that_cannot_be_read_is_named(tmp_path):
    make(tmp_path, "closed/uv.lock", "uv.lock")
    (tmp_path / "closed").chmod(0)

    result = files_in(tmp_path, tmp_path)
    (tmp_path / "closed").chmod(0o700)

    assert list(map(str, result.skipped)) == [f"{tmp_path / 'closed'} cannot be read (permission denied): left alone"]


def test_a_search_of_too_many_folders_is_given_up_and_reported(tmp_path):
    make(tmp_path, *(f"{number}/uv.lock" for number in range(5)))

    result = files_in(tmp_path, tmp_path, most_folders=3)

    assert len(result.paths) == 2
    assert [str(one) for one in result.skipped] == [
        f"{tmp_path / '2'} comes after 3 other folders, with all that follow: left alone"
    ]


def test_only_files_that_have_changed_since_a_time_are_found_when_that_is_asked(tmp_path):
    make(tmp_path, "uv.lock", "a/requirements.txt", "tool.py", text=SCRIPT)
    since = max((tmp_path / name).stat().st_ctime_ns for name in ("uv.lock", "a/requirements.txt", "tool.py")) + 1
    while not (tmp_path / "a/tool.py").exists() or (tmp_path / "a/tool.py").stat().st_ctime_ns < since:
        make(tmp_path, "a/tool.py", text=SCRIPT)

    assert project_files(tmp_path, ME, changed_since=since).paths == (tmp_path / "a/tool.py",)
