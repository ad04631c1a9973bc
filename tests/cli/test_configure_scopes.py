"""Claims about whose file `ppmproxy configure` edits: the user's, the project's, or nobody's for all users."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Person

from ppmproxy.clients.files import CLIENTS
from ppmproxy.errors import EXIT_CONFIGURATION, EXIT_OK, EXIT_USAGE

UPSTREAM = "https://pm.example.com/rspm"
URL = "http://127.0.0.1:7760/pypi/latest/simple/"
PIP_CONF = "[global]\nindex-url = https://old.example.com/simple\n"


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def person(home):
    return Person(home, {"PATH": os.environ["PATH"], "PPMPROXY_UPSTREAM": UPSTREAM})


@pytest.fixture
def activated(home):
    """A virtual environment that is active, and the user's own pip.conf."""
    environment, users = home / "venv", home / ".config/pip/pip.conf"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True, timeout=120)
    users.parent.mkdir(parents=True)
    users.write_text(PIP_CONF)
    return environment


# --- pip in a virtual environment -------------------------------------------------------------------------------------


def test_pip_under_an_active_environment_is_configured_there_and_the_other_two_are_offered(person, home, activated):
    done = person.runs("configure", "pip", VIRTUAL_ENV=str(activated))

    assert (done.code, done.out) == (EXIT_OK, f"wrote {activated}/pip.conf\n")
    assert f"index-url = {URL}" in (activated / "pip.conf").read_text()
    assert (home / ".config/pip/pip.conf").read_text() == PIP_CONF
    assert "active virtual environment (--site)" in done.err
    assert "ppmproxy configure pip --user" in done.err
    assert "ppmproxy configure pip --system" in done.err
    assert "fix:" not in done.err  # nothing else leads pip past the proxy there


def test_what_was_written_into_an_environment_is_taken_back_by_the_command_that_was_printed(person, activated):
    done = person.runs("configure", "pip", VIRTUAL_ENV=str(activated))
    [undo] = [line.removeprefix("undo: ppmproxy ") for line in done.err.splitlines() if line.startswith("undo: ")]

    undone = person.runs(*undo.split(), VIRTUAL_ENV=str(activated))

    assert undone.out == f"removed {activated}/pip.conf\n"
    assert not (activated / "pip.conf").exists()


def test_the_user_s_own_file_is_written_when_it_is_asked_for(person, home, activated):
    done = person.runs("configure", "pip", "--user", VIRTUAL_ENV=str(activated))

    assert done.out == f"wrote {home}/.config/pip/pip.conf\n"
    assert not (activated / "pip.conf").exists()
    assert "undo: ppmproxy configure pip --user --undo" in done.err
    person.runs("configure", "pip", "--user", "--undo", VIRTUAL_ENV=str(activated))
    assert (home / ".config/pip/pip.conf").read_text() == PIP_CONF


def test_undo_in_an_environment_names_the_file_that_may_have_been_meant(person, activated):
    person.runs("configure", "pip", "--user", VIRTUAL_ENV=str(activated))

    undone = person.runs("configure", "pip", "--undo", VIRTUAL_ENV=str(activated))

    assert undone.out.startswith("nothing to undo")
    assert "ppmproxy configure pip --user" in undone.err


def test_real_pip_of_the_environment_reads_what_was_written(person, home, activated):
    person.runs("configure", "pip", VIRTUAL_ENV=str(activated))

    end = subprocess.run(
        [sys.executable, "-m", "pip", "--python", activated / "bin/python", "config", "list"],
        check=True, capture_output=True, text=True, timeout=120, env={"HOME": str(home), "PATH": os.environ["PATH"]},
    )  # fmt: skip

    assert f"site.index-url='{URL}'" in end.stdout or f"global.index-url='{URL}'" in end.stdout


