"""Which file of a client points it somewhere, and what that file is to say.

To teach `configure` a client, or to change what it writes for one, give `CLIENTS` a line; how files are edited is in
`text_edit` and the languages.

The paths are those that the clients themselves look at, with the variables that move them. Poetry and pipenv have no
place of their own for it but the project, so they are configured there, with ``--project`` or without.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ppmproxy.chosen_index import DEFAULT_R_REPO, DEFAULT_REPO, Index
from ppmproxy.errors import ConfigError
from ppmproxy.ini_edit import INI
from ppmproxy.json_edit import JSON
from ppmproxy.marked_block import MARKED
from ppmproxy.text_edit import Language
from ppmproxy.toml_edit import TOML
from ppmproxy.wishes import BlockIs, EntryIn, KeyIs, Wish, WordIn

SOURCE_NAME = "ppm"


@dataclass(frozen=True, slots=True)
class Machine:
    """What decides where files are; `exists` is asked about files and folders."""

    environ: Mapping[str, str] = field(repr=False)
    home: Path
    folder: Path  # the current one
    platform: str  # as `sys.platform` has it
    exists: Callable[[Path], bool] = field(repr=False)

    def named(self, variable: str) -> Path | None:
        """The path in a variable."""
        value = self.environ.get(variable)
        return self.folder / value if value else None

    def config_home(self) -> Path:
        """``$XDG_CONFIG_HOME``, where it counts; relative values are ignored, as its specification says."""
        xdg = Path(self.environ.get("XDG_CONFIG_HOME", ""))
        return xdg if xdg.is_absolute() else self.home / ".config"

    def app_data(self, *, local: bool) -> Path:
        """Windows' folders for settings: those that travel with the user, and those that stay on the machine."""
        variable, name = ("LOCALAPPDATA", "Local") if local else ("APPDATA", "Roaming")
        return Path(self.environ.get(variable) or self.home / "AppData" / name)

    def application_support(self) -> Path:
        """The Mac's folder for settings."""
        return self.home / "Library" / "Application Support"

    def nearest(self, name: str) -> Path | None:
        """A file in the current folder or the nearest one above it, which is how clients find their project."""
        return next((above / name for above in (self.folder, *self.folder.parents) if self.exists(above / name)), None)


@dataclass(frozen=True, slots=True)
class ClientFile:
    """A file, and what it is to say."""

    path: Path
    language: Language
    wishes: tuple[Wish, ...]


@dataclass(frozen=True, slots=True)
class Client:
    """A client: where it is configured, for the user and for the project, and with what. `None`: the project's too."""

    in_project: Callable[[Machine, Index], ClientFile]
    for_user: Callable[[Machine, Index], ClientFile] | None = None
    default_repo: str = DEFAULT_REPO
    note: str = ""  # what else the person should know

    def file(self, machine: Machine, index: Index, *, project: bool) -> ClientFile:
        """The file to edit; `ConfigError` when there is none and none can be made."""
        return (self.in_project if project or self.for_user is None else self.for_user)(machine, index)


# --- pip --------------------------------------------------------------------------------------------------------------


def _pip_for_user(machine: Machine, index: Index) -> ClientFile:
    return ClientFile(_pip_conf(machine), INI, _pip_wishes(index))


def _pip_conf(machine: Machine) -> Path:
    # PIP_CONFIG_FILE replaces the user's file; os.devnull in it turns all files off.
    named = machine.named("PIP_CONFIG_FILE")
    if named in (Path("/dev/null"), Path("nul"), machine.folder / "nul"):
        raise ConfigError("PIP_CONFIG_FILE tells pip to read no file at all", "unset PIP_CONFIG_FILE and try again")
    if named:
        return named
    if machine.platform == "win32":
        return machine.app_data(local=False) / "pip" / "pip.ini"
    on_mac = machine.application_support() / "pip"
    if machine.platform == "darwin" and machine.exists(on_mac):
        return on_mac / "pip.conf"
    return machine.config_home() / "pip" / "pip.conf"


def _pip_in_project(machine: Machine, index: Index) -> ClientFile:
    """A project's pip.conf is that of its virtual environment."""
    active, beside = machine.named("VIRTUAL_ENV"), machine.nearest(".venv/pyvenv.cfg")
    environment = active or (beside.parent if beside else None)
    if environment is None:
        what = "pip keeps a project's settings in its virtual environment, and none is active or in .venv here"
        raise ConfigError(what, "activate it or make one (python -m venv .venv), or leave --project out")
    return ClientFile(environment / ("pip.ini" if machine.platform == "win32" else "pip.conf"), INI, _pip_wishes(index))


def _pip_wishes(index: Index) -> tuple[Wish, ...]:
    return (
        KeyIs(("global", "index-url"), index.simple_url),
        WordIn(("global", "trusted-host"), index.origin.host),  # or pip caches nothing
    )


