"""The project around a folder, and its files that record package indexes: lock files, project files, requirements.

A project reaches up to its repository, or else to its outermost project file. Another user could put a ``.git`` or a
link into a shared folder to have other files rewritten. So a project begins in a folder of the user's own and reaches
up only through such folders and markers (git has the same rule, ``safe.directory``), and a link out of the project is
not followed. Folders that installers and version control fill are not searched.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ppmproxy.files import real_path

# The hooks in .pre-commit-hooks.yaml have the same pattern; a test compares them.
KNOWN_NAMES = re.compile(
    r"(?:uv|poetry|pdm|Pipfile|renv|packrat|pkg|pixi)\.lock"
    r"|[^/]+\.py\.lock"
    r"|[^/]*pex[^/]*\.lock|(?:[^/]+\.)?lock\.json"
    r"|pylock(?:\.[^./]+)?\.toml"
    r"|pyproject\.toml|Pipfile|manifest\.json"
    r"|(?:[^/]+[-_.])?(?:requirements|constraints)[^/]*\.(?:txt|in)"
)
REQUIREMENT_SUFFIXES = (".txt", ".in")

_REQUIREMENT_FOLDERS = ("requirements", "constraints")
_ROOT_FILES = ("pyproject.toml", "Pipfile")
_PROJECT_MARKS = (*_ROOT_FILES, "setup.py", "setup.cfg", "DESCRIPTION", "pixi.toml")
_NOT_SEARCHED = {".git", ".hg", ".svn", ".tox", ".nox", ".eggs", "__pycache__", "__pypackages__", "node_modules"}
_NOT_SEARCHED |= {".cache", "site-packages", "renv/library", "renv/staging", "packrat/lib", "packrat/src"}
_ENVIRONMENT_MARKS = {"pyvenv.cfg", "conda-meta", "CACHEDIR.TAG"}  # bford.info/cachedir
_SUFFIXES = (".lock", ".toml", ".json", ".py", *REQUIREMENT_SUFFIXES)
_SCRIPT_MARK = b"# /// script"  # PEP 723
_SCRIPT_HEADER = re.compile(rb"^# /// script[ \t]*\r?$", re.MULTILINE)
_PEX_LOCK = b'"pex_version"'
_LARGEST_SCRIPT = 1 << 20  # bytes
MOST_FOLDERS = 50_000  # a home directory may be a repository, too


@dataclass(frozen=True, slots=True)
class SkippedPath:
    """A file or folder that is left alone, and why."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path} {self.reason}: left alone"


@dataclass(frozen=True, slots=True)
class ProjectFiles:
    """The files found, and those left alone."""

    paths: tuple[Path, ...] = ()
    skipped: tuple[SkippedPath, ...] = ()
    roots: frozenset[Path] = frozenset()  # real paths of the projects; a file that is in none by now is not to be read


def project_owners(environ: Mapping[str, str], uid: int) -> frozenset[int]:
    """The users whose folders may be projects: this one, and for root under sudo the one who called it, as in git."""
    sudo_uid = environ.get("SUDO_UID", "") if uid == 0 else ""
    return frozenset({uid, *([int(sudo_uid)] if sudo_uid.isdecimal() else [])})


def project_root(folder: Path, owners: Collection[int]) -> Path | None:
    """The top folder of the project around a folder; None where there is no project of these users."""
    owned = list(_owned_upwards(folder, owners))
    for place in owned:
        if _belongs_to(place / ".git", owners):
            return place
    roots = [place for place in owned if any(_belongs_to(place / name, owners) for name in _ROOT_FILES)]
    return roots[-1] if roots else None


def project_files(folder: Path, owners: Collection[int], *, changed_since: int = 0) -> ProjectFiles:
    """The files of the project around a folder; of the folder alone where there is no project.

    Those changed since a time, in nanoseconds since the epoch. A folder of another user is left alone, with all that is
    in it: `roots` is empty then.
    """
    if not _belongs_to(folder, owners):
        return ProjectFiles(skipped=(SkippedPath(folder, "belongs to another user, and no file was named"),))
    root = project_root(folder, owners)
    if root is not None:
        return files_in(root, root, changed_since=changed_since)
    is_project = any(os.path.lexists(folder / name) for name in _PROJECT_MARKS)
    below = is_project or bool(files_in(folder, folder, below=False).paths)
    return files_in(folder, folder, below=below, changed_since=changed_since)


