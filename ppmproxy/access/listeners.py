"""Listening sockets of the daemon, and the errors when one cannot be opened or a connection cannot be accepted.

Both loopback families are bound: with ``::1 localhost`` in the hosts file clients go to ``::1`` first, and whoever
holds the port there gets their traffic. So a port taken on one family only is as fatal as one taken on both, and its
holder is named.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from ppmproxy.access.daemon_identity import OWN_PORT
from ppmproxy.access.port_owner import PortHolder, holder_of
from ppmproxy.access.unix_listener import UnixListener
from ppmproxy.config.local_address import ListenAddress, TcpAddress, UnixAddress, address_of_socket
from ppmproxy.errors import CannotListenError

BACKLOG = 512
RETRY_DELAY = 1.0  # seconds, after which a listener without a descriptor is tried again
MAX_PORT_TRIES = 20

QUIET_SECONDS = 60.0  # seconds in which an accept error is logged once
_RESOURCES_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_NO_SUCH_FAMILY = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


def open_listeners(addresses: Sequence[ListenAddress]) -> list[socket.socket]:
    """Bound and listening sockets, one for each address that this machine has.

    Where all ports are 0, all get the same free port. An IPv6 loopback that the machine does not have is left out.
    Raises `CannotListenError`; then nothing stays open.
    """
    tcp = [address for address in addresses if isinstance(address, TcpAddress)]
    if len(tcp) < 2 or any(address.port for address in tcp):  # noqa: PLR2004
        return _open_all(addresses)
    for _ in range(MAX_PORT_TRIES - 1):
        try:
            return _open_on_one_port(addresses, _free_port(tcp))
        except CannotListenError as error:
            if not _is_in_use(error.__cause__):
                raise
    return _open_on_one_port(addresses, _free_port(tcp))


def _free_port(addresses: Sequence[TcpAddress]) -> int:
    """A port that is free on the first address that this machine has; 0 when it has none of them."""
    for address in addresses:
        probe = _open(address)
        if probe is not None:
            with probe:
                return int(probe.getsockname()[1])
    return 0


def _open_on_one_port(addresses: Sequence[ListenAddress], port: int) -> list[socket.socket]:
    return _open_all([TcpAddress(a.host, port) if isinstance(a, TcpAddress) else a for a in addresses])


def _open_all(addresses: Sequence[ListenAddress]) -> list[socket.socket]:
    opened: list[socket.socket] = []
    try:
        for address in addresses:
            listener = _open(address)
            if listener is not None:
                opened.append(listener)
    except CannotListenError:
        for listener in opened:
            listener.close()
        raise
    if not opened:
        what = f"this machine has none of the addresses {', '.join(map(str, addresses))}"
        raise CannotListenError(what, "correct listen in the settings")
    return opened


def _open(address: ListenAddress) -> socket.socket | None:
    if isinstance(address, UnixAddress):
        return _open_unix(address)
    try:
        return _open_tcp(address)
    except OSError as error:
        if error.errno in _NO_SUCH_FAMILY and address.host == "::1":
            return None
        raise _cannot_listen(address, error) from error


def _open_tcp(address: TcpAddress) -> socket.socket:
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, place = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        _set_exclusive(listener)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(place)
        return _listening(listener)
    except BaseException:
        listener.close()
        raise


def _set_exclusive(listener: socket.socket) -> None:
    """Have a port in TIME_WAIT count as free, and one in use not; no other program may bind ours."""
    if sys.platform == "win32":
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)  # SO_REUSEADDR would share it there
    else:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)


def _open_unix(address: UnixAddress) -> socket.socket:
    try:
        listener = UnixListener(address.path)
    except OSError as error:
        raise _cannot_listen(address, error) from error
    return _listening(listener)


def _listening(listener: socket.socket) -> socket.socket:
    listener.listen(BACKLOG)
    listener.setblocking(False)  # noqa: FBT003 - positional only
    return listener


def _is_in_use(error: BaseException | None) -> bool:
    return isinstance(error, OSError) and error.errno == errno.EADDRINUSE


def _cannot_listen(address: ListenAddress, error: OSError) -> CannotListenError:
    if _is_in_use(error):
        holder = holder_of(address.host, address.port) if isinstance(address, TcpAddress) else None
        return CannotListenError(f"{address} is taken by {holder or 'another program'}", _way_to_listen(holder))
    if error.errno in {errno.EACCES, errno.EPERM}:
        what = f"this user may not listen on {address}"
        if isinstance(address, UnixAddress):
            return CannotListenError(what, "choose a folder of your own, such as $XDG_RUNTIME_DIR, with --listen")
        return CannotListenError(what, "choose a port above 1023 with --listen")
    reason = error.strerror or str(error)
    return CannotListenError(f"cannot listen on {address}: {reason.lower()}", "correct listen in the settings")


def _way_to_listen(holder: PortHolder | None) -> str:
    if holder and not holder.is_own:
        return OWN_PORT
    if holder and holder.is_systemd:
        return "it listens for a socket unit: systemctl --user stop ppmproxy.socket ppmproxy.service"
    return "stop it, or choose another address with --listen (its port ends up in lock files)"


def url_of(listener: socket.socket) -> str:
    """The address of a listener, as a client writes it."""
    return address_of_socket(listener.getsockname()).url


@dataclass(slots=True)
class AcceptErrorHandler:
    """Logs in one line that no connection can be accepted, and leaves other errors to the loop.

    asyncio logs each attempt with a traceback, up to `BACKLOG` times a second and listener, which fills disks.
    """

    log: structlog.typing.FilteringBoundLogger
    reported_at: float = field(default=float("-inf"), init=False)  # by the loop's clock

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """For `loop.set_exception_handler`."""
        error = context.get("exception")
        if "socket" not in context or not isinstance(error, OSError) or error.errno not in _RESOURCES_EXHAUSTED:
            loop.default_exception_handler(context)
        elif loop.time() - self.reported_at >= QUIET_SECONDS:
            self.reported_at = loop.time()
            hint = "close other programs: the whole machine is short of this"
            if error.errno == errno.EMFILE:
                hint = "raise the limit of open files: ulimit -n, or LimitNOFILE= in the unit"
            self.log.error("accept_failed", why=(error.strerror or "").lower(), hint=hint)


class _AcceptingSocket(socket.socket):
    """A second descriptor of a listener. asyncio takes one number for the queue and for what it accepts in a round."""

    def listen(self, _backlog: int = BACKLOG, /) -> None:
        super().listen(BACKLOG)


class Acceptor:
    """Accepts the connections of listeners, which may be paused: new ones stay in the system's queue then.

    asyncio can stop a server and cannot start it again. So each server has a descriptor of its own, and is replaced.
    """

    def __init__(
        self, listeners: Sequence[socket.socket], connection: Callable[[], asyncio.BaseProtocol], at_once: int
    ) -> None:
        """`connection` makes the protocol of a connection; so many are accepted in one round of the event loop."""
        self._listeners = listeners
        self._connection = connection
        self._at_once = at_once
        self._is_paused = False
        self._servers: list[asyncio.Server] = []
        self._replacing: asyncio.Task[None] | None = None

    @property
    def can_pause(self) -> bool:
        """Whether this event loop is one that waits for descriptors."""
        return sys.platform != "win32"

    async def open(self) -> None:
        """Begin to accept connections."""
        loop = asyncio.get_running_loop()
        for listener in self._listeners:
            own = socket.dup(listener.fileno())
            accepting = _AcceptingSocket(listener.family, listener.type, listener.proto, fileno=own)
            self._servers.append(await loop.create_server(self._connection, sock=accepting, backlog=self._at_once))

    def pause(self) -> None:
        """Leave new connections in the system's queue."""
        self._is_paused = True
        if self._replacing is None:
            self._stop_accepting()

    def _stop_accepting(self) -> None:
        loop = asyncio.get_running_loop()
        for accepting in (one for server in self._servers for one in server.sockets):
            loop.remove_reader(accepting.fileno())

    def resume(self) -> None:
        """Accept them again."""
        if self._is_paused and self._replacing is None:
            self._replacing = asyncio.create_task(self._replace())
        self._is_paused = False

    async def _replace(self) -> None:
        for _ in range(2):
            await asyncio.sleep(0)  # what is accepted already takes part in its server in the next round
        self._close_servers()
        try:
            while not self._servers:
                try:
                    await self.open()
                except OSError:  # no descriptor is left
                    self._close_servers()
                    await asyncio.sleep(RETRY_DELAY)
        finally:
            self._replacing = None
        if self._is_paused:
            self._stop_accepting()

    def _close_servers(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()

    def close(self) -> None:
        """Accept no more connections, and close the listeners."""
        if self._replacing is not None:
            self._replacing.cancel()
        self._close_servers()
        for listener in self._listeners:
            listener.close()
