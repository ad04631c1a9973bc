"""Authentication of the daemon: proof that the process on a port is this user's own.

Any user of a machine can listen on a free port of localhost and serve packages there. So a command asks for a proof
under the key of one of this user's daemons (`identity_key`), whose records only this user can write (`daemon_record`).
It sends the secret for acting on the daemon only over a connection on which the daemon has just given that proof.
"""

from __future__ import annotations

import contextlib
import enum
import hmac
import json
import os
import re
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ppmproxy.access.daemon_record import DaemonRecord, is_alive, list_daemons
from ppmproxy.access.identity_key import ADMIN_HEADER, NONCE_BYTES, PAGE, endpoint_of
from ppmproxy.access.local_request import LocalConnection, NotUnderstoodError
from ppmproxy.access.port_owner import holder_of
from ppmproxy.config.local_address import TcpAddress, address_of_url
from ppmproxy.errors import ForbiddenClientError

TIMEOUT = 2.0  # seconds for each step
LARGEST_ANSWER = 4096

_PROOF = re.compile(r"[0-9a-f]{64}")


class ListenerIdentity(enum.Enum):
    """Who listens at an address, in words."""

    OURS = "this user's ppmproxy"
    NOBODY = "nobody listens there"
    OTHER_PROGRAM = "another program"
    SILENT = "a process that does not answer"
    UNPROVEN = "a ppmproxy without a proof that it is yours"
    OTHER_USERS = "another user's ppmproxy"
    USERS_UNKNOWN = "this user's ppmproxy, which cannot tell users apart, and so refuses all of them"

    @property
    def remedy(self) -> str:
        """What to do about it, when the own daemon was expected."""
        return _REMEDIES.get(self, "run `ppmproxy doctor`, which says more")


OWN_PORT = "give yours a port of its own: PPMPROXY_LISTEN=auto"
ANY_USER = 'start it with a Unix socket alone in listen, or with access = "any" if every user here may use your token'
_REMEDIES = {
    ListenerIdentity.NOBODY: "start it with `ppmproxy run`",
    ListenerIdentity.OTHER_PROGRAM: "stop that program, or choose another address with --listen",
    ListenerIdentity.SILENT: "end that process with `kill`, then start ppmproxy with `ppmproxy run`",
    ListenerIdentity.UNPROVEN: "run this as the user who started it, with the same XDG_RUNTIME_DIR and HOME; "
    "where its log says proof_unavailable, make that folder usable and restart it",
    ListenerIdentity.OTHER_USERS: OWN_PORT,
    ListenerIdentity.USERS_UNKNOWN: f"end it with `kill`, then {ANY_USER}",
}


@dataclass(slots=True)
class DaemonConnection:
    """A connection to an address, and who listens there."""

    identity: ListenerIdentity
    record: DaemonRecord | None = None
    connection: LocalConnection | None = None

    def post(self, path: str) -> int:
        """Send a request that acts on the daemon, which has proved its identity; the status of the response.

        `OSError`, and `NotUnderstoodError` where the daemon ends before it answers.
        """
        return self.answer_to_post(path)[0]

    def answer_to_post(self, path: str, largest: int = LARGEST_ANSWER) -> tuple[int, bytes]:
        """The same, with the body of the response, of which `largest` bytes are read."""
        if self.record is None or self.connection is None:
            raise ConnectionError(f"not sent: {self.identity.value}")
        headers = {ADMIN_HEADER: self.record.key.admin_secret}
        return self.connection.ask("POST", path, headers, largest)


def verify(url: str, folders: Sequence[Path], timeout: float = TIMEOUT) -> ListenerIdentity:
    """Who listens at a daemon's URL, with or without a path; ``unix:PATH`` too. Blocks for a moment, never raises."""
    with verify_daemon(url, folders, timeout) as made:
        return made.identity


@contextlib.contextmanager
def verify_daemon(url: str, folders: Sequence[Path], timeout: float = TIMEOUT) -> Iterator[DaemonConnection]:
    """A connection on which the daemon was asked for the proof."""
    try:
        opened = connect(url, timeout)
    except TimeoutError:
        yield DaemonConnection(ListenerIdentity.SILENT)
        return
    except (OSError, ValueError):
        yield DaemonConnection(ListenerIdentity.NOBODY)
        return
    with contextlib.closing(opened):
        try:
            made = _verify_over(LocalConnection(opened), opened, folders)
            if made.identity is ListenerIdentity.OTHER_USERS and _is_held_by_own_daemon(url, folders):
                made = DaemonConnection(ListenerIdentity.USERS_UNKNOWN)
        except TimeoutError:
            made = DaemonConnection(ListenerIdentity.SILENT)
        except (OSError, NotUnderstoodError, ValueError):
            made = DaemonConnection(ListenerIdentity.OTHER_PROGRAM)
        yield made


def connect(url: str, timeout: float) -> socket.socket:
    """A connection to a daemon's URL, ``unix:PATH`` too; `OSError`, and `ValueError` for anything but a URL."""
    address = address_of_url(url)
    if isinstance(address, TcpAddress):
        return socket.create_connection((address.host, address.port), timeout)
    opened = socket.socket(getattr(socket, "AF_UNIX", -1))
    opened.settimeout(timeout)
    try:
        opened.connect(str(address.path))
    except BaseException:
        opened.close()
        raise
    return opened


def _verify_over(connection: LocalConnection, opened: socket.socket, folders: Sequence[Path]) -> DaemonConnection:
    nonce = os.urandom(NONCE_BYTES).hex()
    place = endpoint_of(opened.getpeername())  # before the answer: the other end may close after it
    status, body = connection.ask("GET", f"{PAGE}?nonce={nonce}", {}, LARGEST_ANSWER)
    proof = body.decode("ascii", "replace").strip()
    if status == ForbiddenClientError.status and _refuses_this_user(body):
        return DaemonConnection(ListenerIdentity.OTHER_USERS)
    if status != 200 or not _PROOF.fullmatch(proof):  # noqa: PLR2004
        return DaemonConnection(ListenerIdentity.OTHER_PROGRAM)
    for record in list_daemons(folders):
        if hmac.compare_digest(proof.encode(), record.key.proof(nonce, place).encode()):
            return DaemonConnection(ListenerIdentity.OURS, record, connection)
    return DaemonConnection(ListenerIdentity.UNPROVEN)


def _is_held_by_own_daemon(url: str, folders: Sequence[Path]) -> bool:
    """Whether this user's own daemon listens there, by its record and, for a port, by the kernel.

    It admits its own user wherever it can see who connects. In some sandboxes (gVisor, user namespaces) it cannot.
    """
    address = address_of_url(url)
    holder = holder_of(address.host, address.port) if isinstance(address, TcpAddress) else None
    places = [place for record in list_daemons(folders) if is_alive(record.pid) for place in record.urls]
    return address in map(address_of_url, places) and (holder is None or holder.is_own)


def _refuses_this_user(body: bytes) -> bool:
    """Whether a response is a ppmproxy's refusal of this user. Any program can say so, and gains nothing by it."""
    try:
        document = json.loads(body)
    except ValueError:
        return False
    return isinstance(document, dict) and document.get("code") == ForbiddenClientError.code
