"""The port of ``listen = "auto"``: the usual one, or one of this user's own where another user has that.

The port ends up in clients' settings and lock files, so it is chosen once and kept in a file:
``$XDG_STATE_HOME/ppmproxy/port``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ppmproxy.access.daemon_identity import ListenerIdentity, verify
from ppmproxy.access.peer_credentials import own_uid
from ppmproxy.access.port_owner import holder_of, is_taken
from ppmproxy.access.runtime_dir import runtime_folders
from ppmproxy.config.local_address import AutoListen, TcpAddress
from ppmproxy.config.model import Settings
from ppmproxy.environment import Environment
from ppmproxy.files import make_private_folder, read_regular_file, replace_file

FIRST_PORT, PORTS = 20_000, 10_000  # below what Linux gives to outgoing connections
HIGHEST_PORT = 65_535
LARGEST_FILE = 64  # bytes


def port_file(environment: Environment) -> Path:
    """Where the port is kept."""
    return environment.state_home() / "ppmproxy" / "port"


def with_chosen_port(settings: Settings, environment: Environment) -> Settings:
    """The settings with the addresses that ``auto`` means here; as they are with addresses of their own."""
    if not isinstance(settings.listen, AutoListen):
        return settings
    file = port_file(environment)
    port = _kept(file)
    if port is None:
        usual = [address for address in settings.listen if isinstance(address, TcpAddress)]
        is_taken = any(_is_another_users(address, runtime_folders(environment)) for address in usual)
        port = own_port(own_uid()) if is_taken else usual[0].port
        _keep(port, file)
    return replace(settings, listen=AutoListen.on(port))


def own_port(uid: int) -> int:
    """The port of a user who cannot have the usual one."""
    return FIRST_PORT + max(uid, 0) % PORTS


def _kept(file: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        port = int(read_regular_file(file, LARGEST_FILE)[0])
        if 0 < port <= HIGHEST_PORT:
            return port
    return None


def _keep(port: int, file: Path) -> None:
    with contextlib.suppress(OSError):  # a read-only home: the choice is made each time
        make_private_folder(file.parent)
        replace_file(file, f"{port}\n".encode())


def _is_another_users(address: TcpAddress, folders: Sequence[Path]) -> bool:
    holder = holder_of(address.host, address.port)
    if holder is not None:
        return not holder.is_own
    return is_taken(address.host, address.port) and verify(address.url, folders) is not ListenerIdentity.OURS
