"""Authentication of the daemon: proof that the process on a port is this user's own.

Any user of a machine can listen on a free port of localhost and serve packages there. So each daemon generates a key
when it starts and stores it where only its own user can read it (`runtime_dir`). A command that wants to know sends a
random nonce and gets its HMAC under that key, over the nonce and the address at which the connection came in: the
response can neither be reused nor forwarded from another port. The key itself never crosses a socket.

Acting on the daemon takes a second secret, derived from the same key and sent only over a connection on which the
daemon has just proved itself. It is stored as a header beside the key, for `curl` in a container that shares the folder
and has no `ppmproxy`. The page for people has a third one, which signs in and out and cannot end the daemon.
"""

from __future__ import annotations

import contextlib
import enum
import hashlib
import hmac
import json
import os
import re
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ppmproxy.access.local_request import LocalConnection, NotUnderstoodError
from ppmproxy.access.port_owner import holder_of
from ppmproxy.access.runtime_dir import make_folder, read_file, write_file
from ppmproxy.config.local_address import TcpAddress, address_of_url
from ppmproxy.errors import ForbiddenClientError

if TYPE_CHECKING:
    from ppmproxy.auth.secret import Secret

PAGE = "/-/proof"
DOCTOR = "/-/doctor"  # runs the checks of the Package Managers in the daemon; a POST with `ADMIN_HEADER`
ADMIN_HEADER = "X-Ppmproxy-Secret"
PAGE_HEADER = "X-Ppmproxy-Page-Token"
INTERCEPT_HEADER = "X-Ppmproxy-Intercept"
TIMEOUT = 2.0  # seconds for each step
KEY_BYTES = NONCE_BYTES = 32
LARGEST_ANSWER = 4096

_PROOF = re.compile(r"[0-9a-f]{64}")
_NONCE = re.compile(r"[0-9a-f]{32,128}")
_PREFIX, _SUFFIX = "daemon-", ".json"


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
    def verify(self) -> bool:
        return self is ListenerIdentity.OURS

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


@dataclass(frozen=True, slots=True)
class IdentityKey:
    """The secret by which a daemon proves its identity."""

    secret: bytes = field(repr=False)

    @classmethod
    def generate(cls) -> IdentityKey:
        """A new one, for each start."""
        return cls(os.urandom(KEY_BYTES))

    def proof(self, nonce: str, place: str) -> str:
        """The proof for a nonce on a connection that came in at an endpoint (`endpoint_of`)."""
        return self._mac("proof", nonce, place)

    @property
    def admin_secret(self) -> str:
        """The value of `ADMIN_HEADER` in a request that acts on the daemon."""
        return self._mac("act")

    def token_fingerprint(self, token: Secret) -> str:
        """Identifies a token to those who can read the key; they can check a guess, and no more."""
        return self._mac("token", token.reveal())

    def is_authorized(self, header: str | None) -> bool:
        """Whether a request may act on the daemon; takes as long for a nearly right secret as for any other."""
        given = (header or "").encode("utf-8", "surrogateescape")
        return hmac.compare_digest(given, self.admin_secret.encode())

    @property
    def page_token(self) -> str:
        """The value of `PAGE_HEADER`, for a page that this daemon's own user asked for."""
        return self._mac("page")

    @property
    def start_id(self) -> str:
        """Identifies this start of the daemon to a page that was opened before; no secret."""
        return self._mac("start")[:16]

    def is_page_token(self, header: str | None) -> bool:
        """Whether a request comes from a page of this start that may act."""
        given = (header or "").encode("utf-8", "surrogateescape")
        return hmac.compare_digest(given, self.page_token.encode())

    def intercept_header(self, origin: str, method: str, raw_target: str) -> str:
        """The value of `INTERCEPT_HEADER` for a request whose real URL counts: the origin, and a proof of this key."""
        return f"{origin} {self._mac('intercept', origin, method, raw_target)}"

    def intercepted_origin(self, values: Sequence[str], method: str, raw_target: str) -> str:
        """The origin that such a request is for; `ForbiddenClientError` when it proves nothing."""
        origin = values[0].partition(" ")[0] if len(values) == 1 else ""
        expected = self.intercept_header(origin, method, raw_target).encode("utf-8", "surrogateescape")
        if not origin or not hmac.compare_digest(values[0].encode("utf-8", "surrogateescape"), expected):
            what = "the request for a real URL has no proof that `ppmproxy exec --intercept` sent it"
            raise ForbiddenClientError(what, "run the command with `ppmproxy exec --intercept --`")
        return origin

    def _mac(self, *parts: str) -> str:
        text = "\0".join(("ppmproxy", *parts)).encode("utf-8", "surrogatepass")  # an environment may have any bytes
        return hmac.new(self.secret, text, hashlib.sha256).hexdigest()


def nonce_of_query(query: str) -> str | None:
    """The nonce of a request to `PAGE`; None without a well-formed one."""
    name, _, value = query.partition("=")
    return value if name == "nonce" and _NONCE.fullmatch(value) else None


def endpoint_of(name: object) -> str:
    """A socket's name as both ends write it: an IPv4 address is the same when mapped into IPv6."""
    if isinstance(name, tuple):
        host = str(name[0]).partition("%")[0].lower().removeprefix("::ffff:")
        return f"{host} {name[1]}"
    return name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else str(name)


# --- the record for this user's other commands ---

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
    ephemeral: bool = False
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
            "for_a_while": self.ephemeral,
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
                    ephemeral, manager = bool(document.get("for_a_while")), str(document.get("manager", ""))
                    yield DaemonRecord(int(document["pid"]), urls, key, ephemeral=ephemeral, manager=manager)


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


# --- verifying ---


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
