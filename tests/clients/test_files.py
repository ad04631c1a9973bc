from pathlib import Path

import pytest

from ppmproxy.auth.origin import Origin
from ppmproxy.clients.editing.apply import apply_edits
from ppmproxy.clients.files import CLIENTS, Scope
from ppmproxy.clients.index_edits import IndexChoice
from ppmproxy.clients.index_url import Index
from ppmproxy.clients.local_urls import LocalUrls
from ppmproxy.config.model import Settings, Upstream
from ppmproxy.environment import Environment
from ppmproxy.errors import ConfigError

HOME = Path("/home/alice")
HERE = HOME / "work" / "project" / "src"
SIMPLE = "http://127.0.0.1:7760/m/pypi/latest/simple/"
CRAN = "http://127.0.0.1:7760/m/cran/latest"


def file_of(client, *, project=False, environ=None, platform="linux", there=(), repo="pypi"):
    machine = Environment(environ or {}, HOME, HERE, platform, {Path(path) for path in there}.__contains__)
    upstream = Upstream(mount="/m")
    index = Index(Origin("http", "127.0.0.1", 7760), upstream, repo, "latest")
    choice = IndexChoice(index, LocalUrls.of_settings(Settings(upstreams=(upstream,))))
    return CLIENTS[client].file(machine, choice, project=project)


def path_of(client, **more):
    return file_of(client, **more).path.as_posix()


def written(client, **more):
    file = file_of(client, **more)
    return apply_edits("", file.edits, file.language)


# --- where ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("client", "platform", "environ", "path"),
    [
        ("pip", "linux", {}, "/home/alice/.config/pip/pip.conf"),
        ("pip", "linux", {"XDG_CONFIG_HOME": "/x"}, "/x/pip/pip.conf"),
        ("pip", "linux", {"XDG_CONFIG_HOME": "relative"}, "/home/alice/.config/pip/pip.conf"),
        ("pip", "linux", {"PIP_CONFIG_FILE": "/etc/mine.conf"}, "/etc/mine.conf"),
        ("pip", "darwin", {}, "/home/alice/.config/pip/pip.conf"),
        ("pip", "win32", {}, "/home/alice/AppData/Roaming/pip/pip.ini"),
        ("pip", "win32", {"APPDATA": "/r"}, "/r/pip/pip.ini"),
        ("uv", "linux", {}, "/home/alice/.config/uv/uv.toml"),
        ("uv", "linux", {"XDG_CONFIG_HOME": "/x"}, "/x/uv/uv.toml"),
        ("uv", "linux", {"UV_CONFIG_FILE": "/u.toml"}, "/u.toml"),
        ("uv", "darwin", {}, "/home/alice/.config/uv/uv.toml"),
        ("uv", "win32", {"APPDATA": "/r"}, "/r/uv/uv.toml"),
        ("poetry", "linux", {}, "/home/alice/.config/pypoetry/pyproject.toml"),
        ("poetry", "linux", {"POETRY_CONFIG_DIR": "/p"}, "/p/pyproject.toml"),
        ("poetry", "darwin", {}, "/home/alice/Library/Application Support/pypoetry/pyproject.toml"),
        ("poetry", "win32", {"APPDATA": "/r"}, "/r/pypoetry/pyproject.toml"),
        ("pdm", "linux", {}, "/home/alice/.config/pdm/config.toml"),
        ("pdm", "linux", {"PDM_CONFIG_FILE": "/p.toml"}, "/p.toml"),
        ("pdm", "darwin", {}, "/home/alice/Library/Application Support/pdm/config.toml"),
        ("pdm", "win32", {"LOCALAPPDATA": "/l"}, "/l/pdm/pdm/config.toml"),
        ("r", "linux", {}, "/home/alice/.Rprofile"),
        ("r", "linux", {"R_PROFILE_USER": "/r/profile"}, "/r/profile"),
        ("r", "win32", {}, "/home/alice/Documents/.Rprofile"),
        ("r", "win32", {"R_USER": "/u"}, "/u/.Rprofile"),
        ("positron", "linux", {}, "/home/alice/.config/Positron/User/settings.json"),
        ("positron", "darwin", {}, "/home/alice/Library/Application Support/Positron/User/settings.json"),
        ("positron", "win32", {"APPDATA": "/r"}, "/r/Positron/User/settings.json"),
    ],
)
def test_a_users_file_is_where_the_client_looks_for_it(client, platform, environ, path):
    assert path_of(client, platform=platform, environ=environ) == path


def test_a_mac_with_pips_own_folder_uses_that():
    folder = HOME / "Library" / "Application Support" / "pip"

    assert file_of("pip", platform="darwin", there=[folder]).path == folder / "pip.conf"


@pytest.mark.parametrize("environ", [{"PIP_CONFIG_FILE": "/dev/null"}, {"PIP_CONFIG_FILE": "nul"}])
def test_a_pip_that_reads_no_file_cannot_be_configured_by_one(environ):
    with pytest.raises(ConfigError, match="read no file"):
        file_of("pip", environ=environ)


