"""The configuration file of each client, and the edits that point the client at the proxy.

The paths are those that the clients read, with the variables that change them. Poetry and pipenv take an index from the
project's file only, so they are configured there, with ``--project`` or without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ppmproxy.clients.editing.apply import Language
from ppmproxy.clients.editing.block import MARKED
from ppmproxy.clients.editing.edits import (
    ANY,
    AddWord,
    Edit,
    ReplaceValues,
    SetBlock,
    SetKey,
    Tree,
    UpsertEntry,
)
from ppmproxy.clients.editing.ini import INI
from ppmproxy.clients.editing.json import JSON
from ppmproxy.clients.editing.toml import TOML
from ppmproxy.clients.index_url import DEFAULT_R_REPO, Index
from ppmproxy.clients.local_urls import VARIABLE, LocalUrls
from ppmproxy.config.model import DEFAULT_REPO
from ppmproxy.environment import Environment
from ppmproxy.errors import ConfigError

SOURCE_NAME = "ppm"
_PIP_INDEX_KEYS = ("index-url", "extra-index-url")
_UV_INDEX_PATHS = (("index-url",), ("extra-index-url", ANY), ("pip", "index-url"), ("pip", "extra-index-url", ANY))
_UV_UPLOAD_PATHS = (("publish-url",), ("index", ANY, "publish-url"))
_POETRY_PRIMARY = ("primary", "default")


@dataclass(frozen=True, slots=True)
class IndexChoice:
    """The index to point a client at. Entries below an upstream keep their repository, unless one was `named`."""

    index: Index
    urls: LocalUrls
    named: bool = False

    def keeps(self, url: object) -> bool:
        """Whether the entry that serves all packages may stay as it is."""
        return not self.named and self.urls.is_local(url)

    def local_values(self, *paths: tuple[str, ...]) -> Iterator[ReplaceValues]:
        """Edits that make each URL below an upstream the proxy's; name, priority and all else of its entry stay."""
        return (ReplaceValues(path, lambda url, _: self.urls.local(url)) for path in paths)

    def local_upload(self, url: str, _entry: Tree) -> str:
        """The proxy's URL for uploads to an upstream that takes them."""
        return self.urls.local(url) if self.urls.takes_uploads(url) else url


@dataclass(frozen=True, slots=True)
class ClientFile:
    """A file, and the edits to make in it."""

    path: Path
    language: Language
    edits: tuple[Edit, ...]


@dataclass(frozen=True, slots=True)
class Client:
    """A client's file in the project and for the user; without one for the user, the project's is used."""

    in_project: Callable[[Environment, IndexChoice], ClientFile]
    for_user: Callable[[Environment, IndexChoice], ClientFile] | None = None
    default_repo: str = DEFAULT_REPO
    note: str = ""  # printed after the edit

    def file(self, environment: Environment, choice: IndexChoice, *, project: bool) -> ClientFile:
        """The file to edit; `ConfigError` when there is none and none can be made."""
        return (self.in_project if project or self.for_user is None else self.for_user)(environment, choice)


# --- pip --------------------------------------------------------------------------------------------------------------


def _pip_for_user(environment: Environment, choice: IndexChoice) -> ClientFile:
    return ClientFile(_pip_conf(environment), INI, _pip_edits(choice))


def _pip_conf(environment: Environment) -> Path:
    # PIP_CONFIG_FILE replaces the user's file; os.devnull in it turns all files off.
    named = environment.path_in("PIP_CONFIG_FILE")
    if named in (Path("/dev/null"), Path("nul"), environment.cwd / "nul"):
        raise ConfigError("PIP_CONFIG_FILE tells pip to read no file at all", "unset PIP_CONFIG_FILE and try again")
    if named:
        return named
    if environment.platform == "win32":
        return environment.app_data(local=False) / "pip" / "pip.ini"
    on_mac = environment.application_support() / "pip"
    if environment.platform == "darwin" and environment.exists(on_mac):
        return on_mac / "pip.conf"
    return environment.config_home() / "pip" / "pip.conf"


def _pip_in_project(environment: Environment, choice: IndexChoice) -> ClientFile:
    """The pip.conf of the project's virtual environment."""
    active, beside = environment.path_in("VIRTUAL_ENV"), environment.nearest(".venv/pyvenv.cfg")
    folder = active or (beside.parent if beside else None)
    if folder is None:
        what = "pip keeps a project's settings in its virtual environment, and none is active or in .venv here"
        raise ConfigError(what, "activate it or make one (python -m venv .venv), or leave --project out")
    return ClientFile(folder / ("pip.ini" if environment.platform == "win32" else "pip.conf"), INI, _pip_edits(choice))


