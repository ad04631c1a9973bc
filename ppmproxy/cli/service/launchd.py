"""The service on macOS and Windows: a launchd agent or a scheduled task, written for the person to load.

To change where those files go, or how they are loaded, open this file.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ppmproxy.cli.service.environment import ServiceEnvironment
from ppmproxy.cli.service.launchd_plist import LABEL, agent, environment_of
from ppmproxy.cli.service.scheduled_task import NAME, task
from ppmproxy.cli.service.service_command import ServiceCommand, carried_by, remove, shown, text_of, write
from ppmproxy.config.keys import KEYS
from ppmproxy.environment import Environment
from ppmproxy.errors import EXIT_CHECK_FAILED, EXIT_OK

_FLAGS = {key.variable: key.flag for key in KEYS if key.is_flag} | {"PPMPROXY_CONFIG": "--config"}
_TOKEN_FILE = "PPMPROXY_TOKEN_FILE"  # noqa: S105 - the name of a variable


@dataclass(frozen=True, slots=True)
class _Kind:
    """Where a platform's description of the service lies, and the commands that take it from there."""

    file: Path
    load: str
    unload: str


def _kind(command: ServiceCommand, platform: str) -> _Kind:
    home = command.context.home
    if platform == "darwin":
        file = home / "Library" / "LaunchAgents" / f"{LABEL}.plist"
        return _Kind(file, f"launchctl bootstrap gui/$(id -u) '{file}'", f"launchctl bootout gui/$(id -u)/{LABEL}")
    file = Environment(command.context.environ, home, platform=platform).state_home() / "ppmproxy" / "service.xml"
    return _Kind(file, f'schtasks /Create /TN {NAME} /XML "{file}"', f"schtasks /Delete /TN {NAME} /F")


def install(command: ServiceCommand, platform: str = sys.platform) -> int:
    """Write the description, and say how it is loaded."""
    kind = _kind(command, platform)
    carried, _ = carried_by(command, _given(kind.file) if platform == "darwin" else None)
    text = _description(command, carried, platform)
    if command.dry_run:
        command.context.say(shown([(kind.file, text_of(kind.file), text)]))
        return EXIT_OK
    write(kind.file, text)
    command.context.say(f"wrote {kind.file}\nload it: {kind.load}")
    for note in (*carried.notes, *_left_out(carried, platform)):
        command.context.note(f"note: {note}")
    return EXIT_OK


def _given(file: Path) -> ServiceEnvironment | None:
    """What an agent was given when it was written; None when there is none of ours."""
    text = text_of(file)
    if text is None:
        return None
    environment = environment_of(text)
    token_file = environment.pop(_TOKEN_FILE, None)
    return ServiceEnvironment(tuple(environment.items()), Path(token_file) if token_file else None)


def _environment(carried: ServiceEnvironment) -> dict[str, str]:
    token_file = {} if carried.token_file is None else {_TOKEN_FILE: str(carried.token_file)}
    return dict(carried.environment) | token_file


def _left_out(carried: ServiceEnvironment, platform: str) -> Iterator[str]:
    """What a scheduled task cannot be given: it has no environment of its own."""
    if platform == "win32":
        for name, value in _environment(carried).items():
            if name not in _FLAGS:
                yield f'{name} is not part of the task; set it for yourself: setx {name} "{value}"'


def _description(command: ServiceCommand, carried: ServiceEnvironment, platform: str) -> str:
    environment = _environment(carried)
    if platform == "darwin":
        return agent(command.program, environment, command.context.home / "Library" / "Logs" / "ppmproxy.log")
    flags = [word for name, value in environment.items() if name in _FLAGS for word in (_FLAGS[name], value)]
    return task(command.program[0], subprocess.list2cmdline([*command.program[1:], *flags]))


def uninstall(command: ServiceCommand, platform: str = sys.platform) -> int:
    """Remove the description, and say how what was loaded is ended."""
    kind = _kind(command, platform)
    if text_of(kind.file) is None:
        command.context.say(f"nothing to remove: there is no {kind.file}")
    elif command.dry_run:
        command.context.say(shown([(kind.file, text_of(kind.file), None)]))
    else:
        remove(kind.file)
        command.context.say(f"removed {kind.file}\nend it: {kind.unload}")
    return EXIT_OK


def status(command: ServiceCommand, platform: str = sys.platform) -> int:
    """Whether there is a description; whether it runs, says `ppmproxy status`."""
    kind = _kind(command, platform)
    is_there = text_of(kind.file) is not None
    command.context.say(f"described in {kind.file}" if is_there else "not installed")
    hint = "whether it runs, says `ppmproxy status`" if is_there else "install it with `ppmproxy service install`"
    command.context.note(f"  {hint}")
    return EXIT_OK if is_there else EXIT_CHECK_FAILED
