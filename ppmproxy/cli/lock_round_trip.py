"""Lock files that name the proxy while a command runs, and the Package Manager before and after.

To change what `exec --canonical-lock` does to lock files, or when it leaves one alone, open this file.

The lock files are those of the project, which reaches up to its repository or its outermost project file: a command in
a member of a workspace uses the workspace's. What the command did not touch comes back byte for byte. What it changed
or made is turned to the Package Manager's URLs. A file that somebody else is at is left alone: one that was changed
before the command began or after it ended, one that is half written, and one that is no readable file any more.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ppmproxy.cli.lock import lock_files_in
from ppmproxy.cli.lock_project import leads_out, left_alone, project_folders
from ppmproxy.clients.editing.apply import BrokenText, Language
from ppmproxy.clients.editing.json import JSON
from ppmproxy.clients.editing.toml import TOML
from ppmproxy.clients.lock_urls import Rewriting, canonical_rewriting, local_rewriting
from ppmproxy.config.model import Settings
from ppmproxy.errors import EXIT_CHECK_FAILED, EXIT_OK, PpmProxyError
from ppmproxy.files import FileSnapshot, read

_ERRORS = "surrogateescape"  # whatever the encoding, every byte comes back
_TICK = 20_000_000  # nanoseconds by which a file system's clock may lag behind


class LockFileError(PpmProxyError):
    """A lock file that cannot be turned, or that somebody else has changed."""

    exit_code = EXIT_CHECK_FAILED


@dataclass(frozen=True, slots=True)
class _Turned:
    """A lock file as it was, and as the command found it."""

    before: bytes = field(repr=False)
    local: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Life:
    """When the command ran, in nanoseconds since the epoch."""

    began: int
    ended: int


def with_local_locks(
    settings: Settings,
    folder: Path,
    command: Callable[[], int],
    told: Callable[[PpmProxyError], None],
    *,
    now: Callable[[], int] = time.time_ns,
) -> int:
    """The command's exit code, or 1 when it ended well and a lock file could not be turned back; `LockFileError`.

    `folder` is where the command runs; `told` hears of every file that is left alone.
    """
    began = now()
    folders = project_folders(folder)
    for path in _lock_files_of(folders):
        if leads_out(file := read(path, LockFileError)):
            told(LockFileError(left_alone(file)))
    turned = _turned_local(settings, folders)
    code: int | None = None
    try:
        code = command()
    finally:
        errors = list(_turned_back(settings, folders, turned, _Life(began, now())))
        for error in errors:
            told(error)
    return code if code != EXIT_OK or not errors else EXIT_CHECK_FAILED


def _lock_files_of(folders: Sequence[Path]) -> list[Path]:
    return [path for folder in folders for path in lock_files_in(folder)]


def _turned_local(settings: Settings, folders: Sequence[Path]) -> Mapping[Path, _Turned]:
    """All lock files of the folders, by their paths; of several none is turned when one cannot be."""
    rewriting = local_rewriting(settings)
    files = [file for path in _lock_files_of(folders) if not leads_out(file := _read(path))]
    turned = {file.path: _Turned(file.data or b"", _rewritten(file, rewriting)) for file in files}
    done: list[Path] = []
    try:
        for file in files:
            if turned[file.path].local != file.data:
                file.replace(turned[file.path].local)
                done.append(file.path)
    except PpmProxyError:
        for path in done:
            with contextlib.suppress(PpmProxyError):
                _read(path).replace(turned[path].before)
        raise
    return turned


def _turned_back(
    settings: Settings, folders: Sequence[Path], turned: Mapping[Path, _Turned], life: _Life
) -> Iterator[PpmProxyError]:
    """Turn every lock file that is there now; give out why one is left alone."""
    rewriting = canonical_rewriting(settings)
    try:
        paths = _lock_files_of(folders)
    except PpmProxyError as error:
        yield error
        return
    for path in paths:
        try:
            _turn_back(path, turned.get(path), rewriting, life)
        except PpmProxyError as error:
            yield error


def _turn_back(path: Path, turned: _Turned | None, rewriting: Rewriting, life: _Life) -> None:
    file = _read(path)
    if leads_out(file):
        return
    if turned and file.data == turned.local:
        expected = turned.before
    else:
        expected = _rewritten(file, rewriting)
        if expected != file.data:
            _check_made_by_command(path, life)
    if expected != file.data:
        file.replace(expected)


def _check_made_by_command(path: Path, life: _Life) -> None:
    try:
        changed = os.stat(path).st_ctime_ns  # noqa: PTH116 - as `Path.stat`, and the same on every platform
    except OSError:
        return  # gone: `replace` says so
    if life.began - _TICK <= changed <= life.ended:
        return
    when = "after the command had ended" if changed > life.ended else "before the command began"
    what = f"{path} was changed by another program, {when}, and still names the proxy"
    raise LockFileError(what, f"look at it, then run: ppmproxy lock canonical {os.path.relpath(path)}")


def _read(path: Path) -> FileSnapshot:
    file = read(path, LockFileError)
    if b"\0" in (file.data or b""):
        raise LockFileError(f"{path} is not a text file", "lock files are UTF-8 text; move it away")
    return file


def _rewritten(file: FileSnapshot, rewriting: Rewriting) -> bytes:
    text = (file.data or b"").decode("utf-8", _ERRORS)
    if rewriting.count(text):
        _check_whole(file.path, text)
    return rewriting.of(text).encode("utf-8", _ERRORS)


def _check_whole(path: Path, text: str) -> None:
    """Not half of a file that another program is just writing: what that still has to write would be lost."""
    language = _language_of(path.name)
    try:
        if language is not None:
            language.tree(text.removeprefix("\ufeff"))
    except BrokenText as error:
        what = f"{path}, line {error.line}: it is half written, or broken: {error}"
        raise LockFileError(
            what, f"nothing was written; when it is whole, run: ppmproxy lock canonical {os.path.relpath(path)}"
        ) from error


def _language_of(name: str) -> Language | None:
    if name.endswith(".txt"):
        return None
    return JSON if name == "Pipfile.lock" else TOML
