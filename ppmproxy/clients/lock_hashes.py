"""The hash of its project file that a lock file records, where that covers the URLs of indexes.

pipenv, Poetry and PDM refuse a lock file whose hash is not that of the project file. So when the project file's URLs
are rewritten, the hash follows. A hash by rules that are not known here stays as it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping

from ppmproxy.clients.editing.apply import BrokenText
from ppmproxy.clients.editing.edits import Tree
from ppmproxy.clients.editing.toml import TOML

PROJECT_FILES: Mapping[str, str] = {  # by the lock file beside them
    "Pipfile.lock": "Pipfile",
    "poetry.lock": "pyproject.toml",
    "pdm.lock": "pyproject.toml",
}


def with_project_hash(lock_name: str, lock: str, project: str, other_spellings: Iterable[str]) -> str:
    """The lock file with the hash of the project file, in place of that of the same file with other URLs."""
    contents = _CONTENTS[lock_name]
    for other in other_spellings:
        for old, new in zip(_hashes(other, contents), _hashes(project, contents), strict=False):
            if old in lock:
                return lock.replace(old, new)
    return lock


def _hashes(project: str, contents: Callable[[Tree], Iterator[str]]) -> list[str]:
    try:
        return [hashlib.sha256(content.encode()).hexdigest() for content in contents(TOML.tree(project))]
    except (BrokenText, TypeError, UnicodeEncodeError):  # TypeError: a date, which JSON does not have
        return []


def _pipenv_contents(pipfile: Tree) -> Iterator[str]:
    """What pipenv hashes (plette.Pipfile.get_hash)."""
    meta = {"sources": pipfile.get("source", []), "requires": pipfile.get("requires", {})}
    content: Tree = {"_meta": meta, "default": pipfile.get("packages", {}), "develop": pipfile.get("dev-packages", {})}
    known = {"source", "packages", "dev-packages", "requires", "scripts", "pipfile", "pipenv", "default", "develop"}
    content |= {name: value for name, value in pipfile.items() if name not in known}
    yield json.dumps(content, sort_keys=True, separators=(",", ":"))


def _poetry_contents(pyproject: Tree) -> Iterator[str]:
    """What Poetry 2 hashes, and earlier ones without dependency groups (Locker._get_content_hash)."""
    project = _present(_table(pyproject, "project"), ("requires-python", "dependencies", "optional-dependencies"))
    poetry = _table(pyproject, "tool", "poetry")
    for groups in ({}, _table(pyproject, "dependency-groups")):
        relevant = {name: part for name, part in (("project", project), ("dependency-groups", groups)) if part}
        keys = ("dependencies", "source", "extras", "dev-dependencies")
        settings: Tree = {} if relevant else dict.fromkeys(keys)
        settings |= _present(poetry, (*keys, "group"))
        yield json.dumps({**relevant, "tool": {"poetry": settings}} if relevant else settings, sort_keys=True)


def _pdm_contents(pyproject: Tree) -> Iterator[str]:
    """What PDM hashes (PyProject.content_hash)."""
    project, pdm = _table(pyproject, "project"), _table(pyproject, "tool", "pdm")
    groups: dict[str, list[object]] = {}
    tables = (_table(pyproject, "dependency-groups"), _table(pdm, "dev-dependencies"))
    for name, requirements in (pair for table in tables for pair in table.items()):
        group = groups.setdefault(name.lower().replace("_", "-").replace(".", "-"), [])
        group += requirements if isinstance(requirements, list) else []
    content = {
        "sources": pdm.get("source", []),
        "dependencies": project.get("dependencies", []),
        "dev-dependencies": groups,
        "optional-dependencies": project.get("optional-dependencies", {}),
        "requires-python": project.get("requires-python", ""),
        "resolution": pdm.get("resolution", {}),
    }
    yield json.dumps(content, sort_keys=True)


def _table(tree: Tree, *path: str) -> Tree:
    for name in path:
        below = tree.get(name)
        tree = below if isinstance(below, dict) else {}
    return tree


def _present(tree: Tree, keys: Iterable[str]) -> Tree:
    return {key: tree[key] for key in keys if tree.get(key) is not None}


_CONTENTS: Mapping[str, Callable[[Tree], Iterator[str]]] = {
    "Pipfile.lock": _pipenv_contents,
    "poetry.lock": _poetry_contents,
    "pdm.lock": _pdm_contents,
}
