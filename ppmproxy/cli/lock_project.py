"""The project of a lock file: the folders that belong to it, and the links that lead out of it.

Another user could put a ``.git`` or a link into a shared folder to have files rewritten that are none of the project's.
So a project reaches up only through folders and markers of the user's own (git has the same rule, ``safe.directory``),
and a link to a file elsewhere is not followed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from ppmproxy.access.peer_credentials import own_uid
from ppmproxy.files import FileSnapshot

_PROJECT_FILES = ("pyproject.toml", "Pipfile")


def project_folders(folder: Path) -> Sequence[Path]:
    """A folder, and those above it as far as the project reaches: to its repository or its outermost project file."""
    upwards = [folder, *takewhile(_is_own, folder.parents)] if _is_own(folder) else [folder]
    repositories = [place for place in upwards if _is_own(place / ".git")]
    projects = [place for place in upwards if any(_is_own(place / name) for name in _PROJECT_FILES)]
    top = repositories[0] if repositories else projects[-1] if projects else folder
    return upwards[: upwards.index(top) + 1]


def leads_out(file: FileSnapshot) -> bool:
    """Whether a file is a link to one outside of the project that the link is in."""
    folder = Path(os.path.realpath(file.path.parent))
    return not file.target.is_relative_to(project_folders(folder)[-1])


def left_alone(file: FileSnapshot) -> str:
    """What a person reads of such a link."""
    return f"{file.path} is a link to {file.target}, outside of the project: left alone"


def _is_own(path: Path) -> bool:
    """Whether something of that name is there and belongs to the user."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return os.name != "posix" or found.st_uid == own_uid()
