"""`exec --canonical-lock`: project files that name the proxy while a command runs, and the Package Manager after it.

A file that the command did not change comes back byte for byte; one that named the proxy before is made canonical.
A file that another program changes meanwhile is left alone: one changed before the command began or after it ended, one
that is half written, and one that is no readable file any more.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ppmproxy.clients.editing.apply import BrokenText
from ppmproxy.clients.file_rewriting import FileRewriting, canonical_files, local_files, with_hash_of
from ppmproxy.clients.lock_hashes import PROJECT_FILES
from ppmproxy.clients.project_files import ProjectFiles, project_files
from ppmproxy.config.model import Settings
from ppmproxy.errors import EXIT_CHECK_FAILED, EXIT_OK, PpmProxyError
from ppmproxy.files import FileSnapshot, read

CLOCK_LAG = 20_000_000  # nanoseconds by which a file system's clock may lag behind


class LockFileError(PpmProxyError):
    """A project file that cannot be rewritten, or that another program has changed."""

    exit_code = EXIT_CHECK_FAILED


@dataclass(frozen=True, slots=True)
class Project:
    """The project of a command: the folder it runs in, and the users whose folders may be projects."""

    folder: Path
    owners: frozenset[int]


@dataclass(frozen=True, slots=True)
class _LocalFile:
    """A file before the command, and as the command found it."""

    before: bytes = field(repr=False)
    local: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class _TimeSpan:
    """When the command ran, in nanoseconds since the epoch."""

    began: int
    ended: int


def with_local_locks(
    settings: Settings,
    project: Project,
    command: Callable[[], int],
    report: Callable[[PpmProxyError], None],
    *,
    now: Callable[[], int] = time.time_ns,
) -> int:
    """The command's exit code, or 1 when it succeeded and a file could not be made canonical; `LockFileError`.

    `report` is called with an error for each file that is left alone.
    """
    began = now()
    found = project_files(project.folder, project.owners)
    for skipped in found.skipped:
        report(LockFileError(str(skipped)))
    local = _make_local(found, settings)
    code: int | None = None
    try:
        code = command()
    finally:
        errors = list(_make_canonical(project, settings, local, _TimeSpan(began, now())))
        for error in errors:
            report(error)
    return code if code != EXIT_OK or not errors else EXIT_CHECK_FAILED


def _make_local(found: ProjectFiles, settings: Settings) -> Mapping[Path, _LocalFile]:
    """Rewrite all files of the project, or none when one cannot be."""
    files, rewriting = [_read(path, found.roots) for path in found.paths], local_files(settings)
    local = {file.path: _LocalFile(data := file.data or b"", _rewritten(file, data, rewriting)) for file in files}
    for path in [path for path in local if path.name in PROJECT_FILES]:
        if project := local.get(path.with_name(PROJECT_FILES[path.name])):
            local[path] = replace(local[path], local=with_hash_of(project.local, path, local[path].local, settings))
    done: list[Path] = []
    try:
        for file in files:
            if local[file.path].local != file.data:
                file.replace(local[file.path].local)
                done.append(file.path)
    except PpmProxyError:
        for path in done:
            with contextlib.suppress(PpmProxyError):
                _read(path, found.roots).replace(local[path].before)
        raise
    return local


def _make_canonical(
    project: Project, settings: Settings, local: Mapping[Path, _LocalFile], span: _TimeSpan
) -> Iterator[PpmProxyError]:
    """Rewrite each file that is there now; yields the error of each that is left alone."""
    found = project_files(project.folder, project.owners)
    for path in sorted(found.paths, key=lambda path: path.name in PROJECT_FILES):  # after the files that they hash
        try:
            _make_file_canonical(_read(path, found.roots), settings, local.get(path), span)
        except PpmProxyError as error:
            yield error


def _make_file_canonical(file: FileSnapshot, settings: Settings, local: _LocalFile | None, span: _TimeSpan) -> None:
    unchanged = local if local is not None and file.data == local.local else None
    canonical = _rewritten(file, unchanged.before if unchanged else file.data or b"", canonical_files(settings))
    if file.path.name in PROJECT_FILES:
        project = read(file.path.with_name(PROJECT_FILES[file.path.name]), LockFileError).data
        canonical = with_hash_of(project or b"", file.path, canonical, settings)
    if canonical == file.data:
        return
    if unchanged is None:
        _check_changed_by_command(file.path, span)
    file.replace(canonical)


def _check_changed_by_command(path: Path, span: _TimeSpan) -> None:
    try:
        changed = os.stat(path).st_ctime_ns  # noqa: PTH116 - as `Path.stat`, and the same on every platform
    except OSError:
        return  # gone: `replace` reports that
    if span.began - CLOCK_LAG <= changed <= span.ended:
        return
    when = "after the command had ended" if changed > span.ended else "before the command began"
    what = f"another program changed {path} {when}, and it still names the proxy"
    raise LockFileError(what, f"check it, then run: ppmproxy lock canonical {os.path.relpath(path)}")


def _read(path: Path, roots: Collection[Path]) -> FileSnapshot:
    file = read(path, LockFileError, roots)
    if b"\0" in (file.data or b""):
        raise LockFileError(f"{path} is not a text file", "move it away, or write it in UTF-8")
    return file


def _rewritten(file: FileSnapshot, data: bytes, rewriting: FileRewriting) -> bytes:
    path = file.path
    try:
        return rewriting.of(path, data).data
    except BrokenText as error:
        what = f"{path}, line {error.line} cannot be read: {error}"
        raise LockFileError(what, f"correct it, then run: ppmproxy lock canonical {os.path.relpath(path)}") from error