# --- uv ---------------------------------------------------------------------------------------------------------------


def _uv_for_user(machine: Machine, index: Index) -> ClientFile:
    folder = machine.app_data(local=False) if machine.platform == "win32" else machine.config_home()
    path = machine.named("UV_CONFIG_FILE") or folder / "uv" / "uv.toml"
    return ClientFile(path, TOML, (_uv_wish(index, ("index",)),))


def _uv_in_project(machine: Machine, index: Index) -> ClientFile:
    """A uv.toml hides what a pyproject.toml beside it says."""
    own, project = machine.nearest("uv.toml"), machine.nearest("pyproject.toml")
    if own and not (project and len(project.parts) > len(own.parts)):
        return ClientFile(own, TOML, (_uv_wish(index, ("index",)),))
    if project:
        return ClientFile(project, TOML, (_uv_wish(index, ("tool", "uv", "index")),))
    return ClientFile(machine.folder / "uv.toml", TOML, (_uv_wish(index, ("index",)),))


def _uv_wish(index: Index, path: tuple[str, ...]) -> EntryIn:
    # Of several defaults uv takes the first. One that insists on credentials would fail: the proxy has them.
    values = (("url", index.simple_url), ("default", True))
    return EntryIn(path, values, known_by="default", if_there=(("authenticate", "never"),))


# --- Poetry, PDM, pipenv ----------------------------------------------------------------------------------------------


def _poetry_in_project(machine: Machine, index: Index) -> ClientFile:
    wish = EntryIn(
        ("tool", "poetry", "source"),
        (("name", SOURCE_NAME), ("url", index.simple_url), ("priority", "primary")),
        known_by="name",
    )
    return ClientFile(_project_file(machine, "pyproject.toml", "poetry init"), TOML, (wish,))


def _pdm_for_user(machine: Machine, index: Index) -> ClientFile:
    folders = {"win32": machine.app_data(local=True) / "pdm", "darwin": machine.application_support()}
    path = machine.named("PDM_CONFIG_FILE") or folders.get(machine.platform, machine.config_home()) / "pdm/config.toml"
    return ClientFile(path, TOML, (KeyIs(("pypi", "url"), index.simple_url),))


def _pdm_in_project(machine: Machine, index: Index) -> ClientFile:
    """A source of the name "pypi" takes the place of the public index."""
    wish = EntryIn(
        ("tool", "pdm", "source"),
        (("name", "pypi"), ("url", index.simple_url)),
        known_by="name",
        besides=(("verify_ssl", True),),
    )
    return ClientFile(_project_file(machine, "pyproject.toml", "pdm init"), TOML, (wish,))


def _pipenv_in_project(machine: Machine, index: Index) -> ClientFile:
    """The first source of a Pipfile is where packages come from that name no other."""
    besides = (("verify_ssl", True), ("name", SOURCE_NAME))
    wish = EntryIn(("source",), (("url", index.simple_url),), besides=besides)
    path = machine.named("PIPENV_PIPFILE") or _project_file(machine, "Pipfile", "pipenv install")
    return ClientFile(path, TOML, (wish,))


def _project_file(machine: Machine, name: str, command: str) -> Path:
    path = machine.nearest(name)
    if path is None:
        raise ConfigError(f"there is no {name} in {machine.folder} or above it", f"make one first: {command}")
    return path


# --- R and Positron ---------------------------------------------------------------------------------------------------


def _r_for_user(machine: Machine, index: Index) -> ClientFile:
    at_home = machine.home / "Documents" if machine.platform == "win32" else machine.home
    path = machine.named("R_PROFILE_USER") or (machine.named("R_USER") or at_home) / ".Rprofile"
    return ClientFile(path, MARKED, (BlockIs(_r_lines(index)),))


def _r_in_project(machine: Machine, index: Index) -> ClientFile:
    """R reads the .Rprofile of the folder it starts in, and then no other."""
    return ClientFile(machine.folder / ".Rprofile", MARKED, (BlockIs(_r_lines(index)),))


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


def _positron_for_user(machine: Machine, index: Index) -> ClientFile:
    folders = {"win32": machine.app_data(local=False), "darwin": machine.application_support()}
    folder = folders.get(machine.platform, machine.config_home())
    return ClientFile(folder / "Positron/User/settings.json", JSON, _positron_wishes(index))


def _positron_in_project(machine: Machine, index: Index) -> ClientFile:
    return ClientFile(machine.folder / ".vscode/settings.json", JSON, _positron_wishes(index))


def _positron_wishes(index: Index) -> tuple[Wish, ...]:
    """R's packages only: for Python's, Positron reads what pip and uv read."""
    return (
        KeyIs(("positron.r.defaultRepositories",), "auto"),  # with any other value the next one is ignored
        KeyIs(("positron.r.packageManagerRepository",), index.repo_url),
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
