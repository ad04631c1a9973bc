"""The file that `configure` edits for each client, in the project or for the user.

pipenv takes an index from the project's file only, so it is configured there, with ``--project`` or without. Poetry
does for a project; the user's file counts for ``poetry self`` alone. pip's file for a project is the one of its virtual
environment, which goes before the user's, and is the usual one while that environment is active.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ppmproxy.clients.editing.apply import Language
from ppmproxy.clients.editing.block import MARKED
from ppmproxy.clients.editing.edits import Edit
from ppmproxy.clients.editing.ini import INI
from ppmproxy.clients.editing.json import JSON
from ppmproxy.clients.editing.toml import TOML
from ppmproxy.clients.index_edits import (
    IndexChoice,
    pdm_project_edits,
    pdm_user_edits,
    pip_edits,
    pipenv_edits,
    poetry_edits,
    positron_edits,
    r_edits,
    uv_edits,
)
from ppmproxy.clients.index_url import DEFAULT_R_REPO
from ppmproxy.clients.paths import pdm_user_file, pip_user_file, poetry_user_file, uv_user_file
from ppmproxy.clients.r_environ import as_r_sees_it
from ppmproxy.clients.r_profile import user_profile
from ppmproxy.config.model import DEFAULT_REPO
from ppmproxy.environment import Environment
from ppmproxy.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ClientFile:
    """A file, and the edits to make in it."""

    path: Path
    language: Language
    edits: tuple[Edit, ...]


class Scope(enum.Enum):
    """For whom a client's file counts; the value is the flag of `configure`."""

    USER = "--user"
    PROJECT = "--project"


def _always_user(_: Environment) -> Scope:
    return Scope.USER


@dataclass(frozen=True, slots=True)
class Client:
    """A client's file in the project and for the user, if it has one, and which is meant when none is named."""

    in_project: Callable[[Environment, IndexChoice], ClientFile]
    for_user: Callable[[Environment, IndexChoice], ClientFile] | None = None
    default_repo: str = DEFAULT_REPO
    note: str = ""  # printed after the edit
    usual: Callable[[Environment], Scope] = _always_user
    usual_notes: Mapping[Scope, str] = field(default_factory=dict)  # printed where the usual file is not the user's own

    def scope(self, environment: Environment, named: Scope | None) -> Scope:
        """The scope that is meant; `ConfigError` when the client has no such file."""
        if named is Scope.USER and self.for_user is None:
            raise ConfigError(
                "this client takes an index from a project's file only", "remove --user, and run this in a project"
            )
        return Scope.PROJECT if self.for_user is None else named or self.usual(environment)

    def file(self, environment: Environment, choice: IndexChoice, *, project: bool) -> ClientFile:
        """The file to edit; `ConfigError` when there is none and none can be made."""
        return (self.in_project if project or self.for_user is None else self.for_user)(environment, choice)


# --- pip --------------------------------------------------------------------------------------------------------------


def _pip_for_user(environment: Environment, choice: IndexChoice) -> ClientFile:
    return ClientFile(pip_user_file(environment), INI, pip_edits(choice))


def _usual_of_pip(environment: Environment) -> Scope:
    active = environment.path_in("VIRTUAL_ENV")
    return Scope.PROJECT if active and environment.exists(active) else Scope.USER


def _pip_in_project(environment: Environment, choice: IndexChoice) -> ClientFile:
    """The pip.conf of the project's virtual environment."""
    active, beside = environment.path_in("VIRTUAL_ENV"), environment.nearest(".venv/pyvenv.cfg")
    folder = active or (beside.parent if beside else None)
    if folder is None:
        what = "no virtual environment is active or in .venv here, where pip keeps a project's settings"
        raise ConfigError(what, "activate one, make one (python -m venv .venv), or remove --project")
    return ClientFile(folder / ("pip.ini" if environment.platform == "win32" else "pip.conf"), INI, pip_edits(choice))


# --- uv ---------------------------------------------------------------------------------------------------------------


def _uv_for_user(environment: Environment, choice: IndexChoice) -> ClientFile:
    return ClientFile(uv_user_file(environment), TOML, uv_edits(choice))


