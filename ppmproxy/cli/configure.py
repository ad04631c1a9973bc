"""`ppmproxy configure`: write the proxy's URL into a client's own file, and undo that exactly.

Configuring first undoes an earlier configuration, so it may be repeated with other settings, and one ``--undo`` still
restores the file as the person left it.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from ppmproxy.cli.context import Context, current_folder, load_config
from ppmproxy.cli.doctor.checks import Outcome, failed
from ppmproxy.cli.doctor.clients import KnownOrigins, client_checks
from ppmproxy.cli.doctor.uploads import upload_checks
from ppmproxy.cli.system_recipe import no_system_file, system_recipe
from ppmproxy.clients.editing.apply import BrokenText, CannotEdit, Language, apply_edits
from ppmproxy.clients.editing.backups import BackupStore, Configured, backup_store_for
from ppmproxy.clients.editing.diff import shown_change
from ppmproxy.clients.editing.encoding import TextForm, text_of
from ppmproxy.clients.editing.undo import Versions, undone
from ppmproxy.clients.files import CLIENTS, Client, ClientFile, Scope
from ppmproxy.clients.index_edits import IndexChoice
from ppmproxy.clients.index_url import DEFAULT_SNAPSHOT, add_index_flags, chosen_index, is_named
from ppmproxy.clients.local_urls import LocalUrls
from ppmproxy.clients.survey import survey
from ppmproxy.clients.system_files import system_file
from ppmproxy.config.model import Settings
from ppmproxy.errors import EXIT_OK, ConfigError, UsageError
from ppmproxy.files import FileSnapshot, read

_CLIENTS_OF = {"r": ("r", "renv", "pak")}  # which all read the same file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The client, the file, and whether to write it."""
    parser.add_argument("client", nargs="?", choices=tuple(CLIENTS), help="client whose file to edit")
    parser.add_argument("--undo", action="store_true", help="remove what this command wrote")
    parser.add_argument("--dry-run", action="store_true", help="print the change as a diff and write nothing")
    whose = parser.add_mutually_exclusive_group()
    whose.add_argument("--project", action="store_true", help="edit this project's file instead of the user's")
    whose.add_argument("--user", action="store_true", help="edit the user's file, in an active virtual environment too")
    whose.add_argument("--system", action="store_true", help="print recipes for all users of this machine")
    add_index_flags(parser, "pypi, for R cran")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Edit the file, or show the change; `ConfigError`, `UsageError`."""
    if arguments.system:
        _refuse_system_file(arguments, context)
    if arguments.client is None:
        raise UsageError("configure needs a client", "name one, as in `ppmproxy configure pip`")
    job = _job(arguments, context, current_folder(), sys.platform)
    with _translated_errors(job):
        change = _undoing(job) if arguments.undo else _configuring(job)
        if arguments.dry_run:
            context.print(shown_change(job.file.path, job.original.data, change.data) or "nothing would change")
        else:
            _apply(change, job)
            context.print(change.report)
            for line in change.notes:
                context.print_err(line)
            if not arguments.undo:
                _print_faults(arguments, context)
    return EXIT_OK


def _refuse_system_file(arguments: argparse.Namespace, context: Context) -> NoReturn:
    """Print what works for all users; always a `UsageError`."""
    settings = load_config(arguments, context).settings
    origin, files = "", []
    for name in (arguments.client,) if arguments.client else CLIENTS:
        index = chosen_index(settings, arguments.repo or CLIENTS[name].default_repo, arguments.snapshot)
        origin, file = str(index.origin), system_file(name, index, sys.platform)
        files += [file] if file else []
    context.print("\n".join(system_recipe(files, sys.platform)))
    raise no_system_file(origin)


def _print_faults(arguments: argparse.Namespace, context: Context) -> None:
    """What still leads this client past the proxy, as `doctor` sees it."""
    here, loaded = replace(context.environment, cwd=current_folder()), load_config(arguments, context).settings
    found = survey(here)
    clients = _CLIENTS_OF.get(arguments.client, (arguments.client,))
    settings = [one for one in found.settings if one.client.lower() in clients]
    results = (
        *(failed("client-files", one.what, one.fix) for one in found.unreadable if arguments.client in one.clients),
        *client_checks(settings, (), KnownOrigins.of_settings(loaded)),
        *upload_checks(here, LocalUrls.of_settings(loaded), arguments.client),
    )
    for result in results:
        if result.outcome is not Outcome.OK:
            for line in result.lines():
                context.print_err(line)


@dataclass(frozen=True, slots=True)
class _Job:
    """One client's file as it is, and its backup."""

    command: str
    notes: tuple[str, ...]
    file: ClientFile
    original: FileSnapshot
    backups: BackupStore
    kept: Configured | None


@dataclass(frozen=True, slots=True)
class _FileChange:
    """The new content of the file (None: no file), the backup to keep, and the report."""

    data: bytes | None
    keep: Configured | None
    report: str
    notes: tuple[str, ...] = ()


