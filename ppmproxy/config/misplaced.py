"""Files that a person may have meant as the settings file, and that are not read: another folder, another name."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from ppmproxy.config.file import Candidate
from ppmproxy.environment import Environment

_SUFFIXES = frozenset({".toml", ".tml", ".conf", ".cfg", ".ini", ".yaml", ".yml", ".json"})
MOST_NAMED = 3


def misplaced_files(environment: Environment, candidates: Sequence[Candidate]) -> list[Path]:
    """Those that exist, the likeliest first; none where a flag or a variable names the file."""
    if any(one.is_explicit for one in candidates):
        return []
    looked_at = {one.path for one in candidates}
    found = [path for path in _likely(environment, candidates) if path not in looked_at and environment.exists(path)]
    return list(dict.fromkeys(found))[:MOST_NAMED]


def _likely(environment: Environment, candidates: Sequence[Candidate]) -> Iterator[Path]:
    home, config = environment.home, environment.home / ".config"
    for folder in dict.fromkeys(one.path.parent for one in candidates):
        yield from _of_another_name(folder)
        yield folder.with_name("ppmproxy.toml")
    yield from (config / "ppmproxy" / "config.toml", config / "ppmproxy.toml")  # where the platform's place is another
    yield from (home / ".ppmproxy" / "config.toml", home / ".ppmproxy.toml", home / "ppmproxy.toml")
    yield from (environment.cwd / "ppmproxy.toml", environment.cwd / ".ppmproxy.toml")


def _of_another_name(folder: Path) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        yield from (path for path in sorted(folder.iterdir()) if path.suffix.lower() in _SUFFIXES and path.is_file())
