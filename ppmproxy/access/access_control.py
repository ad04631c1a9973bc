"""What keeps a running daemon to its own user: the door, the key, and what is said where they cannot do it.

To change what a daemon says about this at its start, open this file.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from ppmproxy.access.admission import Admission, Limits
from ppmproxy.access.daemon_identity import DaemonRecord, Key, remove_stale
from ppmproxy.access.hardening import most_open_files
from ppmproxy.access.peer_credentials import PeerUids, can_be_known, own_uid, uid_of_name
from ppmproxy.access.policy import Users, users_of
from ppmproxy.access.runtime_dir import runtime_folders
from ppmproxy.config.model import Access, AccessRule, Settings
from ppmproxy.environment import Environment
from ppmproxy.errors import ConfigError


@dataclass(slots=True)
class AccessControl:
    """What one daemon guards itself with; `close` ends it."""

    settings: Settings
    admission: Admission
    peers: PeerUids
    why_not: str  # why the user at the other end of a connection is not told; "" when it is
    folder: Path  # for the notice to this user's other commands
    key: Key = field(default_factory=Key.made_up, repr=False)
    notice: DaemonRecord | None = None
    notice_file: Path | None = None
    ephemeral: bool = False  # see `DaemonRecord`

    @classmethod
    def on(cls, listeners: Sequence[socket.socket], settings: Settings, environment: Environment) -> AccessControl:
        """For these listeners; `ConfigError` for users who do not exist, or a list of users that cannot be kept."""
        _check_list(settings.access, listeners)
        users = users_of(settings.access, own_uid(), uid_of_name)
        peers = PeerUids()
        _check_namespace(users, peers)
        why_not = "" if settings.access.rule is AccessRule.ANY else peers.why_not(listeners)
        admission = Admission(users, peers, Limits().within(most_open_files()))
        return cls(settings, admission, peers, why_not, runtime_folders(environment)[0])

    @property
    def access(self) -> Mapping[str, object]:
        """Who may use the proxy, for ``/-/status``."""
        rule = self.settings.access.rule
        return {"rule": rule.value, "kept": not self.why_not, "why_not": self.why_not}

    def announce(self, urls: Sequence[str], log: structlog.stdlib.BoundLogger) -> None:
        """Leave word for this user's other commands, and say what a person should know."""
        self.notice = DaemonRecord(os.getpid(), tuple(urls), self.key, ephemeral=self.ephemeral)
        try:
            self.notice_file = self.notice.publish(self.folder)
            remove_stale(self.folder, self.notice_file)
        except OSError as error:
            log.warning("proof_unavailable", folder=str(self.folder), why=error.strerror or str(error))
        if self.why_not:
            log.warning("users_unknown", why=self.why_not, consequence=self._consequence())
        if not all(address.is_loopback for address in self.settings.listen):
            log.warning(
                "reachable_from_elsewhere",
                urls=list(urls),
                consequence="whoever reaches this port can install with the token of this proxy",
            )

    def announce_again(self) -> None:
        """Leave word anew where somebody has emptied the folder: a session's end, or ``rm -r ~/.cache``."""
        if self.notice is None or (self.notice_file is not None and self.notice_file.exists()):
            return
        with contextlib.suppress(OSError):
            self.notice_file = self.notice.publish(self.folder)

    def _consequence(self) -> str:
        if all(can_be_known(family) for family in (socket.AF_INET, socket.AF_INET6)):
            return 'every connection is refused; access = "any" would admit every user of this machine'
        return "every user of this machine may use this proxy, and install with its token"

    def close(self) -> None:
        """Take the notice away, and let go of the kernel."""
        if self.notice is not None and self.notice_file is not None:
            self.notice.withdraw(self.notice_file)
        self.notice = self.notice_file = None
        self.peers.close()


def _check_list(access: Access, listeners: Sequence[socket.socket]) -> None:
    """A list of users that was written down is not quietly taken for everybody."""
    if access.rule is AccessRule.LISTED and not all(can_be_known(listener.family) for listener in listeners):
        what = "access lists users, and this system does not tell who is at the other end of a connection"
        raise ConfigError(what, 'say access = "any", or listen on a Unix socket alone where there are such')


def _check_namespace(users: Users, peers: PeerUids) -> None:
    """A service is often shut in a user namespace, where those who were listed would be refused without a reason."""
    for uid in sorted(users.listed or ()):
        if not peers.can_see(uid):
            what = f"access lists user {uid}, whom this process cannot tell from others in its user namespace"
            raise ConfigError(
                what, "run `ppmproxy service install` again, or set PrivateUsers=no in the service's unit"
            )
