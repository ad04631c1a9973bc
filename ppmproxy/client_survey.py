"""A look through the files in which clients are told where packages come from.

To change which files `doctor` reads, open this file; what a setting in them is called is in `told_indexes`.

A file that cannot be read, or not by its client's own rules, is a finding: that client stumbles over it too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from ppmproxy.checkup import Finding, failed, of_error
from ppmproxy.client_files import Machine
from ppmproxy.errors import ConfigError, PpmProxyError
from ppmproxy.ini_edit import INI
from ppmproxy.rewriting import read
from ppmproxy.text_edit import BrokenText, Language
from ppmproxy.told_indexes import (
    Told,
    included,
    netrc_hosts,
    of_environment,
    of_pdm,
    of_pip,
    of_pipfile,
    of_pyproject,
    of_requirements,
    of_uv,
)
from ppmproxy.toml_edit import TOML
from ppmproxy.wishes import Tree

TellIndexes = Callable[[Tree, str], Iterator[Told]]  # what a tree says, and where it stands in words
NO_FILES = ("/dev/null", "nul")  # in PIP_CONFIG_FILE: pip reads no file at all


@dataclass(slots=True)
class Survey:
    """What the clients of one person, in one folder, are told."""

    told: list[Told] = field(default_factory=list)
    netrc_hosts: list[str] = field(default_factory=list)
    broken: list[Finding] = field(default_factory=list)

    def add(self, path: Path, language: Language, told_by: TellIndexes, *, in_project: bool = False) -> None:
        """What one file says, if there is such a file."""
        text = self.text_of(path)
        if text is None:
            return
        try:
            told = told_by(language.tree(text.removeprefix("\ufeff")), str(path))
            self.told += [replace(one, in_project=in_project) for one in told]
        except BrokenText as error:
            where = f"{path}, line {error.line}" if error.line else str(path)
            fix = f"correct {path}, or move it away"
            self.broken.append(failed("client-files", f"{where}: not {language.name}: {error}", fix))

    def text_of(self, path: Path) -> str | None:
        """The text of a file; None when there is none, or none that can be read."""
        try:
            data = read(path, ConfigError).data
        except PpmProxyError as error:
            self.broken.append(of_error("client-files", error))
            return None
        return None if data is None else data.decode("utf-8", "replace")


def survey(machine: Machine) -> Survey:
    """Read everything that pip, uv, Poetry, PDM and pipenv would read here."""
    found = Survey(list(of_environment(machine.environ)))
    environment = machine.named("VIRTUAL_ENV")
    for path in _pip_files(machine):
        found.add(path, INI, of_pip, in_project=path.parent == environment)
    for path in _uv_files(machine):
        found.add(path, TOML, of_uv, in_project=path == machine.nearest("uv.toml"))
    for name, told_by in (("pyproject.toml", of_pyproject), ("Pipfile", of_pipfile)):
        nearest = machine.nearest(name)
        if nearest:
            found.add(nearest, TOML, told_by, in_project=True)
    found.add(_pdm_file(machine), TOML, of_pdm)
    for path, text in _requirements(machine.folder, found):
        found.told += of_requirements(text, str(path))
    found.netrc_hosts += netrc_hosts(found.text_of(_netrc(machine)) or "")
    return found


def _requirements(folder: Path, found: Survey) -> Iterator[tuple[Path, str]]:
    """The requirements files of a project, and those that these have pip read, each once."""
    waiting = [*sorted(folder.glob("requirements*.txt")), *sorted(folder.glob("requirements/*.txt"))]
    seen: set[str] = set()
    while waiting:
        path = waiting.pop(0)
        real = os.path.realpath(path)
        if real not in seen:
            seen.add(real)
            text = found.text_of(path) or ""
            waiting += [path.parent / name for name in included(text) if "://" not in name]
            yield path, text


def _pip_files(machine: Machine) -> Iterator[Path]:
    """Global files, the user's and the virtual environment's, in the order of `pip config debug`."""
    named = machine.environ.get("PIP_CONFIG_FILE", "")
    if named in NO_FILES:
        return
    if machine.platform == "win32":
        name, user = "pip.ini", [machine.app_data(local=False) / "pip" / "pip.ini", machine.home / "pip" / "pip.ini"]
    else:
        name = "pip.conf"
        user = [machine.home / ".pip" / name, machine.config_home() / "pip" / name]
        folders = machine.environ.get("XDG_CONFIG_DIRS") or "/etc/xdg"
        yield from (Path(folder) / "pip" / name for folder in folders.split(":") if folder.startswith("/"))
        yield Path("/etc") / name
    if machine.platform == "darwin":
        user.append(machine.application_support() / "pip" / name)
    replaces_user = bool(named) and machine.exists(machine.folder / named)
    yield from [] if replaces_user else user
    environment = machine.named("VIRTUAL_ENV")
    if environment:
        yield environment / name
    if replaces_user:
        yield machine.folder / named


def _uv_files(machine: Machine) -> Iterator[Path]:
    if machine.environ.get("UV_NO_CONFIG"):
        return
    named = machine.named("UV_CONFIG_FILE")
    if named:
        yield named
        return
    if machine.platform == "win32":
        yield machine.app_data(local=False) / "uv" / "uv.toml"
    else:
        yield Path("/etc/uv/uv.toml")
        yield machine.config_home() / "uv" / "uv.toml"
    nearest = machine.nearest("uv.toml")
    if nearest:
        yield nearest


def _pdm_file(machine: Machine) -> Path:
    folders = {"win32": machine.app_data(local=True) / "pdm", "darwin": machine.application_support() / "pdm"}
    folder = folders.get(machine.platform, machine.config_home() / "pdm")
    return machine.named("PDM_CONFIG_FILE") or folder / "config.toml"


def _netrc(machine: Machine) -> Path:
    return machine.named("NETRC") or machine.home / ".netrc"
