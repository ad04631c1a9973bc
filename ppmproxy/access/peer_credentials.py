"""The user at the other end of an accepted connection, from the operating system.

On Linux the kernel knows the owner of both ends of a loopback TCP connection. One exact look-up by the connection's
addresses and ports (sock_diag(7)) takes some 10 µs, however many connections there are; ``/proc/net/tcp`` takes
milliseconds at thousands of them. A Unix socket has the uid of its peer, on macOS too.

An unknown uid is better than a wrong one. For a socket that its process has closed, the kernel says *uid 0, inode 0*;
for a connection that no longer exists, it returns a listener on that port; in a user namespace all users from outside
have the same number.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

_NETLINK_SOCK_DIAG = 4  # linux/netlink.h
_SOCK_DIAG_BY_FAMILY = 20  # linux/sock_diag.h
_REQUEST = 1  # NLM_F_REQUEST
_ALL = 0xFFFFFFFF  # every state, no cookie
_OPEN_STATES = frozenset({1, 4, 5})  # ESTABLISHED; FIN_WAIT1 and FIN_WAIT2: has sent everything, and still reads
_CLOSED_STATES = frozenset({7, 8})  # CLOSE, after a reset; CLOSE_WAIT
_SO_NETNS_COOKIE = 71  # asm-generic/socket.h, since Linux 5.14
_SOL_LOCAL, _LOCAL_PEERCRED = 0, 1  # macOS: sys/un.h
_STALE_REPLIES = 8  # answers to earlier questions that are read past
_MAX_REPLY = 8192

# nlmsghdr: length, type, flags, sequence, port.
_HEADER = struct.Struct("=IHHII")
# inet_diag_req_v2: family, protocol, extensions, states; both ports and addresses in network order; interface, cookie.
_LOOKUP = struct.Struct("=BBBxI 2s2s16s16s 3I")
# inet_diag_msg behind its header: family, state; both ports; …; uid, inode.
_REPLY = struct.Struct("=16x BBxx 2s2s 44x 12x II")
_UCRED = struct.Struct("=iII")  # pid, uid, gid
_XUCRED = struct.Struct("=II64x4x")  # version, uid, number of groups and the groups


class Connection(Protocol):
    """The part of an accepted socket that is used here; asyncio's `TransportSocket` has it as well."""

    @property
    def family(self) -> int: ...
    def getpeername(self) -> object: ...
    def getsockname(self) -> object: ...
    def getsockopt(self, level: int, name: int, size: int, /) -> bytes: ...


def is_supported(family: int) -> bool:
    """Whether this platform can look up the user at the other end of such a connection."""
    return sys.platform == "linux" or (sys.platform == "darwin" and family == socket.AF_UNIX)


def own_uid() -> int:
    """The number of the user that this process acts for; -1 where users have no numbers."""
    if sys.platform == "win32":
        return -1
    else:  # noqa: RET505 - mypy takes what follows a return for unreachable on the other platforms
        return os.geteuid()


def uid_of_name(name: str) -> int | None:
    """The number of a user of this machine; None when there is no such user."""
    if sys.platform == "win32":
        return None
    else:  # noqa: RET505
        import pwd  # noqa: PLC0415 - not on Windows

        try:
            return pwd.getpwnam(name).pw_uid
        except (KeyError, ValueError):  # the latter for a NUL in the name
            return None


