"""The service on macOS and Windows: a launchd agent or a scheduled task, written for the person to load.

To change where those files go, or how they are loaded, open this file.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ppmproxy.carried_settings import Carried
from ppmproxy.config_keys import KEYS
from ppmproxy.configured_files import state_home
from ppmproxy.errors import EXIT_CHECK_FAILED, EXIT_OK
from ppmproxy.launchd_agent import LABEL, agent, environment_of
from ppmproxy.scheduled_task import NAME, task
from ppmproxy.service_order import Order, carried_by, remove, shown, text_of, write

_FLAGS = {key.variable: key.flag for key in KEYS if key.is_flag} | {"PPMPROXY_CONFIG": "--config"}
_TOKEN_FILE = "PPMPROXY_TOKEN_FILE"  # noqa: S105 - the name of a variable


@dataclass(frozen=True, slots=True)
class _Kind:
    """Where a platform's description of the service lies, and the commands that take it from there."""

    file: Path
    load: str
    unload: str


def _kind(order: Order, platform: str) -> _Kind:
    home = order.around.home
    if platform == "darwin":
        file = home / "Library" / "LaunchAgents" / f"{LABEL}.plist"
        return _Kind(file, f"launchctl bootstrap gui/$(id -u) '{file}'", f"launchctl bootout gui/$(id -u)/{LABEL}")
    file = state_home(order.around.environ, home, platform) / "ppmproxy" / "service.xml"
    return _Kind(file, f'schtasks /Create /TN {NAME} /XML "{file}"', f"schtasks /Delete /TN {NAME} /F")


def install(order: Order, platform: str = sys.platform) -> int:
    """Write the description, and say how it is loaded."""
    kind = _kind(order, platform)
    carried, _ = carried_by(order, _given(kind.file) if platform == "darwin" else None)
    text = _description(order, carried, platform)
    if order.dry_run:
        order.around.say(shown([(kind.file, text_of(kind.file), text)]))
        return EXIT_OK
    write(kind.file, text)
    order.around.say(f"wrote {kind.file}\nload it: {kind.load}")
    for note in (*carried.notes, *_left_out(carried, platform)):
        order.around.note(f"note: {note}")
    return EXIT_OK


def _given(file: Path) -> Carried | None:
    """What an agent was given when it was written; None when there is none of ours."""
    text = text_of(file)
    if text is None:
        return None
    environment = environment_of(text)
    token_file = environment.pop(_TOKEN_FILE, None)
    return Carried(tuple(environment.items()), Path(token_file) if token_file else None)


def _environment(carried: Carried) -> dict[str, str]:
    token_file = {} if carried.token_file is None else {_TOKEN_FILE: str(carried.token_file)}
    return dict(carried.environment) | token_file


def _left_out(carried: Carried, platform: str) -> Iterator[str]:
    """What a scheduled task cannot be given: it has no environment of its own."""
    if platform == "win32":
        for name, value in _environment(carried).items():
            if name not in _FLAGS:
                yield f'{name} is not part of the task; set it for yourself: setx {name} "{value}"'


def _description(order: Order, carried: Carried, platform: str) -> str:
    environment = _environment(carried)
    if platform == "darwin":
        return agent(order.program, environment, order.around.home / "Library" / "Logs" / "ppmproxy.log")
    flags = [word for name, value in environment.items() if name in _FLAGS for word in (_FLAGS[name], value)]
    return task(order.program[0], subprocess.list2cmdline([*order.program[1:], *flags]))


def uninstall(order: Order, platform: str = sys.platform) -> int:
    """Remove the description, and say how what was loaded is ended."""
    kind = _kind(order, platform)
    if text_of(kind.file) is None:
        order.around.say(f"nothing to remove: there is no {kind.file}")
    elif order.dry_run:
        order.around.say(shown([(kind.file, text_of(kind.file), None)]))
    else:
        remove(kind.file)
        order.around.say(f"removed {kind.file}\nend it: {kind.unload}")
    return EXIT_OK


def status(order: Order, platform: str = sys.platform) -> int:
    """Whether there is a description; whether it runs, says `ppmproxy status`."""
    kind = _kind(order, platform)
    is_there = text_of(kind.file) is not None
    order.around.say(f"described in {kind.file}" if is_there else "not installed")
    hint = "whether it runs, says `ppmproxy status`" if is_there else "install it with `ppmproxy service install`"
    order.around.note(f"  {hint}")
    return EXIT_OK if is_there else EXIT_CHECK_FAILED