def _uv_in_project(environment: Environment, choice: IndexChoice) -> ClientFile:
    """The project's uv.toml, which overrides a pyproject.toml beside it, or else the pyproject.toml."""
    own, project = environment.nearest("uv.toml"), environment.nearest("pyproject.toml")
    if own and not (project and len(project.parts) > len(own.parts)):
        return ClientFile(own, TOML, uv_edits(choice))
    if project:
        return ClientFile(project, TOML, uv_edits(choice, "tool", "uv"))
    return ClientFile(environment.cwd / "uv.toml", TOML, uv_edits(choice))


# --- Poetry, PDM, pipenv ----------------------------------------------------------------------------------------------


def _poetry_in_project(environment: Environment, choice: IndexChoice) -> ClientFile:
    return ClientFile(_project_file(environment, "pyproject.toml", "poetry init"), TOML, poetry_edits(choice))


def _poetry_for_user(environment: Environment, choice: IndexChoice) -> ClientFile:
    """The project of ``poetry self``, whose sources Poetry keeps when it writes the rest anew."""
    return ClientFile(poetry_user_file(environment), TOML, poetry_edits(choice))


def _usual_of_poetry(environment: Environment) -> Scope:
    return Scope.PROJECT if environment.nearest("pyproject.toml") else Scope.USER


def _pdm_for_user(environment: Environment, choice: IndexChoice) -> ClientFile:
    return ClientFile(pdm_user_file(environment), TOML, pdm_user_edits(choice))


def _pdm_in_project(environment: Environment, choice: IndexChoice) -> ClientFile:
    return ClientFile(_project_file(environment, "pyproject.toml", "pdm init"), TOML, pdm_project_edits(choice))


def _pipenv_in_project(environment: Environment, choice: IndexChoice) -> ClientFile:
    path = environment.path_in("PIPENV_PIPFILE") or _project_file(environment, "Pipfile", "pipenv install")
    return ClientFile(path, TOML, pipenv_edits(choice))


def _project_file(environment: Environment, name: str, command: str) -> Path:
    path = environment.nearest(name)
    if path is None:
        raise ConfigError(f"neither {environment.cwd} nor a folder above it has a {name}", f"make one first: {command}")
    return path


# --- R and Positron ---------------------------------------------------------------------------------------------------


def _r_for_user(environment: Environment, choice: IndexChoice) -> ClientFile:
    return ClientFile(user_profile(as_r_sees_it(environment)), MARKED, r_edits(choice))


def _r_in_project(environment: Environment, choice: IndexChoice) -> ClientFile:
    """The .Rprofile of the current folder, instead of which R reads no other."""
    return ClientFile(environment.cwd / ".Rprofile", MARKED, r_edits(choice))


def _positron_for_user(environment: Environment, choice: IndexChoice) -> ClientFile:
    folders = {"win32": environment.app_data(local=False), "darwin": environment.application_support()}
    folder = folders.get(environment.platform, environment.config_home())
    return ClientFile(folder / "Positron/User/settings.json", JSON, positron_edits(choice))


def _positron_in_project(environment: Environment, choice: IndexChoice) -> ClientFile:
    return ClientFile(environment.cwd / ".vscode/settings.json", JSON, positron_edits(choice))


_ENVIRONMENT_OF_PIP = (
    "that is pip's file of the active virtual environment (--site); your own: ppmproxy configure pip --user; "
    "for all users: ppmproxy configure pip --system"
)
_POETRY_ITSELF = "that counts for `poetry self` alone; for a project, run ppmproxy configure poetry in its folder"

CLIENTS: Mapping[str, Client] = {
    "pip": Client(
        _pip_in_project, _pip_for_user, usual=_usual_of_pip, usual_notes={Scope.PROJECT: _ENVIRONMENT_OF_PIP}
    ),
    "uv": Client(_uv_in_project, _uv_for_user),
    "poetry": Client(
        _poetry_in_project, _poetry_for_user, usual=_usual_of_poetry, usual_notes={Scope.USER: _POETRY_ITSELF}
    ),
    "pdm": Client(_pdm_in_project, _pdm_for_user),
    "pipenv": Client(_pipenv_in_project),
    "r": Client(_r_in_project, _r_for_user, DEFAULT_R_REPO),
    "positron": Client(
        _positron_in_project, _positron_for_user, DEFAULT_R_REPO, "Python packages: ppmproxy configure pip, or uv"
    ),
}