class PeerUids:
    """Looks up the uid at the other end of connections; holds one kernel socket until it is closed."""

    def __init__(self, uid_map: Path = Path("/proc/self/uid_map")) -> None:
        self._kernel: socket.socket | None = None
        self._sequence = 0
        self._overflow = _overflow_uid(uid_map)
        self._uid_map = uid_map

    def can_see(self, uid: int) -> bool:
        """Whether this user has a number of their own in this process's user namespace (user_namespaces(7))."""
        if self._overflow is None:
            return True
        rows = (line.split() for line in self._uid_map.read_text(encoding="utf-8").splitlines())
        return any(int(first) <= uid < int(first) + int(count) for first, _, count in rows)

    def close(self) -> None:
        """Close the kernel socket; the next look-up opens another one."""
        if self._kernel is not None:
            self._kernel.close()
            self._kernel = None

    def uid_of(self, connection: Connection) -> int | None:
        """The uid of the process that opened the other end; None when it is unknown. Never blocks."""
        try:
            uid = self._uid_of(connection)
        except (OSError, ValueError, struct.error):  # the peer has gone, or the kernel does not know
            return None
        return None if uid == self._overflow else uid

    def has_left(self, connection: Connection) -> bool:
        """Whether the client has closed its end already, so that its user can no longer be looked up. Linux only."""
        if sys.platform == "linux" and connection.family in {socket.AF_INET, socket.AF_INET6}:
            try:
                return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] in _CLOSED_STATES
            except OSError:
                return True
        return False

    def unavailable_reason(self, listeners: Iterable[socket.socket]) -> str:
        """Why the look-up does not work for connections to these listeners, after a trial; "" when it works."""
        families = {listener.family: listener for listener in listeners}
        if not all(is_supported(family) for family in families):
            return "this system does not tell who is at the other end of a connection"
        over_tcp = [listener for family, listener in families.items() if family in {socket.AF_INET, socket.AF_INET6}]
        if not over_tcp:
            return ""
        return self._tcp_unavailable_reason() or next(filter(None, map(self._other_namespace_reason, over_tcp)), "")

    def _uid_of(self, connection: Connection) -> int | None:
        if connection.family in {socket.AF_INET, socket.AF_INET6}:
            return self._uid_over_tcp(connection)
        return _uid_over_unix(connection)

    def _uid_over_tcp(self, connection: Connection) -> int | None:
        theirs, ours = _place(connection.getpeername()), _place(connection.getsockname())
        lookup = _LOOKUP.pack(
            connection.family, socket.IPPROTO_TCP, 0, _ALL, theirs[1], ours[1], theirs[0], ours[0], 0, _ALL, _ALL
        )
        reply = self._reply_to(lookup)
        if reply is None:
            return None
        _, state, their_port, our_port, uid, inode = _REPLY.unpack_from(reply)
        if inode == 0 or state not in _OPEN_STATES or (their_port, our_port) != (theirs[1], ours[1]):
            return None
        return int(uid)

    def _reply_to(self, lookup: bytes) -> bytes | None:
        """The kernel's reply, header included; over a new socket when the open one fails."""
        was_open = self._kernel is not None
        try:
            return self._look_up(lookup)
        except OSError:
            self.close()
            return self._look_up(lookup) if was_open else None

    def _look_up(self, lookup: bytes) -> bytes | None:
        if self._kernel is None:
            self._kernel = _open_kernel_socket()
        self._sequence = (self._sequence + 1) & _ALL
        size = _HEADER.size + len(lookup)
        self._kernel.send(_HEADER.pack(size, _SOCK_DIAG_BY_FAMILY, _REQUEST, self._sequence, 0) + lookup)
        for _ in range(_STALE_REPLIES):
            reply, (sender, *_) = self._kernel.recvfrom(_MAX_REPLY)  # it is there: the kernel answers in `send`
            _, kind, _, sequence, _ = _HEADER.unpack_from(reply)
            if sender == 0 and sequence == self._sequence:  # 0 is the kernel
                return reply if kind == _SOCK_DIAG_BY_FAMILY else None
        raise OSError("no reply from the kernel")

    def _tcp_unavailable_reason(self) -> str:
        """Try the look-up on a connection to oneself."""
        try:
            self.close()
            self._kernel = _open_kernel_socket()
        except OSError as error:
            return f"the kernel cannot be asked: {_error_text(error)} (AF_NETLINK)"
        try:
            with _connection_to_oneself() as accepted:
                uid = self.uid_of(accepted)
        except OSError as error:
            return f"a connection to oneself failed: {_error_text(error)}"
        if self._overflow is not None and own_uid() == self._overflow:
            return f"this process is {own_uid()} in its user namespace, as everybody from outside is"
        if uid is None:
            return "the kernel does not tell who is at the other end of a connection (inet_diag)"
        return "" if uid == own_uid() else f"the kernel takes this process for another user's ({uid})"

    def _other_namespace_reason(self, listener: socket.socket) -> str:
        """The reason when the listener was opened in another network namespace: its connections are there."""
        try:
            elsewhere = self._kernel is not None and _namespace(self._kernel) != _namespace(listener)
        except OSError:
            return ""  # an older kernel has no such number
        return "the listening socket belongs to another network namespace" if elsewhere else ""


def _open_kernel_socket() -> socket.socket:
    if sys.platform == "linux":
        kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG)
        kernel.setblocking(False)  # noqa: FBT003 - positional only
        return kernel
    else:  # noqa: RET505
        raise OSError("not Linux")


def _place(name: object) -> tuple[bytes, bytes]:
    """Address and port of a socket name, as the kernel keeps them."""
    if not isinstance(name, tuple):
        raise ValueError("no TCP address")  # noqa: TRY004 - caught as what cannot be looked up
    host = str(name[0]).partition("%")[0]
    address = socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    return address, int(name[1]).to_bytes(2, "big")


def _uid_over_unix(connection: Connection) -> int | None:
    uid: int
    if sys.platform == "linux":
        _, uid, _ = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        return uid
    elif sys.platform == "darwin":  # noqa: RET505
        version, uid = _XUCRED.unpack(connection.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, _XUCRED.size))
        return uid if version == 0 else None
    else:
        return None


def pid_of_unix(connection: Connection) -> int | None:
    """The process at the other end of a Unix socket; None when it is unknown."""
    if sys.platform == "linux":
        pid: int = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))[0]
        return pid or None
    else:  # noqa: RET505
        return None


def _overflow_uid(uid_map: Path) -> int | None:
    """The uid of every user from outside this user namespace; None in the initial one."""
    try:
        ranges = uid_map.read_text(encoding="utf-8").split("\n")
        overflow = int(Path("/proc/sys/kernel/overflowuid").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return None if ranges[0].split() == ["0", "0", str(_ALL)] else overflow


def _namespace(kept: socket.socket) -> bytes:
    return kept.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)


@contextlib.contextmanager
def _connection_to_oneself() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(1)
        with socket.create_connection(listener.getsockname(), timeout=1):
            accepted, _ = listener.accept()
            with accepted:
                yield accepted


def _error_text(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
