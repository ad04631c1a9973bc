"""The clients' configuration on this machine: which files are read, and the index settings in them.

A file that cannot be read or parsed is reported, because its client fails on it too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ppmproxy.clients.editing.apply import BrokenText, Language
from ppmproxy.clients.editing.block import MARKED
from ppmproxy.clients.editing.edits import Tree
from ppmproxy.clients.editing.ini import INI
from ppmproxy.clients.editing.json import JSON
from ppmproxy.clients.editing.toml import TOML
from ppmproxy.clients.index_settings import (
    IndexSetting,
    included_files,
    read_environment,
    read_pdm,
    read_pip,
    read_pipfile,
    read_pyproject,
    read_requirements,
    read_uv,
)
from ppmproxy.clients.paths import (
    netrc_files,
    pdm_user_file,
    pip_files,
    pip_system_files,
    poetry_user_file,
    uv_files,
    uv_system_files,
)
from ppmproxy.clients.r_environ import as_r_sees_it
from ppmproxy.clients.r_indexes import read_renv_lock, renv_lock_file
from ppmproxy.clients.uv_indexes import project_files_of_uv
from ppmproxy.environment import Environment
from ppmproxy.errors import ConfigError, PpmProxyError
from ppmproxy.files import read

SettingsReader = Callable[[Tree, str], Iterator[IndexSetting]]  # takes a parsed file and its name
_CLIENTS: Mapping[SettingsReader, tuple[str, ...]] = {
    read_pip: ("pip",),
    read_uv: ("uv",),
    read_pyproject: ("uv", "poetry", "pdm"),
    read_pipfile: ("pipenv",),
    read_pdm: ("pdm",),
}


@dataclass(frozen=True, slots=True)
class UnreadableFile:
    """A file that cannot be read or parsed, and the clients that would read it, as `configure` names them."""

    what: str
    fix: str
    clients: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Audience:
    """For whom a file counts, and the flag with which `configure` edits it, where it would edit another one without."""

    in_project: bool = False
    for_all: bool = False
    flag: str = ""

    def of(self, setting: IndexSetting) -> IndexSetting:
        """The setting with these facts about its file."""
        return replace(setting, in_project=self.in_project, for_all=self.for_all, flag=self.flag)


@dataclass(slots=True)
class Survey:
    """The index settings of all clients of one user in one folder."""

    settings: list[IndexSetting] = field(default_factory=list)
    netrc_hosts: list[str] = field(default_factory=list)
    unreadable: list[UnreadableFile] = field(default_factory=list)

    def add(self, path: Path, language: Language, reader: SettingsReader, audience: Audience | None = None) -> None:
        """Read one file, if there is one; it counts for the user where no other audience is given."""
        for_whom = audience or Audience()
        clients = _CLIENTS.get(reader, ("r",))
        text = self.text_of(path, clients)
        if text is None:
            return
        try:
            settings = reader(language.tree(text.removeprefix("\ufeff")), str(path))
            self.settings += [for_whom.of(one) for one in settings]
        except BrokenText as error:
            self.add_broken(path, language, error, clients)

    def add_broken(self, path: Path, language: Language, error: BrokenText, clients: tuple[str, ...]) -> None:
        """Report a file that its client cannot parse either."""
        where = f"{path}, line {error.line}" if error.line else str(path)
        self.unreadable.append(
            UnreadableFile(f"{where}: not {language.name}: {error}", f"correct {path}, or move it away", clients)
        )

    def add_r(self, environment: Environment) -> None:
        """Read R's profile and variables, and the project's renv.lock."""
        from ppmproxy.clients.r_survey import r_settings  # noqa: PLC0415 - a command is waiting for the others

        r = r_settings(environment, self.text_of)
        for path, error in r.broken:
            self.add_broken(path, MARKED, error, ("r",))
        self.settings += r.settings
        if lock := renv_lock_file(as_r_sees_it(environment)):
            self.add(lock, JSON, lambda tree, where: r.of_lock(read_renv_lock(tree, where)), Audience(in_project=True))

    def add_pip(self, environment: Environment) -> None:
        """Read pip's files, in the order in which each overrules those before it."""
        virtual_environment, of_system = environment.path_in("VIRTUAL_ENV"), [*pip_system_files(environment)]
        for path in pip_files(environment):
            of_environment, for_all = path.parent == virtual_environment, path in of_system
            flag = "" if virtual_environment is None or of_environment or for_all else "--user"
            self.add(path, INI, read_pip, Audience(of_environment, for_all, flag))

    def text_of(self, path: Path, clients: tuple[str, ...] = ()) -> str | None:
        """The text of a file; None when there is none, or it cannot be read."""
        try:
            data = read(path, ConfigError).data
        except PpmProxyError as error:
            self.unreadable.append(UnreadableFile(str(error), error.hint, clients))
            return None
        return None if data is None else data.decode("utf-8", "replace")


def survey(environment: Environment) -> Survey:
    """Read all that pip, uv, Poetry, PDM, pipenv, R and renv would read."""
    found = python_survey(environment)
    found.add_r(environment)
    for path in netrc_files(environment):
        found.netrc_hosts += netrc_hosts(found.text_of(path) or "")
    return found


def python_survey(environment: Environment) -> Survey:
    """Read all that pip, uv, Poetry, PDM and pipenv would read, but for passwords."""
    found = Survey(list(read_environment(environment.environ)))
    found.add_pip(environment)
    of_system = [*uv_system_files(environment)]
    for path in uv_files(environment):
        found.add(path, TOML, read_uv, Audience(path == environment.nearest("uv.toml"), path in of_system))
    nearest = environment.nearest("pyproject.toml")
    workspace = [path for path in project_files_of_uv(environment) if path.name == "pyproject.toml"]
    for path in dict.fromkeys([*([nearest] if nearest else []), *workspace]):
        found.add(path, TOML, read_pyproject, Audience(in_project=True))
    if pipfile := environment.nearest("Pipfile"):
        found.add(pipfile, TOML, read_pipfile, Audience(in_project=True))
    found.add(pdm_user_file(environment), TOML, read_pdm)
    found.add(poetry_user_file(environment), TOML, read_pyproject, Audience(flag="--user"))
    for path, text in _requirements(environment.cwd, found):
        found.settings += read_requirements(text, str(path))
    return found


def _requirements(folder: Path, found: Survey) -> Iterator[tuple[Path, str]]:
    """The requirements files of a project and the files that they include, each once."""
    try:
        waiting = [*sorted(folder.glob("requirements*.txt")), *sorted(folder.glob("requirements/*.txt"))]
    except OSError:
        return  # of a folder that this user may not read
    seen: set[str] = set()
    while waiting:
        path = waiting.pop(0)
        real = os.path.realpath(path)
        if real not in seen:
            seen.add(real)
            text = found.text_of(path, ("pip", "uv")) or ""
            waiting += [path.parent / name for name in included_files(text) if "://" not in name]
            yield path, text


def netrc_hosts(text: str) -> Iterator[str]:
    """The hosts with an entry in a .netrc; "default" matches all others."""
    from ppmproxy.credentials.netrc_file import parse_netrc  # noqa: PLC0415 - as for R

    for entry in parse_netrc(text).entries:
        yield entry.host or "default"
