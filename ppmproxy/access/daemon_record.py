"""The record of a running daemon, a file that only its own user can read or write.

It has what this user's other commands need: the process, its addresses, the key by which it proves its identity
(`identity_key`), and how it is stopped and restarted. The secret for acting on the daemon is stored as a header beside
it, for `curl` in a container that shares the folder (`runtime_dir`) and has no `ppmproxy`.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ppmproxy.access.identity_key import ADMIN_HEADER, KEY_BYTES, IdentityKey
from ppmproxy.access.runtime_dir import make_folder, read_file, write_file

_PREFIX, _SUFFIX = "daemon-", ".json"
RESTART = "ppmproxy shutdown && ppmproxy run"
USER_SYSTEMD, SYSTEMD = "systemd --user", "systemd"
_STOP_COMMANDS = {
    USER_SYSTEMD: "systemctl --user stop ppmproxy.socket ppmproxy.service",
    SYSTEMD: 'systemctl stop "ppmproxy@$USER"',
}
_RESTART_COMMANDS = {
    USER_SYSTEMD: "systemctl --user restart ppmproxy.service",
    SYSTEMD: 'systemctl restart "ppmproxy@$USER"',
}


@dataclass(frozen=True, slots=True)
class DaemonRecord:
    """The runtime state file of a daemon: its process, its addresses and its key.

    An ephemeral daemon ends with the command that started it. The manager is the service manager that started it:
    `USER_SYSTEMD`, `SYSTEMD`, or "" for none.
    """

    pid: int
    urls: tuple[str, ...]
    key: IdentityKey
    is_ephemeral: bool = False
    manager: str = ""

    @property
    def stop_command(self) -> str:
        """The command that ends it, so that it stays ended."""
        return _STOP_COMMANDS.get(self.manager, "ppmproxy shutdown")

    @property
    def restart_command(self) -> str:
        """The command, or two, that starts it anew with the present settings."""
        return _RESTART_COMMANDS.get(self.manager, RESTART)

    def publish(self, folder: Path) -> Path:
        """Write it into a folder, or leave nothing there: `OSError`. The file that is returned is for `withdraw`."""
        make_folder(folder)
        file = folder / f"{_PREFIX}{os.urandom(4).hex()}{_SUFFIX}"
        document = {
            "pid": self.pid,
            "urls": self.urls,
            "key": self.key.secret.hex(),
            "for_a_while": self.is_ephemeral,
            "manager": self.manager,
        }
        try:
            write_file(file, json.dumps(document))
            for header in self._header_files(folder):
                write_file(header, self._header)
        except OSError:
            self.withdraw(file)  # nobody else would: commands would wait for the end of a daemon that has ended
            raise
        return file

    def withdraw(self, file: Path) -> None:
        """Remove what `publish` wrote; another daemon's files stay."""
        for header in self._header_files(file.parent):
            with contextlib.suppress(OSError):
                if read_file(header) == self._header:
                    header.unlink()
        with contextlib.suppress(OSError):
            file.unlink()

    @property
    def _header(self) -> str:
        return f"{ADMIN_HEADER}: {self.key.admin_secret}\n"

    def _header_files(self, folder: Path) -> set[Path]:
        """Named after the port, which no two daemons of a machine share."""
        ports = {urlsplit(url).port for url in self.urls if url.startswith("http")}
        return {folder / f"shutdown-{port}.header" for port in ports}


def _record_files(folder: Path) -> Sequence[Path]:
    """The records in a folder; none where it cannot be read, as in one that another user has closed."""
    try:
        return sorted(folder.glob(f"{_PREFIX}*{_SUFFIX}"))
    except OSError:
        return ()


def list_daemons(folders: Sequence[Path]) -> Iterator[DaemonRecord]:
    """The records of all daemons of this user, those that were killed included."""
    for folder in folders:
        for file in _record_files(folder):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                document = json.loads(read_file(file))
                key = IdentityKey(bytes.fromhex(document["key"]))
                if len(key.secret) == KEY_BYTES:
                    urls = tuple(map(str, document["urls"]))
                    is_ephemeral, manager = bool(document.get("for_a_while")), str(document.get("manager", ""))
                    yield DaemonRecord(int(document["pid"]), urls, key, is_ephemeral=is_ephemeral, manager=manager)


def remove_stale(folder: Path, own: Path) -> None:
    """Remove the records of daemons that were killed; `own` is the record of this process.

    In a container every daemon is process 1, so that the one before would seem to be alive.
    """
    for file in _record_files(folder):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            pid = int(json.loads(read_file(file))["pid"])
            if file != own and (pid == os.getpid() == 1 or not is_alive(pid)):
                file.unlink()


def is_alive(pid: int) -> bool:
    """Whether there is such a process; True when that is unknown."""
    if os.name != "posix":
        return True  # signal 0 would end it there
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