def _pip_edits(choice: IndexChoice) -> tuple[Edit, ...]:
    urls = choice.urls
    return (
        *(ReplaceValues((ANY, key, ANY), lambda words, _: urls.local_words(words)) for key in _PIP_INDEX_KEYS),
        SetKey(("global", "index-url"), choice.index.simple_url, keeps=choice.keeps),
        AddWord(("global", "trusted-host"), choice.index.origin.host),  # or pip caches nothing
    )


# --- uv ---------------------------------------------------------------------------------------------------------------


def _uv_for_user(environment: Environment, choice: IndexChoice) -> ClientFile:
    folder = environment.app_data(local=False) if environment.platform == "win32" else environment.config_home()
    path = environment.path_in("UV_CONFIG_FILE") or folder / "uv" / "uv.toml"
    return ClientFile(path, TOML, _uv_edits(choice))


def _uv_in_project(environment: Environment, choice: IndexChoice) -> ClientFile:
    """The project's uv.toml, which overrides a pyproject.toml beside it, or else the pyproject.toml."""
    own, project = environment.nearest("uv.toml"), environment.nearest("pyproject.toml")
    if own and not (project and len(project.parts) > len(own.parts)):
        return ClientFile(own, TOML, _uv_edits(choice))
    if project:
        return ClientFile(project, TOML, _uv_edits(choice, "tool", "uv"))
    return ClientFile(environment.cwd / "uv.toml", TOML, _uv_edits(choice))


def _uv_edits(choice: IndexChoice, *table: str) -> tuple[Edit, ...]:
    """Edits of uv's settings, which are in a table of a pyproject.toml or make up a uv.toml.

    Of several defaults uv takes the first. `authenticate = "always"` would fail: the proxy has the credentials.
    """
    indexes, urls = (*table, "index"), choice.urls

    def is_default(entry: Tree) -> bool:
        return entry.get("default") is True

    def authenticate(value: str, entry: Tree) -> str:
        return "never" if urls.is_local(entry.get("url")) else value

    return (
        *choice.local_values((*indexes, ANY, "url")),
        *choice.local_values(*((*table, *path) for path in _UV_INDEX_PATHS)),
        *(ReplaceValues((*table, *path), choice.local_upload) for path in _UV_UPLOAD_PATHS),
        UpsertEntry(
            indexes,
            (("url", choice.index.simple_url), ("default", True)),
            is_default,
            satisfied=lambda entry: is_default(entry) and choice.keeps(entry.get("url")),
        ),
        ReplaceValues((*indexes, ANY, "authenticate"), authenticate),
    )


# --- Poetry, PDM, pipenv ----------------------------------------------------------------------------------------------


def _poetry_in_project(environment: Environment, choice: IndexChoice) -> ClientFile:
    sources = ("tool", "poetry", "source")
    edits: tuple[Edit, ...] = (
        *choice.local_values((*sources, ANY, "url")),
        UpsertEntry(
            sources,
            (("name", SOURCE_NAME), ("url", choice.index.simple_url), ("priority", "primary")),
            lambda entry: entry.get("name") == SOURCE_NAME,
            satisfied=lambda entry: (
                choice.keeps(entry.get("url")) and entry.get("priority", "primary") in _POETRY_PRIMARY
            ),
        ),
    )
    return ClientFile(_project_file(environment, "pyproject.toml", "poetry init"), TOML, edits)


def _pdm_for_user(environment: Environment, choice: IndexChoice) -> ClientFile:
    folders = {"win32": environment.app_data(local=True) / "pdm", "darwin": environment.application_support()}
    path = (
        environment.path_in("PDM_CONFIG_FILE")
        or folders.get(environment.platform, environment.config_home()) / "pdm/config.toml"
    )
    url = ("pypi", "url")
    return ClientFile(path, TOML, (*choice.local_values(url), SetKey(url, choice.index.simple_url, keeps=choice.keeps)))


