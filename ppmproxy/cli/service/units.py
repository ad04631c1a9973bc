"""The text of systemd's units for one user; ``python tests/cli/service/test_units.py`` writes those in ``systemd/``.

All directives work in user units of systemd 252 and 257. There, restrictions of the file system need a user namespace
(``PrivateUsers=``), in which every other user is shown as nobody.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ppmproxy.config.local_address import ListenAddress, TcpAddress, UnixAddress
from ppmproxy.config.model import Settings

SERVICE, SOCKET = "ppmproxy.service", "ppmproxy.socket"
DESCRIPTION = "Local authenticating proxy for Posit Package Manager"
DEFAULT_COMMAND = "%h/.local/bin/ppmproxy run"  # where uv tool, pipx and pip --user put it

_MARK = "# Written by `ppmproxy service install`"
_SEAL = "# sha256: "
_UNESCAPED = {"n": "\n", "t": "\t"}


@dataclass(frozen=True, slots=True)
class UnitSettings:
    """What differs between installations; `exec_start` in systemd's syntax."""

    exec_start: str = DEFAULT_COMMAND
    listen: tuple[ListenAddress, ...] = Settings().listen
    environment: tuple[tuple[str, str], ...] = ()
    token_file: Path | None = None
    is_sandboxed: bool = True  # not where `access` lists users: they look alike in a sandbox


def service_unit(service: UnitSettings) -> str:
    """``ppmproxy.service``, for one user."""
    return "\n".join(
        [
            "[Unit]",
            f"Description={DESCRIPTION}",
            *_LIMITED_RESTARTS,
            "",
            "[Service]",
            *_SUPERVISED,
            f"ExecStart={service.exec_start}",
            *(f"Environment={_quoted(f'{name}={value}')}" for name, value in service.environment),
            *_credential(service.token_file),
            "",
            *_RESTRICTED,
            *(_SANDBOX if service.is_sandboxed else ()),
            "",
            "[Install]",
            f"Also={SOCKET}",
            "",
        ]
    )


def socket_unit(service: UnitSettings) -> str:
    """``ppmproxy.socket``: systemd listens, and starts the service on the first request."""
    return "\n".join(
        [
            "[Unit]",
            "Description=Where ppmproxy takes requests",
            "",
            "[Socket]",
            *(f"ListenStream={listen_stream(address)}" for address in service.listen),
            "BindIPv6Only=ipv6-only",
            "# A machine may lack ::1; that is no reason not to listen on 127.0.0.1.",
            "FreeBind=yes",
            "SocketMode=0600",
            "",
            "[Install]",
            "WantedBy=sockets.target",
            "",
        ]
    )


_LIMITED_RESTARTS = ("StartLimitIntervalSec=60", "StartLimitBurst=5")
_SUPERVISED = (
    "Type=notify",
    "NotifyAccess=main",
    "# A loop that does not come round for so long is blocked: it is ended, and where it was is in the journal.",
    "WatchdogSec=30",
    "Restart=on-failure",
    "RestartSec=1",
    "# Mistakes in the command line or the settings, and a missing credential, do not go away by themselves.",
    "RestartPreventExitStatus=2 3 243",
    "# What is wrong with new settings is in the log and the status, and the old ones stay in force.",
    "ExecReload=/bin/sh -c 'kill -HUP \"$$MAINPID\"'",
    "# Lines of the log bring their own priority; any other line is of a crash.",
    "SyslogLevel=err",
    "# Python finds nothing to import here that somebody else has put there.",
    "WorkingDirectory=/",
)
_RESTRICTED = (
    "NoNewPrivileges=yes",
    "UMask=0077",
    "LimitCORE=0",
    "LockPersonality=yes",
    "MemoryDenyWriteExecute=yes",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "# Netlink: the kernel is asked there which user a connection belongs to.",
    "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallFilter=~@privileged",
    "SystemCallErrorNumber=EPERM",
)
_SANDBOX = (
    "# Without this, systemd 252 passes over some of what follows, and fails at the rest. Other users, root too, look",
    "# like nobody in there and are refused.",
    "PrivateUsers=yes",
    "CapabilityBoundingSet=",
    "PrivateDevices=yes",
    "ProtectClock=yes",
    "ProtectControlGroups=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "ProtectProc=invisible",
    "ProtectSystem=strict",
    "ProtectHome=read-only",
    "# Where a sign-in keeps its token, for posit-keyring and pak too.",
    "ReadWritePaths=-%h/.ppm",
    "# Not PrivateTmp=: the browser for a sign-in may need X11's socket in /tmp, and Python may be installed there.",
    "ReadWritePaths=-/tmp",
    "# Below ~/.cache, which is read-only otherwise.",
    "CacheDirectory=ppmproxy",
    "CacheDirectoryMode=0700",
    "# Other daemons of this user have their records there, too.",
    "RuntimeDirectory=ppmproxy",
    "RuntimeDirectoryMode=0700",
    "RuntimeDirectoryPreserve=yes",
)


