"""Repositories of R: in renv.lock, in a person's .Rprofile and in variables; and how renv is pointed at the proxy.

renv takes the repositories of ``RENV_CONFIG_REPOS_OVERRIDE`` for those of a renv.lock, also when it installs itself in
a fresh clone: one URL, or ``name=URL;name=URL``. An .Rprofile is a program: URLs are found where it sets repositories
in one of the usual ways, by `options` or by an assignment.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ppmproxy.clients.index_settings import VARIABLE, IndexSetting, Role
from ppmproxy.clients.local_urls import LocalUrls
from ppmproxy.environment import Environment
from ppmproxy.errors import ConfigError, PpmProxyError
from ppmproxy.files import read

if TYPE_CHECKING:
    from ppmproxy.clients.editing.edits import Tree

RENV_OVERRIDE = "RENV_CONFIG_REPOS_OVERRIDE"
LOCK_FILE = "renv.lock"
R_VARIABLES = {RENV_OVERRIDE: "renv", "PKG_CRAN_MIRROR": "pak"}
_SETTINGS = {"repos", "BioC_mirror", "renv.config.repos.override", *R_VARIABLES}
_TOKEN = re.compile(
    r"(?P<comment>#[^\n]*)"
    r'|(?P<string>"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\')'
    r"|(?P<open>[(\[{])|(?P<close>[)\]}])|(?P<end>[\n;])|(?P<word>[\w.]+)|(?P<other>.)",
    re.DOTALL,
)


def r_repository_variables(url: str) -> dict[str, str]:
    """The variables of renv and pak for one repository."""
    return {RENV_OVERRIDE: _override({"CRAN": url}), "PKG_CRAN_MIRROR": url}


def renv_variables(environment: Environment, urls: LocalUrls) -> dict[str, str]:
    """The variable for renv, where it or else the project's renv.lock names a repository below an upstream."""
    set_already = environment.environ.get(RENV_OVERRIDE, "")
    repos = dict(_named_urls(set_already)) if set_already else _locked_repos(environment)
    if not any(map(urls.is_upstream, repos.values())):
        return {}
    return {RENV_OVERRIDE: _override({name: urls.local(url) for name, url in repos.items()})}


def _override(repos: Mapping[str, str]) -> str:
    """The value of the variable: a plain URL where there is one, as versions before 1.1 of renv have it."""
    [*urls] = repos.values()
    if len(urls) == 1 and "=" not in urls[0]:
        return urls[0]
    return ";".join(f"{name}={url}" for name, url in repos.items())


def read_r_environment(environ: Mapping[str, str]) -> Iterator[IndexSetting]:
    """Settings in the variables of renv and pak."""
    for variable, client in R_VARIABLES.items():
        for _, url in _named_urls(environ.get(variable, "")):
            yield IndexSetting(client, Role.INDEX, f"{VARIABLE}{variable}", url)


def read_renv_lock(tree: Tree, where: str) -> Iterator[IndexSetting]:
    """The repositories in a renv.lock."""
    for name, url in _repos_of(tree):
        yield IndexSetting("renv", Role.INDEX, f"{where}, repository {name}", url)


@dataclass(slots=True)
class _RStatement:
    """A statement of R as far as it was read."""

    words: list[str] = field(default_factory=list)
    urls: int = 0
    argument_depth: int = 0  # of brackets, where repositories are set; 0: nowhere

    @property
    def is_indexed_assignment(self) -> bool:
        """Whether it begins like ``r["CRAN"] <-``, as after ``r <- getOption("repos")``."""
        return self.words[1:2] in (["["], ["$"])

    @property
    def role(self) -> Role:
        """Of the repository whose URL comes next: the first one, or that named CRAN where each has a statement."""
        is_first = self.words[-1:] == ["CRAN"] if self.is_indexed_assignment else not self.urls
        return Role.INDEX if is_first else Role.EXTRA


def read_r_profile(text: str, where: str) -> Iterator[IndexSetting]:
    """Settings in the text of an .Rprofile; `section` is the repository's name, or that of the option."""
    statement, brackets, line, knows_repositories = _RStatement(), [""], 1, False
    for token in _TOKEN.finditer(text):
        kind, word = token.lastgroup, token[0]
        is_between = brackets[-1] in ("", "{")
        if kind == "string" and re.match(r"https?://", word[1:-1]):
            if statement.argument_depth or (knows_repositories and statement.is_indexed_assignment):
                name = _name_in(statement)
                place = f"{where}, {name} in line {line}"
                yield IndexSetting("R", statement.role, place, word[1:-1], section=name)
            statement.urls += 1
        elif kind in ("string", "word"):
            name = word.strip("\"'")
            statement.words.append(name)
            knows_repositories = knows_repositories or name == "repos"
            if name in _SETTINGS:
                statement.argument_depth = len(brackets)
        elif kind == "open" or word == "$":
            brackets += [word] if kind == "open" else []
            statement.words.append(word)
        elif kind == "close" and len(brackets) > 1:
            brackets.pop()
        elif word == "," and len(brackets) == statement.argument_depth:
            statement.argument_depth = 0
        if (kind == "end" and is_between) or word == "{":
            statement = _RStatement()
        line += word.count("\n")


def _name_in(statement: _RStatement) -> str:
    """The name of the repository whose URL comes next in a statement."""
    return next((word for word in reversed(statement.words) if re.fullmatch(r"[\w.]+", word) and word != "c"), "repos")


def _locked_repos(environment: Environment) -> dict[str, str]:
    """The repositories of the nearest renv.lock; none when it is not there, or cannot be read."""
    path = renv_lock_file(environment)
    if path is None:
        return {}
    from ppmproxy.clients.editing.apply import BrokenText  # noqa: PLC0415 - for projects of R alone
    from ppmproxy.clients.editing.json import JSON  # noqa: PLC0415

    try:
        data = read(path, ConfigError).data or b""
        return dict(_repos_of(JSON.tree(data.decode("utf-8", "replace").removeprefix("\ufeff")) if data else {}))
    except (BrokenText, PpmProxyError):
        return {}


def renv_lock_file(environment: Environment) -> Path | None:
    """The lock file of renv's project here."""
    return environment.path_in("RENV_PATHS_LOCKFILE") or environment.nearest(LOCK_FILE)


def _repos_of(tree: Tree) -> Iterator[tuple[str, str]]:
    r = tree.get("R")
    repositories = r.get("Repositories") if isinstance(r, dict) else None
    for entry in repositories if isinstance(repositories, list) else ():
        name, url = (entry.get("Name"), entry.get("URL")) if isinstance(entry, dict) else (None, None)
        if isinstance(name, str) and isinstance(url, str):
            yield name, url


def _named_urls(value: str) -> Iterator[tuple[str, str]]:
    """The repositories in a variable; one without a name is CRAN."""
    for part in filter(None, (part.strip() for part in value.split(";"))):
        name, equals, url = part.partition("=")
        yield (name, url) if equals and "://" not in name else ("CRAN", part)
