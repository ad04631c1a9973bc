"""One run of `ppmproxy exec --intercept`: the parts of its CONNECT proxy, and the upstreams that were requested."""

from __future__ import annotations

import socket
import threading
from dataclasses import dataclass, field

from ppmproxy.access.daemon_identity import verify_daemon
from ppmproxy.access.identity_key import IdentityKey
from ppmproxy.access.runtime_dir import runtime_folders
from ppmproxy.cli.context import Context
from ppmproxy.config.model import Settings, Upstream
from ppmproxy.server.intercept.authority import RunAuthority
from ppmproxy.server.intercept.connect_request import USER, Authority

PROOF_TIMEOUT = 10.0  # seconds; a daemon may be busy with the requests of the command


@dataclass(slots=True)
class InterceptRun:
    """What the CONNECT proxy of one run is made of."""

    settings: Settings
    upstreams: list[Upstream]  # those over https
    context: Context
    daemon_url: str
    daemon_key: IdentityKey = field(repr=False)
    listener: socket.socket
    authority: RunAuthority
    password: str = field(repr=False)
    asked: set[Authority] = field(default_factory=set)  # upstreams that received a request
    ended: threading.Event = field(default_factory=threading.Event)  # the command has

    def find_daemon_key(self) -> IdentityKey | None:
        """The key of the daemon that listens now; None when it is not this user's. Blocks."""
        with verify_daemon(self.daemon_url, runtime_folders(self.context.environment), PROOF_TIMEOUT) as found:
            return found.record.key if found.record else None

    @property
    def proxy_url(self) -> str:
        """The URL of the CONNECT proxy, with its password."""
        return f"http://{USER}:{self.password}@127.0.0.1:{self.listener.getsockname()[1]}"
