"""The service on Linux: installs, starts, checks and removes the units of the user's systemd.

The units' text is in `units`.
"""

from __future__ import annotations

import getpass
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ppmproxy.access.listeners import open_listeners
from ppmproxy.cli.already_running import own_daemon_named
from ppmproxy.cli.rich_terminal import steps_on
from ppmproxy.cli.service.environment import ServiceEnvironment
from ppmproxy.cli.service.health import PROPERTIES, Health
from ppmproxy.cli.service.served import served_lines
from ppmproxy.cli.service.service_command import (
    ServiceCommand,
    remove,
    remove_empty,
    service_settings,
    shown_changes,
    text_of,
    write,
)
from ppmproxy.cli.service.systemctl import ServiceError, StartError, UserSystemd
from ppmproxy.cli.service.units import (
    SERVICE,
    SOCKET,
    UnitSettings,
    environment_of_unit,
    exec_line,
    first_unlistenable,
    is_unmodified,
    listen_stream,
    listen_streams,
    service_unit,
    socket_unit,
    version_in,
    with_digest,
)
from ppmproxy.config.local_address import TcpAddress
from ppmproxy.config.model import AccessRule, Settings, SignIn
from ppmproxy.environment import Environment
from ppmproxy.errors import EXIT_CHECK_FAILED, EXIT_OK, CannotListenError, ConfigError, PpmProxyError

LINGER = Path("/var/lib/systemd/linger")  # one file for each user who lingers: logind.conf(5)


@dataclass(frozen=True, slots=True)
class _Units:
    """The two unit files on disk."""

    folder: Path
    texts: Mapping[str, str | None]

    @classmethod
    def found(cls, systemd: UserSystemd, environment: Environment) -> _Units:
        folder = systemd.unit_folder(environment)
        return cls(folder, {name: text_of(folder / name) for name in (SOCKET, SERVICE)})

    @property
    def edited(self) -> list[Path]:
        return [self.folder / name for name, text in self.texts.items() if text is not None and not is_unmodified(text)]

    @property
    def given(self) -> ServiceEnvironment | None:
        """The environment of the installed service; None when there is none."""
        text = self.texts[SERVICE]
        return None if text is None else ServiceEnvironment(*environment_of_unit(text))

    @property
    def is_there(self) -> bool:
        return any(text is not None for text in self.texts.values())


# --- install ----------------------------------------------------------------------------------------------------------


def install(command: ServiceCommand) -> int:
    """Write the units, start socket and service, and wait until the service is ready."""
    context, systemd = command.context, UserSystemd(command.child_environ)
    if not command.dry_run:
        systemd.check()
    units = _Units.found(systemd, context.environment)
    _refuse_edited(units, command)
    environment, settings = service_settings(command, units.given)
    texts = _unit_texts(command, environment, settings)
    if command.dry_run:
        context.print(shown_changes((units.folder / name, units.texts[name], text) for name, text in texts.items()))
        return EXIT_OK
    changed = [name for name, text in texts.items() if units.texts[name] != text]
    try:
        with steps_on(context.err) as show:
            _write_and_start(_Installation(command, systemd, units, settings, texts), changed, show)
            show("asking the Package Manager, with the token of the service (30 s at most)")
            served = list(served_lines(command, settings))
    except StartError as error:
        context.print_err("\n".join(error.log))
        raise error.cause from error
    before = version_in(units.texts[SERVICE] or "")
    for line in _installed(command, units.folder, changed, before):
        context.print(line)
    context.print("\n".join(served))
    for note in (*environment.notes, *_linger_notes()):
        context.print_err(f"note: {note}")
    return EXIT_OK


@dataclass(frozen=True, slots=True)
class _Installation:
    """The units as they are, and as they are to be."""

    command: ServiceCommand
    systemd: UserSystemd
    units: _Units
    settings: Settings
    texts: Mapping[str, str]


def _write_and_start(installation: _Installation, changed: Sequence[str], show: Callable[[str], None]) -> None:
    """Write the changed units, and return when requests are answered; `show` is called with each step."""
    systemd, units, settings = installation.systemd, installation.units, installation.settings
    show("looking whether the addresses are free")
    with own_daemon_named(settings, installation.command.context.environment):
        _refuse_taken(settings, units.texts[SOCKET] if _is_active(systemd, SOCKET) else None)
    if SOCKET in changed:
        show("stopping the service that listens elsewhere")
        systemd.call("stop", SOCKET, SERVICE)
    show("writing the units")
    importlib.import_module("ppmproxy.cli.run")  # writes the bytecode, which the service itself may not write
    for name in changed:
        write(units.folder / name, installation.texts[name])
    _make_token_folder(installation.command, settings)
    show("starting the service, until it is ready")
    try:
        _start(systemd, restart=bool(changed))
    except PpmProxyError as error:
        raise StartError(error, systemd.last_words(SERVICE)) from error


def _unit_texts(command: ServiceCommand, environment: ServiceEnvironment, settings: Settings) -> dict[str, str]:
    wrong = first_unlistenable(settings.listen)
    if wrong is not None:
        hint = "name it by its number, with a port that stays: 127.0.0.1:7760"
        raise ConfigError(f"systemd cannot listen on {wrong} for a service", hint)
    service = UnitSettings(
        exec_line(*command.program),
        settings.listen,
        environment.variables,
        environment.token_file,
        is_sandboxed=settings.access.rule is not AccessRule.LISTED,
    )
    return {
        name: with_digest(unit(service), command.version)
        for name, unit in ((SOCKET, socket_unit), (SERVICE, service_unit))
    }