def files_in(
    folder: Path, root: Path, *, below: bool = True, most_folders: int = MOST_FOLDERS, changed_since: int = 0
) -> ProjectFiles:
    """The files in a folder and the folders below it; links may lead to files anywhere below `root`."""
    paths: list[Path] = []
    skipped: list[SkippedPath] = []

    def pass_over(error: OSError) -> None:
        reason = (error.strerror or type(error).__name__).lower()
        skipped.append(SkippedPath(Path(error.filename), f"cannot be read ({reason})"))

    for number, (place, folders, names) in enumerate(os.walk(folder, onerror=pass_over)):
        if number >= most_folders:
            skipped.append(SkippedPath(Path(place), f"comes after {most_folders} other folders, with all that follow"))
            break
        if number and not _ENVIRONMENT_MARKS.isdisjoint((*names, *folders)):
            folders.clear()
            continue
        parent = os.path.basename(place)  # noqa: PTH119 - a project may have many thousand folders
        folders[:] = sorted(name for name in folders if _is_searched(parent, name)) if below else []
        for path in _candidates(place, names, changed_since):
            if not records_indexes(path):
                continue
            if outside := _link_out_of(root, path):
                skipped.append(outside)
            else:
                paths.append(path)
    return ProjectFiles(tuple(_each_once(paths)), tuple(skipped), frozenset({real_path(root)}))


def files_named(names: Iterable[Path], owners: Collection[int]) -> ProjectFiles:
    """The files that a person has named, and those below the folders among the names; each once."""
    paths: list[Path] = []
    skipped: list[SkippedPath] = []
    roots: set[Path] = set()
    for name in names:
        folder = real_path(name if name.is_dir() else name.parent)
        root = project_root(folder, owners) or folder
        roots.add(real_path(root))
        if name.is_dir():
            found = files_in(name, root)
            paths += found.paths
            skipped += found.skipped
        elif outside := _link_out_of(root, name):
            skipped.append(outside)
        else:
            paths.append(name)
    once = {real_path(path): path for path in paths}
    return ProjectFiles(tuple(once.values()), tuple(skipped), frozenset(roots))


def _candidates(place: str, names: Iterable[str], changed_since: int) -> Iterator[Path]:
    """The files in a folder that may record indexes by their name, and have changed since a time."""
    for name in sorted(names):
        if name.endswith(_SUFFIXES) or name == "Pipfile":
            with contextlib.suppress(OSError):  # gone
                status = os.stat(os.path.join(place, name))  # noqa: PTH116, PTH118 - twice as fast for many files
                if stat.S_ISREG(status.st_mode) and status.st_ctime_ns >= changed_since:
                    yield Path(place, name)


def records_indexes(path: Path) -> bool:
    """Whether a file is one that installers record indexes in, by its name, or by its content where names vary."""
    if KNOWN_NAMES.fullmatch(path.name):
        return True
    if path.parent.name in _REQUIREMENT_FOLDERS and path.suffix in REQUIREMENT_SUFFIXES:
        return True
    if path.suffix == ".py":
        start = _start_of(path)
        return _SCRIPT_MARK in start and _SCRIPT_HEADER.search(start) is not None
    return path.suffix == ".lock" and _PEX_LOCK in _start_of(path)


def _owned_upwards(folder: Path, owners: Collection[int]) -> Iterator[Path]:
    """The folder and those above it, as long as they belong to these users."""
    for place in (folder, *folder.parents):
        if not _belongs_to(place, owners):
            return
        yield place


def _belongs_to(folder: Path, owners: Collection[int]) -> bool:
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            return folder.lstat().st_uid in owners
        return False
    else:  # noqa: RET505 - mypy takes what follows a return for unreachable on the other platforms
        return True


def _is_searched(parent: str, name: str) -> bool:
    return name not in _NOT_SEARCHED and f"{parent}/{name}" not in _NOT_SEARCHED


def _link_out_of(root: Path, path: Path) -> SkippedPath | None:
    target = real_path(path)
    if not path.is_symlink() or target.is_relative_to(real_path(root)):
        return None
    return SkippedPath(path, f"is a link to {target}, outside of the project")


def _each_once(paths: list[Path]) -> Iterator[Path]:
    """Without the links to files that are named themselves."""
    real = {path: real_path(path) for path in sorted(paths, key=lambda path: not path.is_symlink())}
    named = {target: path for path, target in real.items()}
    return (path for path in paths if named[real[path]] == path)


def _start_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST_SCRIPT)
    except OSError:
        return b""  # whatever reads it next reports that