def _credential(token_file: Path | None) -> tuple[str, ...]:
    if token_file is not None:
        return (f"LoadCredential=token:{_literal(str(token_file))}",)
    return (
        "# A token in a file is handed over like this. The service does not start without that file (status 243).",
        "#LoadCredential=token:%h/.config/ppmproxy/token",
    )


# --- systemd's syntax -----------------------------------------------------------------------------------------


def exec_line(*words: str) -> str:
    """A command line of exactly these words; the colon turns off variables."""
    return ":" + " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    """One word, whatever is in it (systemd.syntax(7), Quoting)."""
    escaped = _literal(word).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'


def _literal(text: str) -> str:
    return text.replace("%", "%%")


def listen_streams(unit: str) -> list[str]:
    """The addresses of a socket unit."""
    lines = (line.partition("=") for line in unit.splitlines())
    return [value for name, _, value in lines if name == "ListenStream"]


def listen_stream(address: ListenAddress) -> str:
    """An address as systemd writes it."""
    if isinstance(address, UnixAddress):
        return _literal(str(address.path))
    return str(TcpAddress("127.0.0.1", address.port) if address.host == "localhost" else address)


def environment_of_unit(unit: str) -> tuple[tuple[tuple[str, str], ...], Path | None]:
    """The variables and the token file in a unit of ours."""
    lines = [line.partition("=") for line in unit.splitlines()]
    words = [value for name, _, value in lines if name == "Environment" and value[:1] == value[-1:] == '"']
    pairs = (_unquoted(word).partition("=") for word in words)
    files = [value.partition(":")[2].replace("%%", "%") for name, _, value in lines if name == "LoadCredential"]
    return tuple((name, value) for name, _, value in pairs), Path(files[0]) if files else None


def _unquoted(word: str) -> str:
    """The reverse of `_quoted`."""
    return re.sub(r"\\(.)|%%", lambda found: _UNESCAPED.get(found[1], found[1]) if found[1] else "%", word[1:-1])


def first_unlistenable(addresses: Iterable[ListenAddress]) -> ListenAddress | None:
    """The first address that a socket unit cannot have: systemd takes IP addresses with a fixed port."""
    for address in addresses:
        if isinstance(address, TcpAddress) and not (address.port and _is_number(listen_stream(address))):
            return address
    return None


def _is_number(stream: str) -> bool:
    try:
        ipaddress.ip_address(stream.rpartition(":")[0].strip("[]"))
    except ValueError:
        return False
    return True


# --- unmodified or edited --------------------------------------------------------------------------------------------


def with_digest(unit: str, version: str) -> str:
    """A unit's text under a header with our version, and a digest that detects later edits."""
    text = f"{_MARK}, version {version}. Change it with `systemctl --user edit`, not here.\n{unit}"
    return f"{_SEAL}{_digest(text)}\n{text}"


def is_unmodified(text: str) -> bool:
    """Whether a unit's text is as some version of ours wrote it."""
    first, _, rest = text.partition("\n")
    return first == _SEAL + _digest(rest)


def version_in(text: str) -> str:
    """The version that wrote a unit."""
    line = next((line for line in text.splitlines() if line.startswith(_MARK)), "")
    return line.removeprefix(f"{_MARK}, version ").partition(". ")[0]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
