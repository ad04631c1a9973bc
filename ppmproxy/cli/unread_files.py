"""Files that a person may have meant as their settings, each with the command that puts it where it is read."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from ppmproxy.config.load import LoadedConfig
from ppmproxy.config.misplaced import misplaced_files
from ppmproxy.environment import Environment


def unread_files(loaded: LoadedConfig, environment: Environment) -> Iterator[tuple[Path, str]]:
    """Each such file and its command; none where the person's own file is read."""
    own = loaded.candidates[0].path if loaded.candidates else None
    if own is None or loaded.file_name == str(own):
        return
    for path in misplaced_files(environment, loaded.candidates):
        make = "" if own.parent == path.parent else f"mkdir -p {shlex.quote(str(own.parent))} && "
        yield path, f"{make}mv {shlex.quote(str(path))} {shlex.quote(str(own))}"
