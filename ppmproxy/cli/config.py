"""`ppmproxy config`: show or check the effective settings, or print an example file."""

from __future__ import annotations

import argparse

from ppmproxy.cli.context import Context, load_config
from ppmproxy.cli.unread_files import unread_files
from ppmproxy.config.load import EffectiveSetting, LoadedConfig, example
from ppmproxy.errors import EXIT_OK, ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do with the settings."""
    parser.add_argument(
        "action",
        choices=("show", "check", "example"),
        help="show: print the effective settings and their sources; check: report errors; "
        "example: print an annotated file",
    )


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Print the result; `ConfigError` when the settings cannot be used."""
    if arguments.action == "example":
        context.print(example().rstrip("\n"))
        return EXIT_OK
    loaded = load_config(arguments, context)
    if arguments.action == "show":
        context.print("\n".join([f"# {_file_line(loaded)}", *_shown(loaded.entries)]))
    else:
        _check_references(loaded)
        context.print(f"the settings are valid\n{_file_line(loaded)}")
    for path, command in unread_files(loaded, context.environment):
        context.print_err(f"note: {path} is not read; to have it read: {command}")
    return EXIT_OK


def _file_line(loaded: LoadedConfig) -> str:
    if loaded.file_name:
        return f"settings file: {loaded.file_name}"
    return f"no settings file: looked at {' and '.join(str(one.path) for one in loaded.candidates)}"


def _check_references(loaded: LoadedConfig) -> None:
    """Check what `ppmproxy run` would refuse: unusable certificates, unknown users."""
    from ppmproxy.access.peer_credentials import own_uid, uid_of_name  # noqa: PLC0415
    from ppmproxy.access.policy import users_of  # noqa: PLC0415 - only for a check
    from ppmproxy.upstream.tls import Trust  # noqa: PLC0415

    settings = loaded.settings
    try:
        users_of(settings.access, own_uid(), uid_of_name)
        for upstream in settings.upstreams:
            Trust(upstream, with_client_certificate=True).context()
    except ConfigError as error:
        key = str(error).partition(" ")[0]
        sources = [entry.source for entry in loaded.entries if entry.key.rpartition(".")[2] == key]
        raise ConfigError(f"{sources[0]}: {error}" if len(sources) == 1 else str(error), error.hint) from error


def _shown(entries: tuple[EffectiveSetting, ...]) -> list[str]:
    width = min(60, max(len(f"{entry.key} = {entry.value}") for entry in entries))
    return [f"{f'{entry.key} = {entry.value}':{width}}  # {entry.source}" for entry in entries]
