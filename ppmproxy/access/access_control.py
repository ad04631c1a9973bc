"""Access control of a running daemon: admission, the key, the record for other commands, and start-up warnings."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ppmproxy.access.admission import Admission
from ppmproxy.access.daemon_record import DaemonRecord, remove_stale
from ppmproxy.access.descriptors import DescriptorShares
from ppmproxy.access.hardening import open_file_limit
from ppmproxy.access.identity_key import IdentityKey
from ppmproxy.access.limits import Limits
from ppmproxy.access.peer_credentials import PeerUids, is_supported, own_uid, uid_of_name
from ppmproxy.access.policy import Users, users_of
from ppmproxy.access.runtime_dir import runtime_folders
from ppmproxy.config.model import Access, AccessRule, Settings
from ppmproxy.environment import Environment
from ppmproxy.errors import ConfigError

if TYPE_CHECKING:  # `exec` starts without it
    import structlog


@dataclass(slots=True)
class AccessControl:
    """The access control of one daemon; `close` ends it."""

    settings: Settings
    admission: Admission
    peers: PeerUids
    why_not: str  # why peers' users cannot be looked up; "" when they can
    folder: Path  # of the record for this user's other commands
    key: IdentityKey = field(default_factory=IdentityKey.generate, repr=False)
    record: DaemonRecord | None = None
    record_file: Path | None = None
    is_ephemeral: bool = False  # see `DaemonRecord`
    manager: str = ""  # see `DaemonRecord`

    @classmethod
    def on(cls, listeners: Sequence[socket.socket], settings: Settings, environment: Environment) -> AccessControl:
        """For these listeners; `ConfigError` for users who do not exist, or a list of users that cannot be enforced."""
        _check_list(settings.access, listeners)
        users = users_of(settings.access, own_uid(), uid_of_name)
        peers, shares = PeerUids(), DescriptorShares.of(open_file_limit())
        _check_namespace(users, peers)
        why_not = "" if settings.access.rule is AccessRule.ANY else peers.unavailable_reason(listeners)
        admission = Admission(users, peers, Limits().within(shares))
        return cls(settings, admission, peers, why_not, runtime_folders(environment)[0])

    @property
    def access(self) -> Mapping[str, object]:
        """Who may use the proxy, for ``/-/status``."""
        rule = self.settings.access.rule
        return {"rule": rule.value, "kept": not self.why_not, "why_not": self.why_not}

    def publish(self, urls: Sequence[str], log: structlog.typing.FilteringBoundLogger) -> None:
        """Write the record for this user's other commands, and log what a person should know."""
        self.record = DaemonRecord(
            os.getpid(), tuple(urls), self.key, is_ephemeral=self.is_ephemeral, manager=self.manager
        )
        try:
            self.record_file = self.record.publish(self.folder)
            remove_stale(self.folder, self.record_file)
        except OSError as error:
            log.warning("proof_unavailable", folder=str(self.folder), why=error.strerror or str(error))
        if self.why_not:
            log.warning("peer_lookup_unavailable", why=self.why_not, consequence=self._consequence())
        if not all(address.is_loopback for address in self.settings.listen):
            log.warning(
                "listener_exposed",
                urls=list(urls),
                consequence="whoever reaches this port can install with the token of this proxy",
            )

    def restore_record(self) -> None:
        """Write the record again where the folder was emptied: at the end of a session, or by ``rm -r ~/.cache``."""
        if self.record is None or (self.record_file is not None and self.record_file.exists()):
            return
        with contextlib.suppress(OSError):
            self.record_file = self.record.publish(self.folder)

    def _consequence(self) -> str:
        if all(is_supported(family) for family in (socket.AF_INET, socket.AF_INET6)):
            return 'every connection is refused; access = "any" would admit every user of this machine'
        return "every user of this machine may use this proxy, and install with its token"

    def close(self) -> None:
        """Remove the record, close the kernel socket, and look for idle connections no longer."""
        if self.record is not None and self.record_file is not None:
            self.record.withdraw(self.record_file)
        self.record = self.record_file = None
        self.admission.close()
        self.peers.close()


def _check_list(access: Access, listeners: Sequence[socket.socket]) -> None:
    """Refuse a list of users where users cannot be looked up, instead of admitting everybody."""
    if access.rule is AccessRule.LISTED and not all(is_supported(listener.family) for listener in listeners):
        what = "access lists users, and this system does not report which user opened a connection"
        raise ConfigError(what, 'set access = "any", or listen on a Unix socket only')


def _check_namespace(users: Users, peers: PeerUids) -> None:
    """Refuse a list with users that this user namespace hides: a service in one would reject them without a reason."""
    for uid in sorted(users.listed or ()):
        if not peers.can_see(uid):
            what = f"access lists user {uid}, who is not visible in the user namespace of this process"
            raise ConfigError(
                what, "run `ppmproxy service install` again, or set PrivateUsers=no in the service's unit"
            )