def _refuse_edited(units: _Units, command: ServiceCommand) -> None:
    if units.edited and not command.force:
        what = f"{units.edited[0]} was edited by hand"
        hint = f"keep the changes with `systemctl --user edit {units.edited[0].name}`, then say this again with --force"
        raise ConfigError(what, hint)


def _refuse_taken(settings: Settings, active: str | None) -> None:
    """Raise `CannotListenError` that names the holder of a port, which systemd does not.

    `active` is the text of the socket unit on which systemd listens now.
    """
    ours = listen_streams(active or "")
    addresses = [one for one in settings.listen if isinstance(one, TcpAddress) and listen_stream(one) not in ours]
    for listener in open_listeners(addresses) if addresses else ():
        listener.close()


def _make_token_folder(command: ServiceCommand, settings: Settings) -> None:
    """Make the folder that the sandbox opens only if it exists before the service starts."""
    if any(upstream.configured and upstream.sign_in is not SignIn.NEVER for upstream in settings.upstreams):
        (command.context.home / ".ppm").mkdir(mode=0o700, exist_ok=True)


def _start(systemd: UserSystemd, *, restart: bool) -> None:
    """Return when requests are answered; `CannotListenError`, `ServiceError`."""
    systemd.require("daemon-reload")
    systemd.call("reset-failed", SOCKET, SERVICE)
    systemd.require("enable", SOCKET)
    if systemd.call("start", SOCKET).code:
        raise CannotListenError(
            f"systemd cannot listen where the settings say: {Health.of(systemd).socket_failure()}",
            "free the port, then `systemctl --user restart ppmproxy.socket`",
        )
    answer = systemd.call("restart" if restart else "start", SERVICE)
    if answer.code:
        raise Health.of(systemd).error() or ServiceError(f"the service did not start: {answer.words}")


def _installed(command: ServiceCommand, folder: Path, changed: Sequence[str], before: str) -> Iterator[str]:
    if not changed:
        yield f"installed already, and running: {folder / SERVICE}"
    elif before and before != command.version:
        yield f"upgraded from version {before} to {command.version}, and restarted: {folder / SERVICE}"
    else:
        yield from (f"wrote {folder / name}" for name in changed)
        yield "running, and ready"


def _linger_notes() -> Iterator[str]:
    user = getpass.getuser()
    if not (LINGER / user).exists():
        yield (
            "the service ends when you log out. For installs without a login (cron, a server) keep it: "
            f"`loginctl enable-linger {user}`"
        )


# --- uninstall --------------------------------------------------------------------------------------------------------


def uninstall(command: ServiceCommand) -> int:
    """Stop both units and remove all their files and links."""
    context, systemd = command.context, UserSystemd(command.child_environ)
    if not command.dry_run:
        systemd.check()
    units = _Units.found(systemd, context.environment)
    if not units.is_there:
        context.print(f"nothing to remove: no unit of ppmproxy in {units.folder}")
        return EXIT_OK
    _refuse_edited(units, command)
    if command.dry_run:
        context.print(shown_changes((units.folder / name, text, None) for name, text in units.texts.items()))
        return EXIT_OK
    with steps_on(context.err) as show:
        show("stopping the service, once it has finished the requests under way (drain_timeout)")
        systemd.require("disable", "--now", SOCKET, SERVICE)
    for name, text in units.texts.items():
        if text is not None:
            remove(units.folder / name)
    systemd.require("daemon-reload")
    systemd.call("reset-failed", SOCKET, SERVICE)
    remove_empty([units.folder / "sockets.target.wants", units.folder, units.folder.parent, context.home / ".ppm"])
    context.print("stopped and removed")
    for folder in (units.folder / f"{name}.d" for name in (SOCKET, SERVICE)):
        if folder.exists():
            context.print_err(f"note: {folder} is yours, and was left as it is")
    return EXIT_OK


# --- status -----------------------------------------------------------------------------------------------------------


def status(command: ServiceCommand) -> int:
    """Print the state of the service and the fix for each fault; exit code 1 when it is not healthy."""
    context, systemd = command.context, UserSystemd(command.child_environ)
    systemd.check()
    units = _Units.found(systemd, context.environment)
    if not units.is_there:
        context.print("not installed")
        context.print_err("  install it with `ppmproxy service install`")
        return EXIT_CHECK_FAILED
    health = Health.of(systemd)
    context.print("\n".join([*_unit_lines(units, command), *health.lines(), _starts_line()]))
    for what, hint in health.problems():
        context.print_err(f"ppmproxy: {what}")
        context.print_err(f"  {hint}")
    return EXIT_OK if health.is_healthy else EXIT_CHECK_FAILED


def _unit_lines(units: _Units, command: ServiceCommand) -> Iterator[str]:
    for name, text in units.texts.items():
        if text is None:
            state = "missing; `ppmproxy service install` writes it again"
        elif is_unmodified(text):
            state = f"as written by version {version_in(text)}"
            if version_in(text) != command.version:
                state += f"; `ppmproxy service install` brings it to {command.version}"
        else:
            state = "edited by hand"
        yield f"{units.folder / name}: {state}"


def _starts_line() -> str:
    lingers = (LINGER / getpass.getuser()).exists()
    return "starts: when the machine does" if lingers else "starts: when you log in, and ends when you log out"


def _is_active(systemd: UserSystemd, unit: str) -> bool:
    return systemd.show(unit, *PROPERTIES).get("ActiveState") == "active"
