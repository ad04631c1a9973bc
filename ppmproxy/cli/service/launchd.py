"""The service on macOS: a launchd agent (launchd.plist(5)), written for the person to load."""

from __future__ import annotations

import plistlib
from pathlib import Path
from xml.parsers.expat import ExpatError

from ppmproxy.auth.child_env import TOKEN_FILE_VARIABLE
from ppmproxy.cli.service.environment import ServiceEnvironment
from ppmproxy.cli.service.service_command import (
    ServiceCommand,
    remove,
    service_settings,
    shown_changes,
    text_of,
    write,
)
from ppmproxy.errors import EXIT_CHECK_FAILED, EXIT_OK

LABEL = "ppmproxy"


def install(command: ServiceCommand) -> int:
    """Write the agent, and print the command that loads it."""
    file = _file(command)
    environment, _ = service_settings(command, _environment_in(file))
    text = _agent(command, environment)
    if command.dry_run:
        command.context.print(shown_changes([(file, text_of(file), text)]))
        return EXIT_OK
    write(file, text)
    command.context.print(f"wrote {file}\nload it: launchctl bootstrap gui/$(id -u) '{file}'")
    for note in environment.notes:
        command.context.print_err(f"note: {note}")
    return EXIT_OK


def uninstall(command: ServiceCommand) -> int:
    """Remove the agent, and print the command that ends it."""
    file = _file(command)
    if text_of(file) is None:
        command.context.print(f"nothing to remove: there is no {file}")
    elif command.dry_run:
        command.context.print(shown_changes([(file, text_of(file), None)]))
    else:
        remove(file)
        command.context.print(f"removed {file}\nend it: launchctl bootout gui/$(id -u)/{LABEL}")
    return EXIT_OK


def status(command: ServiceCommand) -> int:
    """Whether there is an agent; `ppmproxy status` says whether it runs."""
    file = _file(command)
    is_there = text_of(file) is not None
    command.context.print(f"described in {file}" if is_there else "not installed")
    hint = "whether it runs, says `ppmproxy status`" if is_there else "install it with `ppmproxy service install`"
    command.context.print_err(f"  {hint}")
    return EXIT_OK if is_there else EXIT_CHECK_FAILED


def _file(command: ServiceCommand) -> Path:
    return command.context.home / "Library" / "LaunchAgents" / f"{LABEL}.plist"


def _agent(command: ServiceCommand, environment: ServiceEnvironment) -> str:
    """The property list: started at login, and again whenever it fails."""
    token_file = {} if environment.token_file is None else {TOKEN_FILE_VARIABLE: str(environment.token_file)}
    log = str(command.context.home / "Library" / "Logs" / "ppmproxy.log")
    agent: dict[str, object] = {
        "Label": LABEL,
        "ProgramArguments": list(command.program),
        "EnvironmentVariables": dict(environment.variables) | token_file,
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": 10,
        "ExitTimeOut": 30,
        "ProcessType": "Background",
        "Umask": 0o077,
        "WorkingDirectory": "/",
        "StandardOutPath": log,
        "StandardErrorPath": log,
    }
    return plistlib.dumps(agent, sort_keys=False).decode()


def _environment_in(file: Path) -> ServiceEnvironment | None:
    """What the agent was installed with; None when there is no agent, nothing from one that cannot be read."""
    text = text_of(file)
    if text is None:
        return None
    try:
        found = plistlib.loads(text.encode()).get("EnvironmentVariables", {})
        variables = {str(name): str(value) for name, value in found.items()}
    except (plistlib.InvalidFileException, ExpatError, ValueError, AttributeError):
        variables = {}
    token_file = variables.pop(TOKEN_FILE_VARIABLE, None)
    return ServiceEnvironment(tuple(variables.items()), Path(token_file) if token_file else None)
