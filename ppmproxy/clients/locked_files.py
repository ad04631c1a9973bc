"""What lock and requirements files name: projects, their versions, and the URLs of their files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ppmproxy.config.toml_text import TomlError, parse_toml, without_bom
from ppmproxy.errors import UsageError
from ppmproxy.files import LARGEST_FILE, read_regular_file
from ppmproxy.index.project_names import normalized

_PIN = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*===?\s*([A-Za-z0-9.!+_-]+)")
_NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
_SDIST = re.compile(r"\.(?:tar\.(?:gz|bz2|xz|zst)|tgz|zip)\Z")


@dataclass(frozen=True, slots=True)
class LockedProject:
    """One project of a lock; no URLs: all files of its version."""

    name: str  # normalised (PEP 503)
    version: str
    urls: tuple[str, ...] = ()
    index: str = ""  # the URL of its index, where the lock names it


@dataclass(frozen=True, slots=True)
class LockedProjects:
    """The projects of a file, and lines that name none in one version."""

    projects: tuple[LockedProject, ...]
    skipped: tuple[str, ...] = ()


def locked_projects(path: Path) -> LockedProjects:
    """What a uv.lock, a pylock.toml or a requirements file names; `UsageError` for any other."""
    try:
        text = without_bom(read_regular_file(path, LARGEST_FILE)[0].decode())
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(f"{path} cannot be read: {reason}", "name a lock or requirements file") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text", "name a lock or requirements file") from error
    if path.suffix not in {".lock", ".toml"}:
        return _requirements(text)
    try:
        document = parse_toml(text)
    except TomlError as error:
        place = f" (at line {error.line}, column {error.column})" if error.line else ""
        raise UsageError(
            f"{path} is not valid TOML: {error}{place}", "name a uv.lock, a pylock.toml or a requirements file"
        ) from error
    packages = document.get("package", document.get("packages"))
    if not isinstance(packages, list):
        raise UsageError(f"{path} is not a lock file that ppmproxy knows", "name a uv.lock or a pylock.toml")
    return LockedProjects(tuple(_locked(package) for package in packages if _is_from_an_index(package)))


def _is_from_an_index(package: object) -> bool:
    return isinstance(package, dict) and isinstance(package.get("name"), str) and bool(list(_urls_of(package)))


def _locked(package: Mapping[str, object]) -> LockedProject:
    source = package.get("source")
    index = source.get("registry", "") if isinstance(source, dict) else package.get("index", "")
    name, version = str(package["name"]), str(package.get("version", ""))
    return LockedProject(normalized(name), version, tuple(_urls_of(package)), index if isinstance(index, str) else "")


def _urls_of(package: Mapping[str, object]) -> Iterator[str]:
    wheels = package.get("wheels")
    for file in [*(wheels if isinstance(wheels, list) else []), package.get("sdist"), package.get("archive")]:
        url = file.get("url") if isinstance(file, dict) else None
        if isinstance(url, str) and url.startswith(("http://", "https://")):
            yield url


def _requirements(text: str) -> LockedProjects:
    projects: dict[LockedProject, None] = {}
    skipped: list[str] = []
    for line in text.replace("\\\n", " ").splitlines():
        requirement = line.partition(" #")[0].strip()
        if not requirement or requirement.startswith(("#", "-")):
            continue
        if pin := _PIN.match(requirement):
            projects[LockedProject(normalized(pin[1]), pin[2])] = None
        else:
            name = _NAME.match(requirement)
            skipped.append(name[1] if name else requirement)
    return LockedProjects(tuple(projects), tuple(skipped))


def is_file_of(filename: str, project: LockedProject) -> bool:
    """Whether a file's name is one of a project in its version (PEP 427, PEP 625)."""
    name = filename.removesuffix(".metadata")
    if name.endswith(".whl"):
        parts = name.split("-")
        return len(parts) > 1 and normalized(parts[0]) == project.name and _is_same(parts[1], project.version)
    stem, found = _SDIST.subn("", name)
    own, dash, version = stem.rpartition("-")
    return bool(found and dash) and normalized(own) == project.name and _is_same(version, project.version)


def _is_same(one: str, other: str) -> bool:
    return one.replace("_", "-").lower() == other.replace("_", "-").lower()