def _job(arguments: argparse.Namespace, context: Context, folder: Path, platform: str) -> _Job:
    client = CLIENTS[arguments.client]
    environment = replace(context.environment, cwd=folder, platform=platform)
    named = Scope.USER if arguments.user else Scope.PROJECT if arguments.project else None
    scope = client.scope(environment, named)
    file = client.file(environment, _choice(arguments, context, client), project=scope is Scope.PROJECT)
    original = read(file.path, ConfigError)
    backups = backup_store_for(arguments.client, original.target, environment.state_home())
    usual_note = "" if named else client.usual_notes.get(scope, "")
    shown = named or (scope if usual_note else None)  # what leads to the same file later, too
    command = f"ppmproxy configure {arguments.client}{f' {shown.value}' if shown else ''}"
    notes = tuple(note for note in (client.note, usual_note) if note)
    return _Job(command, notes, file, original, backups, backups.load())


def _choice(arguments: argparse.Namespace, context: Context, client: Client) -> IndexChoice:
    # An undo does not need the settings, so invalid ones do not prevent it.
    settings = Settings() if arguments.undo else load_config(arguments, context).settings
    repo = client.default_repo if arguments.undo else arguments.repo or client.default_repo
    snapshot = DEFAULT_SNAPSHOT if arguments.undo else arguments.snapshot
    return IndexChoice(chosen_index(settings, repo, snapshot), LocalUrls.of_settings(settings), is_named(arguments))


# --- the change ------------------------------------------------------------------------------------------------------


def _configuring(job: _Job) -> _FileChange:
    before, _ = _without_us(job)
    text, form = _text(before or b"", job)
    data = form.data(apply_edits(text, job.file.edits, job.file.language))
    if data == job.original.data:
        return _FileChange(data, job.kept, f"{job.file.path} says it already")
    made = job.kept.made_folders if job.kept else tuple(_missing_folders(job.original.target))
    backup = () if before is None else (f"backup: {job.backups.backup}",)
    return _FileChange(
        data,
        Configured(before, data, made),
        f"wrote {job.file.path}",
        (*backup, f"undo: {job.command} --undo", *job.notes),
    )


def _undoing(job: _Job) -> _FileChange:
    if job.kept is None:
        what = f"nothing to undo: {job.command} has not changed {job.file.path}"
        return _FileChange(job.original.data, None, what, job.notes)
    data, left = _without_us(job)
    if data == job.original.data and not left:
        return _FileChange(data, None, f"nothing to undo: {job.file.path} is as it was")
    notes = (f"changed by somebody since, and left as it is: {left} of our lines",) if left else ()
    return _FileChange(data, None, f"{'removed' if data is None else 'restored'} {job.file.path}", notes)


def _without_us(job: _Job) -> tuple[bytes | None, int]:
    """The file without our changes, and how many of those others have changed since."""
    now, kept = job.original.data, job.kept
    if kept is None or now is None or now == kept.before:
        return now, 0
    if now == kept.ours:
        return kept.before, 0
    (before, _), (ours, _), (text, form) = (_text(data or b"", job) for data in (kept.before, kept.ours, now))
    result = undone(Versions(before, ours, text), job.file.language)
    is_gone = kept.before is None and not result.text.strip()
    return (None if is_gone else form.data(result.text)), result.left


def _text(data: bytes, job: _Job) -> tuple[str, TextForm]:
    try:
        return text_of(data, job.file.language.encoding_errors)
    except UnicodeDecodeError as error:
        line = 1 + data[: error.start].count(b"\n")
        raise BrokenText("it is not UTF-8 text", line) from None


def _missing_folders(path: Path) -> Iterator[Path]:
    return (folder for folder in path.parents if not folder.exists())


# --- writing it ------------------------------------------------------------------------------------------------------


def _apply(change: _FileChange, job: _Job) -> None:
    """Write the backup first and delete it last, so that a crash in between can be undone."""
    if change.keep is not None and change.keep != job.kept:
        job.backups.save(change.keep)
    try:
        _put(change.data, job)
    except ConfigError:
        if job.kept is not None:
            job.backups.save(job.kept)
        else:
            job.backups.forget()
        raise
    if change.keep is None:
        job.backups.forget()


def _put(data: bytes | None, job: _Job) -> None:
    if data == job.original.data:
        return
    if data is not None:
        job.original.replace(data)
        return
    job.original.remove()
    _remove_empty(job.kept.made_folders if job.kept else ())


def _remove_empty(folders: tuple[Path, ...]) -> None:
    with contextlib.suppress(OSError):  # not empty any more
        for folder in folders:
            folder.rmdir()


@contextlib.contextmanager
def _translated_errors(job: _Job) -> Iterator[None]:
    path, language = job.file.path, job.file.language
    try:
        yield
    except BrokenText as error:
        raise _broken(path, language, error) from error
    except CannotEdit as error:
        kept = f"; the file before is kept in {job.backups.backup}" if job.kept and job.kept.before is not None else ""
        what = f"{path} cannot be edited without changing other settings: {error}"
        raise ConfigError(what, f"edit it by hand; nothing was written{kept}") from error


def _broken(path: Path, language: Language, error: BrokenText) -> ConfigError:
    where = f"{path}, line {error.line}" if error.line else str(path)
    return ConfigError(
        f"{where} is not valid {language.name}: {error}", "correct it and try again; nothing was written"
    )
