"""Indexes of uv in a project and its workspace, and the variables that point them at the proxy.

A named index is overridden by ``UV_INDEX=name=url``, an explicit one too; the default one by ``UV_DEFAULT_INDEX``
(docs.astral.sh/uv/concepts/indexes). A project's own default keeps its repository unless another one was named.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ppmproxy.clients.local_urls import LocalUrls
from ppmproxy.clients.paths import uv_own_files
from ppmproxy.clients.toml_settings import array, table, text_in, tree_of
from ppmproxy.environment import Environment

if TYPE_CHECKING:
    from ppmproxy.clients.editing.edits import Tree

_WORD = re.compile(r"(?:(?P<name>[A-Za-z0-9][\w.-]*)=)?(?P<url>\S+)")


@dataclass(frozen=True, slots=True)
class UvIndex:
    """One entry of uv's index tables; the name is empty where it has none."""

    name: str
    url: str
    is_default: bool = False


def uv_variables(environment: Environment, urls: LocalUrls, *, is_named: bool) -> dict[str, str]:
    """The variables for indexes below an upstream, on top of the caller's; `is_named`: the default one stays."""
    found = list(uv_indexes(environment, urls))
    words = [_local_word(word, urls) for word in _WORD.finditer(environment.environ.get("UV_INDEX", ""))]
    names = {word.partition("=")[0] for word in words if "=" in word.partition("://")[0]}
    for index in found:
        if index.name and index.name not in names and not index.is_default and urls.is_upstream(index.url):
            names.add(index.name)
            words.append(f"{index.name}={urls.local(index.url)}")
    variables = {"UV_INDEX": " ".join(words)} if words else {}
    default = next((index for index in found if index.is_default), None)
    if default and not is_named and urls.is_upstream(default.url):
        variables |= dict.fromkeys(("UV_DEFAULT_INDEX", "UV_INDEX_URL"), urls.local(default.url))
    return variables


def uv_indexes(environment: Environment, urls: LocalUrls) -> Iterator[UvIndex]:
    """All indexes, nearest first; none where no file may name an upstream. Files that uv cannot read have none."""
    texts = {path: text_in(path) for path in files_of_uv(environment)}
    if any(map(urls.may_be_in, texts.values())):  # a project file takes some milliseconds to parse
        for path, text in texts.items():
            yield from _indexes_in(_settings_in(path, text))


def files_of_uv(environment: Environment) -> Iterator[Path]:
    """The files of the project, its workspace, the user and the system, nearest first."""
    yield from project_files_of_uv(environment)
    yield from reversed([*uv_own_files(environment)])


def project_files_of_uv(environment: Environment) -> Iterator[Path]:
    """The uv.toml and pyproject.toml of the current folder, of those above it, and of the members of workspaces."""
    above: list[Path] = []
    for folder in (environment.cwd, *environment.cwd.parents):
        above += [folder / name for name in ("uv.toml", "pyproject.toml") if environment.exists(folder / name)]
        if environment.exists(folder / ".git"):
            break
    yield from above
    for path in above:
        for member in _members(path):
            if member not in above:
                yield member


def _members(pyproject: Path) -> Iterator[Path]:
    text = text_in(pyproject) if pyproject.name == "pyproject.toml" else ""
    workspace = table(_settings_in(pyproject, text).get("workspace")) if "workspace" in text else {}
    for pattern in array(workspace.get("members")):
        if isinstance(pattern, str) and not Path(pattern).is_absolute() and ".." not in Path(pattern).parts:
            yield from sorted(pyproject.parent.glob(f"{pattern}/pyproject.toml"))


def settings_of_uv(path: Path) -> Tree:
    """The settings of uv in a uv.toml or a pyproject.toml."""
    return _settings_in(path, text_in(path))


def _settings_in(path: Path, text: str) -> Tree:
    tree = tree_of(text)
    return table(table(tree.get("tool")).get("uv")) if path.name == "pyproject.toml" else tree


def _indexes_in(settings: Tree) -> Iterator[UvIndex]:
    for entry in map(table, array(settings.get("index"))):
        name, url = entry.get("name"), entry.get("url")
        if isinstance(url, str):
            yield UvIndex(name if isinstance(name, str) else "", url, entry.get("default") is True)


def publish_urls_of_uv(path: Path) -> Iterator[tuple[str, str]]:
    """The URLs for uploads in a file of uv's, each with the name of its index, or ""."""
    settings = settings_of_uv(path)
    for entry in (settings, *map(table, array(settings.get("index")))):
        name, url = entry.get("name"), entry.get("publish-url")
        if isinstance(url, str):
            yield (name if isinstance(name, str) else ""), url


def _local_word(word: re.Match[str], urls: LocalUrls) -> str:
    url = urls.local(word["url"])
    return f"{word['name']}={url}" if word["name"] else url