@pytest.mark.parametrize(
    ("client", "there", "environ", "path"),
    [
        ("pip", [], {"VIRTUAL_ENV": "/venv"}, "/venv/pip.conf"),
        ("pip", [HERE.parent / ".venv/pyvenv.cfg"], {}, f"{HERE.parent}/.venv/pip.conf"),
        ("uv", [HERE / "uv.toml", HERE / "pyproject.toml"], {}, f"{HERE}/uv.toml"),
        ("uv", [HERE.parent / "uv.toml", HERE / "pyproject.toml"], {}, f"{HERE}/pyproject.toml"),
        ("uv", [HERE.parent / "pyproject.toml"], {}, f"{HERE.parent}/pyproject.toml"),
        ("uv", [HERE / "uv.toml", HERE.parent / "pyproject.toml"], {}, f"{HERE}/uv.toml"),
        ("uv", [], {}, f"{HERE}/uv.toml"),
        ("poetry", [HERE.parent / "pyproject.toml"], {}, f"{HERE.parent}/pyproject.toml"),
        ("pdm", [HERE / "pyproject.toml", HERE.parent / "pyproject.toml"], {}, f"{HERE}/pyproject.toml"),
        ("pipenv", [HERE.parent / "Pipfile"], {}, f"{HERE.parent}/Pipfile"),
        ("pipenv", [HERE / "Pipfile"], {"PIPENV_PIPFILE": "/p/Pipfile"}, "/p/Pipfile"),
        ("r", [], {"R_PROFILE_USER": "/r"}, f"{HERE}/.Rprofile"),
        ("positron", [], {}, f"{HERE}/.vscode/settings.json"),
    ],
)
def test_a_projects_file_is_the_nearest(client, there, environ, path):
    assert path_of(client, project=True, there=there, environ=environ) == path


def test_windows_names_pips_file_otherwise_in_an_environment_too():
    assert path_of("pip", project=True, platform="win32", environ={"VIRTUAL_ENV": "/venv"}) == "/venv/pip.ini"


@pytest.mark.parametrize(
    ("client", "project", "words"),
    [
        ("pip", True, "virtual environment"),
        ("poetry", True, "nor a folder above it has a pyproject.toml"),
        ("pdm", True, "nor a folder above it has a pyproject.toml"),
        ("pipenv", True, "nor a folder above it has a Pipfile"),
        ("pipenv", False, "nor a folder above it has a Pipfile"),
    ],
)
def test_a_project_that_is_not_there_is_not_made_up(client, project, words):
    with pytest.raises(ConfigError, match=words) as caught:
        file_of(client, project=project)

    assert caught.value.hint


def test_a_client_with_nothing_of_the_users_own_is_configured_in_the_project():
    there = [HERE / "Pipfile"]

    assert path_of("pipenv", there=there) == path_of("pipenv", there=there, project=True)
    with pytest.raises(ConfigError, match="project's file only"):
        CLIENTS["pipenv"].scope(Environment({}, home=HERE), Scope.USER)


@pytest.mark.parametrize(
    ("client", "there", "environ", "scope"),
    [
        ("pip", [], {}, Scope.USER),
        ("pip", [Path("/venv")], {"VIRTUAL_ENV": "/venv"}, Scope.PROJECT),
        ("pip", [], {"VIRTUAL_ENV": "/gone"}, Scope.USER),
        ("pip", [HERE / ".venv/pyvenv.cfg"], {}, Scope.USER),
        ("poetry", [], {}, Scope.USER),
        ("poetry", [HERE.parent / "pyproject.toml"], {}, Scope.PROJECT),
        ("uv", [HERE / "pyproject.toml"], {"VIRTUAL_ENV": "/venv"}, Scope.USER),
        ("pipenv", [], {}, Scope.PROJECT),
    ],
)
def test_the_usual_file_is_the_one_that_counts_where_the_person_is(client, there, environ, scope):
    here = Environment(environ, home=HERE, cwd=HERE, platform="linux", exists=there.__contains__)

    assert CLIENTS[client].scope(here, None) is scope
    if client != "pipenv":
        assert CLIENTS[client].scope(here, Scope.USER) is Scope.USER


# --- what -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("client", "project", "text"),
    [
        ("pip", False, f"[global]\nindex-url = {SIMPLE}\ntrusted-host = 127.0.0.1\n"),
        ("uv", False, f'[[index]]\nurl = "{SIMPLE}"\ndefault = true\n'),
        ("uv", True, f'[[tool.uv.index]]\nurl = "{SIMPLE}"\ndefault = true\n'),
        ("poetry", True, f'[[tool.poetry.source]]\nname = "ppm"\nurl = "{SIMPLE}"\npriority = "primary"\n'),
        ("pdm", False, f'[pypi]\nurl = "{SIMPLE}"\n'),
        ("pdm", True, f'[[tool.pdm.source]]\nname = "pypi"\nurl = "{SIMPLE}"\nverify_ssl = true\n'),
        ("pipenv", True, f'[[source]]\nurl = "{SIMPLE}"\nverify_ssl = true\nname = "ppm"\n'),
    ],
)
def test_each_client_has_its_own_variables(client, project, text):
    there = [HERE / "pyproject.toml", HERE / "Pipfile"]

    assert written(client, project=project, there=there) == text


@pytest.mark.parametrize("project", [False, True])
def test_r_and_positron_get_the_repository_itself(project):
    assert f'repos["CRAN"] <- "{CRAN}"\n' in written("r", project=project, repo="cran")
    assert f'"positron.r.packageManagerRepository": "{CRAN}"' in written("positron", project=project, repo="cran")


def test_r_and_positron_have_another_default_repository():
    assert {name: client.default_repo for name, client in CLIENTS.items() if client.default_repo != "pypi"} == {
        "r": "cran",
        "positron": "cran",
    }