def _pdm_in_project(environment: Environment, choice: IndexChoice) -> ClientFile:
    """A source named "pypi" replaces the public index."""
    sources = ("tool", "pdm", "source")
    edits: tuple[Edit, ...] = (
        *choice.local_values((*sources, ANY, "url")),
        UpsertEntry(
            sources,
            (("name", "pypi"), ("url", choice.index.simple_url)),
            lambda entry: entry.get("name") == "pypi",
            satisfied=lambda entry: entry.get("name") == "pypi" and choice.keeps(entry.get("url")),
            besides=(("verify_ssl", True),),
        ),
    )
    return ClientFile(_project_file(environment, "pyproject.toml", "pdm init"), TOML, edits)


def _pipenv_in_project(environment: Environment, choice: IndexChoice) -> ClientFile:
    """The first source of a Pipfile serves all packages that name no other."""
    edits: tuple[Edit, ...] = (
        *choice.local_values(("source", ANY, "url")),
        UpsertEntry(
            ("source",),
            (("url", choice.index.simple_url),),
            _is_public_source,
            satisfied=lambda entry: VARIABLE in str(entry.get("url")) or choice.keeps(entry.get("url")),
            besides=(("verify_ssl", True), ("name", SOURCE_NAME)),
            goes_first=True,
        ),
    )
    path = environment.path_in("PIPENV_PIPFILE") or _project_file(environment, "Pipfile", "pipenv install")
    return ClientFile(path, TOML, edits)


def _is_public_source(entry: Tree) -> bool:
    """Whether a source of a Pipfile is ours, or the public index that ours replaces."""
    return entry.get("name") in {SOURCE_NAME, "pypi"} or "://pypi.org/" in str(entry.get("url"))


def _project_file(environment: Environment, name: str, command: str) -> Path:
    path = environment.nearest(name)
    if path is None:
        raise ConfigError(f"there is no {name} in {environment.cwd} or above it", f"make one first: {command}")
    return path


# --- R and Positron ---------------------------------------------------------------------------------------------------


def _r_for_user(environment: Environment, choice: IndexChoice) -> ClientFile:
    at_home = environment.home / "Documents" if environment.platform == "win32" else environment.home
    path = environment.path_in("R_PROFILE_USER") or (environment.path_in("R_USER") or at_home) / ".Rprofile"
    return ClientFile(path, MARKED, (SetBlock(_r_lines(choice.index)),))


def _r_in_project(environment: Environment, choice: IndexChoice) -> ClientFile:
    """The .Rprofile of the current folder, instead of which R reads no other."""
    return ClientFile(environment.cwd / ".Rprofile", MARKED, (SetBlock(_r_lines(choice.index)),))


def _r_lines(index: Index) -> tuple[str, ...]:
    return (
        "local({",
        '  repos <- getOption("repos")',
        f'  repos["CRAN"] <- "{index.repo_url}"',
        "  options(repos = repos)",
        '  spared <- Sys.getenv("no_proxy", Sys.getenv("NO_PROXY"))',
        f'  spared <- c(spared[nzchar(spared)], "localhost", "{index.origin.host}")',
        '  Sys.setenv(no_proxy = paste(spared, collapse = ","))',
        "})",
    )


def _positron_for_user(environment: Environment, choice: IndexChoice) -> ClientFile:
    folders = {"win32": environment.app_data(local=False), "darwin": environment.application_support()}
    folder = folders.get(environment.platform, environment.config_home())
    return ClientFile(folder / "Positron/User/settings.json", JSON, _positron_edits(choice))


def _positron_in_project(environment: Environment, choice: IndexChoice) -> ClientFile:
    return ClientFile(environment.cwd / ".vscode/settings.json", JSON, _positron_edits(choice))


def _positron_edits(choice: IndexChoice) -> tuple[Edit, ...]:
    """R packages only: for Python packages, Positron reads the settings of pip and uv."""
    repository = ("positron.r.packageManagerRepository",)
    return (
        *choice.local_values(repository),
        SetKey(("positron.r.defaultRepositories",), "auto"),  # with any other value the next one is ignored
        SetKey(repository, choice.index.repo_url, keeps=choice.keeps),
    )


CLIENTS: Mapping[str, Client] = {
    "pip": Client(_pip_in_project, _pip_for_user),
    "uv": Client(_uv_in_project, _uv_for_user),
    "poetry": Client(_poetry_in_project),
    "pdm": Client(_pdm_in_project, _pdm_for_user),
    "pipenv": Client(_pipenv_in_project),
    "r": Client(_r_in_project, _r_for_user, DEFAULT_R_REPO),
    "positron": Client(
        _positron_in_project, _positron_for_user, DEFAULT_R_REPO, "Python packages: ppmproxy configure pip, or uv"
    ),
}
