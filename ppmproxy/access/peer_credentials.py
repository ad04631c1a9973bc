"""Which user is at the other end of an accepted connection, as far as the system says.

To change how the system is asked who a client is, open this file; who is let in is decided in `local_access`.

On Linux the kernel knows the owner of both ends of a loopback TCP connection. One exact look-up by the connection's
addresses and ports (sock_diag(7)) takes some 10 µs, however many connections there are; ``/proc/net/tcp`` takes
milliseconds at thousands of them. A Unix socket carries the answer with it, on macOS too.

No answer is better than a wrong one. Asked for a socket that its process has closed, the kernel says *uid 0, inode 0*;
asked for a connection that is gone, it answers with a listener on that port; in a user namespace all users from outside
have one and the same number.
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
_SO_NETNS_COOKIE = 71  # asm-generic/socket.h, since Linux 5.14
_SOL_LOCAL, _LOCAL_PEERCRED = 0, 1  # macOS: sys/un.h
_STALE_ANSWERS = 8  # answers to earlier questions that are read past
_LARGEST_ANSWER = 8192

# nlmsghdr: length, type, flags, sequence, port.
_HEADER = struct.Struct("=IHHII")
# inet_diag_req_v2: family, protocol, extensions, states; both ports and addresses in network order; interface, cookie.
_QUESTION = struct.Struct("=BBBxI 2s2s16s16s 3I")
# inet_diag_msg behind its header: family, state; both ports; …; uid, inode.
_ANSWER = struct.Struct("=16x BBxx 2s2s 44x 12x II")
_UCRED = struct.Struct("=iII")  # pid, uid, gid
_XUCRED = struct.Struct("=II64x4x")  # version, uid, number of groups and the groups


class Connection(Protocol):
    """What is needed of an accepted socket; asyncio's `TransportSocket` has it as well."""

    @property
    def family(self) -> int: ...
    def getpeername(self) -> object: ...
    def getsockname(self) -> object: ...
    def getsockopt(self, level: int, name: int, size: int, /) -> bytes: ...


def can_be_known(family: int) -> bool:
    """Whether this platform has a way to tell who is at the other end of such a connection."""
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
    """Tells the uid at the other end of connections; holds one kernel socket until it is closed."""

    def __init__(self, uid_map: Path = Path("/proc/self/uid_map")) -> None:
        self._kernel: socket.socket | None = None
        self._sequence = 0
        self._nobody = _uid_of_strangers(uid_map)
        self._uid_map = uid_map

    def can_see(self, uid: int) -> bool:
        """Whether this user has a number of their own in this process's user namespace (user_namespaces(7))."""
        if self._nobody is None:
            return True
        rows = (line.split() for line in self._uid_map.read_text(encoding="utf-8").splitlines())
        return any(int(first) <= uid < int(first) + int(count) for first, _, count in rows)

    def close(self) -> None:
        """Give the kernel socket back; the next look-up opens another one."""
        if self._kernel is not None:
            self._kernel.close()
            self._kernel = None

    def uid_of(self, connection: Connection) -> int | None:
        """The uid of the process that opened the other end; None when the system does not say. Never waits."""
        try:
            uid = self._uid_of(connection)
        except (OSError, ValueError, struct.error):  # the peer has gone, or the kernel has no answer
            return None
        return None if uid == self._nobody else uid

    def why_not(self, listeners: Iterable[socket.socket]) -> str:
        """Why the look-up does not work for connections to these listeners, found by trying; "" when it does."""
        families = {listener.family: listener for listener in listeners}
        if not all(can_be_known(family) for family in families):
            return "this system does not tell who is at the other end of a connection"
        over_tcp = [listener for family, listener in families.items() if family in {socket.AF_INET, socket.AF_INET6}]
        if not over_tcp:
            return ""
        return self._why_not_over_tcp() or next(filter(None, map(self._why_elsewhere, over_tcp)), "")

    def _uid_of(self, connection: Connection) -> int | None:
        if connection.family in {socket.AF_INET, socket.AF_INET6}:
            return self._uid_over_tcp(connection)
        return _uid_over_unix(connection)

    def _uid_over_tcp(self, connection: Connection) -> int | None:
        theirs, ours = _place(connection.getpeername()), _place(connection.getsockname())
        question = _QUESTION.pack(
            connection.family, socket.IPPROTO_TCP, 0, _ALL, theirs[1], ours[1], theirs[0], ours[0], 0, _ALL, _ALL
        )
        answer = self._answer_to(question)
        if answer is None:
            return None
        _, state, their_port, our_port, uid, inode = _ANSWER.unpack_from(answer)
        if inode == 0 or state not in _OPEN_STATES or (their_port, our_port) != (theirs[1], ours[1]):
            return None
        return int(uid)

    def _answer_to(self, question: bytes) -> bytes | None:
        """What the kernel answers, header included; asked over a new socket when the kept one has a fault."""
        kept = self._kernel is not None
        try:
            return self._ask(question)
        except OSError:
            self.close()
            return self._ask(question) if kept else None

    def _ask(self, question: bytes) -> bytes | None:
        if self._kernel is None:
            self._kernel = _open_kernel_socket()
        self._sequence = (self._sequence + 1) & _ALL
        size = _HEADER.size + len(question)
        self._kernel.send(_HEADER.pack(size, _SOCK_DIAG_BY_FAMILY, _REQUEST, self._sequence, 0) + question)
        for _ in range(_STALE_ANSWERS):
            answer, (sender, *_) = self._kernel.recvfrom(_LARGEST_ANSWER)  # it is there: the kernel answers in `send`
            _, kind, _, sequence, _ = _HEADER.unpack_from(answer)
            if sender == 0 and sequence == self._sequence:  # 0 is the kernel
                return answer if kind == _SOCK_DIAG_BY_FAMILY else None
        raise OSError("no answer from the kernel")

    def _why_not_over_tcp(self) -> str:
        """Try it on a connection to oneself."""
        try:
            self.close()
            self._kernel = _open_kernel_socket()
        except OSError as error:
            return f"the kernel cannot be asked: {_reason(error)} (AF_NETLINK)"
        try:
            with _connection_to_oneself() as accepted:
                uid = self.uid_of(accepted)
        except OSError as error:
            return f"a connection to oneself failed: {_reason(error)}"
        if self._nobody is not None and own_uid() == self._nobody:
            return f"this process is {own_uid()} in its user namespace, as everybody from outside is"
        if uid is None:
            return "the kernel does not tell who is at the other end of a connection (inet_diag)"
        return "" if uid == own_uid() else f"the kernel takes this process for another user's ({uid})"

    def _why_elsewhere(self, listener: socket.socket) -> str:
        """A socket that was opened in another network namespace has its connections there."""
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
    """The process that listens at the other end of a Unix socket, or that connected to it; None when not told."""
    if sys.platform == "linux":
        pid: int = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))[0]
        return pid or None
    else:  # noqa: RET505
        return None


def _uid_of_strangers(uid_map: Path) -> int | None:
    """The number that stands for every user from outside this user namespace; None in the first namespace."""
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


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
