"""The settings as data, checked.

Nothing here parses, and no field is for a secret: a `CredentialSpec` names the place of a token. The fields that may
hold a secret all the same stay out of every ``repr``: fixed headers, a proxy's user name and password, the arguments
of a command.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from pathlib import Path

from ppmproxy.auth.credential import Use
from ppmproxy.auth.origin import Origin
from ppmproxy.auth.policy import Scheme
from ppmproxy.config.local_address import ListenAddress, TcpAddress

DEFAULT_PORT = 7760  # never changes: it ends up in lock files and keys the clients' caches
PUBLIC_URL = "https://packagemanager.posit.co"
DEFAULT_REPO = "pypi"  # the repository that commands mean, and readiness follows


class ApiAccess(enum.Enum):
    """How much of ``/__api__`` is forwarded."""

    READ = "read"
    NONE = "none"


class SignIn(enum.Enum):
    """When a waiting request may start a sign-in."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class LogLevel(enum.Enum):
    """The least severe event that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(enum.Enum):
    """The format of the log; AUTO is CONSOLE on a terminal and JSON otherwise."""

    AUTO = "auto"
    CONSOLE = "console"
    JSON = "json"


class CacheUrlMode(enum.Enum):
    """What is done with the tier of the cache that machines share."""

    READ_WRITE = "read-write"
    READ = "read"  # nothing is uploaded


class AccessRule(enum.Enum):
    """The rule by which users may use the proxy."""

    SAME_USER = "same-user"
    ANY = "any"
    LISTED = "listed"


@dataclass(frozen=True, slots=True)
class Access:
    """The users who may use the proxy; names and uids belong to LISTED."""

    rule: AccessRule = AccessRule.SAME_USER
    names: tuple[str, ...] = ()
    uids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class CredentialSpec:
    """One credential source; ``None`` means the source's own default.

    `source` is one of file, env, command, netrc, keyring, tokens, identity-token, github-actions and none; the last
    ends the search. Empty `repos` means all repositories.
    """

    source: str
    use: Use = Use.ANY
    repos: tuple[str, ...] = ()
    path: Path | None = None  # file, netrc, tokens, identity-token
    variable: str | None = None  # env
    argv: tuple[str, ...] | None = field(default=None, repr=False)  # command: never a shell string
    timeout: float | None = None  # command, keyring; seconds
    audience: str | None = None  # github-actions


@dataclass(frozen=True, slots=True)
class Upstream:
    """One Package Manager: its URL, its local mount and its connection. Times are in seconds."""

    name: str = "default"
    url: str = PUBLIC_URL  # scheme and host in lower case, no default port, no trailing slash; the path as written
    mount: str = "/"  # "/", or "/name" without a trailing slash
    scheme: Scheme = Scheme.AUTO
    ca_file: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None  # None with a client_cert: the key is in the same file
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    proxy: str = field(default="environment", repr=False)  # environment | none | an http:// or https:// URL
    uploads: bool = False
    api: ApiAccess = ApiAccess.READ
    file_hosts: tuple[Origin, ...] = ()
    connect_timeout: float = 10.0
    read_timeout: float = 60.0
    max_connections: int = 50
    sign_in: SignIn = SignIn.AUTO
    cache: bool = True
    cache_recheck: float = 600.0  # how long an answer of the Package Manager vouches for cached files
    cache_pages_for: float = 60.0
    cache_stale_for: float = 7 * 24 * 3600.0  # 0 is never
    offline: bool = False
    credentials: tuple[CredentialSpec, ...] | None = None  # None: the standard chain
    configured: bool = False  # False only for the public default, which never gets a credential

    @property
    def origin(self) -> Origin:
        """Scheme, host and port of the URL."""
        return Origin.of(self.url)

    @property
    def mount_prefix(self) -> str:
        """What the local paths of the upstream begin with; empty for the root."""
        return "" if self.mount == "/" else self.mount


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings; the defaults are those of the settings file."""

    listen: tuple[ListenAddress, ...] = (TcpAddress("127.0.0.1", DEFAULT_PORT), TcpAddress("::1", DEFAULT_PORT))
    access: Access = field(default_factory=Access)
    allowed_hosts: tuple[str, ...] = ()  # host or host:port, in lower case, IPv6 in brackets
    log_level: LogLevel = LogLevel.INFO
    log_format: LogFormat = LogFormat.AUTO
    drain_timeout: float = 20.0  # seconds
    exit_when_idle: float = 0.0  # seconds; 0 is never
    cache_dir: Path | None = None  # None: ppmproxy in the user's folder for caches
    cache_max_size: int = 2 << 30  # bytes
    cache_url: str = ""  # of the tier that machines share: s3, gs, az or file, without a slash at its end; "" is none
    cache_url_mode: CacheUrlMode = CacheUrlMode.READ_WRITE
    cache_url_timeout: float = 2.0  # seconds
    notifications: bool = True
    upstreams: tuple[Upstream, ...] = (Upstream(),)