def test_an_environment_that_is_gone_does_not_count(person, home):
    done = person.runs("configure", "pip", VIRTUAL_ENV=str(home / "gone"))

    assert done.out == f"wrote {home}/.config/pip/pip.conf\n"
    assert not (home / "gone").exists()


def test_the_fix_for_a_second_index_of_the_user_s_is_the_user_s_file(person, home, activated):
    (home / ".config/pip/pip.conf").write_text(f"[global]\nextra-index-url = {UPSTREAM}/other/latest/simple/\n")

    done = person.runs("configure", "pip", VIRTUAL_ENV=str(activated))

    assert "fix: ppmproxy configure pip --user" in done.err


# --- Poetry -----------------------------------------------------------------------------------------------------------


def test_poetry_itself_is_configured_where_there_is_no_project(person, home):
    done = person.runs("configure", "poetry")

    path = home / ".config/pypoetry/pyproject.toml"
    assert (done.code, done.out) == (EXIT_OK, f"wrote {path}\n")
    assert URL in path.read_text()
    assert "for `poetry self` alone" in done.err
    assert person.runs("configure", "poetry", "--undo").out == f"removed {path}\n"


def test_poetry_itself_is_configured_from_a_project_when_it_is_asked_for(person, home):
    (home / "pyproject.toml").write_text("[project]\nname = 'x'\n")

    done = person.runs("configure", "poetry", "--user")

    assert done.out == f"wrote {home}/.config/pypoetry/pyproject.toml\n"
    assert (home / "pyproject.toml").read_text() == "[project]\nname = 'x'\n"


def test_a_client_without_a_file_of_the_user_s_says_so(person, home):
    (home / "Pipfile").write_text("")

    said = person.runs("configure", "pipenv", "--user")

    assert said.code == EXIT_CONFIGURATION
    assert "a project's file only" in said.err


# --- all users --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("client", CLIENTS)
def test_a_file_for_all_users_is_not_written_and_the_recipe_that_works_is_printed(person, home, client):
    said = person.runs("configure", client, "--system")

    assert said.code == EXIT_USAGE
    assert "cannot name http://127.0.0.1:7760" in said.err
    assert "nothing was written" in said.err
    assert "/etc/profile.d/ppmproxy.sh" in said.out
    assert "127.0.0.1" not in said.out
    if client not in {"poetry", "pipenv"}:
        assert f"{UPSTREAM}/{CLIENTS[client].default_repo}/latest" in said.out
        assert "ppmproxy exec --intercept" in said.out
    assert list(home.iterdir()) == []


def test_without_a_client_the_recipe_has_every_file(person):
    said = person.runs("configure", "--system")

    assert said.code == EXIT_USAGE
    assert "/etc/pip.conf" in said.out
    assert "/etc/uv/uv.toml" in said.out


def test_the_recipe_names_the_repository_that_was_asked_for(person):
    said = person.runs("configure", "pip", "--system", "--repo", "internal", "--snapshot", "2026-01-31")

    assert f"index-url = {UPSTREAM}/internal/2026-01-31/simple/" in said.out


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_the_lines_for_profile_d_set_the_variables_at_login(person, home, shell):
    lines = [line.strip() for line in person.runs("configure", "pip", "--system").out.splitlines() if "eval" in line]
    profile = home / "ppmproxy.sh"
    profile.write_text("\n".join(lines) + "\n")
    environ = {"HOME": str(home), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    end = subprocess.run(
        [shell, "-ec", f'. "{profile}"; echo "$PIP_INDEX_URL $UV_DEFAULT_INDEX"'],
        check=True, capture_output=True, text=True, timeout=120, env=environ,
    )  # fmt: skip

    assert end.stdout.split() == [URL, URL]


def test_no_client_and_two_scopes_are_mistakes(person):
    assert person.runs("configure").code == EXIT_USAGE
    assert "configure needs a client" in person.runs("configure", "--undo").err
    assert person.runs("configure", "pip", "--user", "--project").code == EXIT_USAGE
