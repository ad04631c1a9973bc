"""Repositories for uploads that clients' own files name: ``.pypirc``, and the settings of uv, PDM and Hatch.

``.pypirc`` is read by twine, flit, maturin and Hatch
(packaging.python.org/specifications/pypirc): an entry of ``index-servers`` is a section with a URL and credentials.
twine and flit know no other section.
"""

from __future__ import annotations

import configparser
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ppmproxy.clients.paths import hatch_user_file, pdm_user_file
from ppmproxy.clients.toml_settings import table, text_in, tree_of
from ppmproxy.clients.uv_indexes import files_of_uv, publish_urls_of_uv
from ppmproxy.environment import Environment


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository that takes uploads, and where it is named; the name is empty where it has none."""

    name: str
    url: str = field(repr=False)  # may hold a password
    where: str = field(default="", compare=False)


def pypirc_file(environment: Environment) -> Path:
    """The file of twine, flit, maturin and Hatch; no variable moves it."""
    return environment.home / ".pypirc"


def repositories_in_pypirc(environment: Environment) -> Iterator[Repository]:
    """Those of ``.pypirc``; a file that cannot be parsed has none."""
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(text_in(pypirc_file(environment)))
    except configparser.Error:
        return
    for name in parser.get("distutils", "index-servers", fallback="pypi testpypi").split():
        if parser.has_section(name):
            url = parser.get(name, "repository", fallback="").strip()  # without one, the public server
            yield Repository(name, url, f"{pypirc_file(environment)}, [{name}]")


def repositories_of_uv(environment: Environment) -> Iterator[Repository]:
    """The ``publish-url`` of uv's settings and of its indexes."""
    for path in files_of_uv(environment):
        for name, url in publish_urls_of_uv(path):
            yield Repository(name, url, f"{path}, publish-url{f' of {name}' if name else ''}")


def repositories_of_pdm(environment: Environment) -> Iterator[Repository]:
    """``[repository.NAME]`` of PDM's settings, the user's and the project's."""
    for path in (pdm_user_file(environment), environment.cwd / "pdm.toml"):
        for name, entry in table(tree_of(text_in(path)).get("repository")).items():
            yield from _repository(name, table(entry).get("url"), f"{path}, [repository.{name}]")


def repositories_of_hatch(environment: Environment) -> Iterator[Repository]:
    """``[publish.index.repos]`` of Hatch's settings, where an entry is a URL or a table."""
    path = hatch_user_file(environment)
    publish = table(tree_of(text_in(path)).get("publish"))
    for name, entry in table(table(publish.get("index")).get("repos")).items():
        url = entry if isinstance(entry, str) else table(entry).get("url")
        yield from _repository(name, url, f"{path}, [publish.index.repos.{name}]")


REPOSITORIES: Mapping[str, Callable[[Environment], Iterator[Repository]]] = {  # by client, as `configure` names it
    "twine": repositories_in_pypirc,
    "uv": repositories_of_uv,
    "pdm": repositories_of_pdm,
    "hatch": repositories_of_hatch,
}


def _repository(name: str, url: object, where: str) -> Iterator[Repository]:
    if isinstance(url, str):
        yield Repository(name, url, where)
