"""The table of all keys of the settings: name, type and description.

A new key is a field with its default in `model.Settings` or `model.Upstream`, and a line in this table. The file, the
environment, the flags, ``config example`` and the errors follow from it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ppmproxy.auth.policy import Scheme
from ppmproxy.config.access import ACCESS
from ppmproxy.config.cache_url import CACHE_URL
from ppmproxy.config.credentials import CREDENTIALS
from ppmproxy.config.model import ApiAccess, CacheUrlMode, LogFormat, LogLevel, Settings, SignIn, Upstream
from ppmproxy.config.network import ALLOWED_HOSTS, FILE_HOSTS, HEADERS, LISTEN, MOUNT, PROXY, URL
from ppmproxy.config.values import (
    BOOLEAN,
    BYTE_SIZE,
    MAX_AGE,
    OPTIONAL_PATH,
    ValueType,
    choice_of,
    duration,
    toml_string,
    whole_number,
)

ENVIRONMENT_PREFIX = "PPMPROXY_"


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the settings.

    `alias_of` is another key with the same meaning. With `is_shared`, the key of an upstream may also stand at the top,
    for all upstreams that do not have their own. `is_flag` is False for a value that may hold a secret, because
    every user of the machine can read a command line, or that is too long for one.
    """

    name: str
    value_type: ValueType
    help: str
    alias_of: str = ""
    is_flag: bool = True
    is_shared: bool = False

    @property
    def field(self) -> str:
        """The field of the settings that the key fills."""
        return self.alias_of or self.name

    @property
    def variable(self) -> str:
        """The key's environment variable."""
        return f"{ENVIRONMENT_PREFIX}{self.name.upper()}"

    @property
    def flag(self) -> str:
        """The key's flag."""
        return f"--{self.name.replace('_', '-')}"

    def formatted_default(self) -> str:
        """The default, as TOML."""
        owner = Settings() if self in DAEMON_KEYS else Upstream()
        return self.value_type.format(getattr(owner, self.field))


_USUAL_CACHE = "~/.cache/ppmproxy"  # stands for the user's folder for caches, wherever that is
CACHE_DIR = replace(
    OPTIONAL_PATH,
    parse=lambda value, location: None if value == _USUAL_CACHE else OPTIONAL_PATH.parse(value, location),
    format=lambda value: toml_string(_USUAL_CACHE if value is None else str(value)),
)

DAEMON_KEYS = (
    Key(
        "listen",
        LISTEN,
        "addresses to listen on: host:port, unix:/path, or auto: 7760, or a free port of your own",
    ),
    Key("access", ACCESS, "users of this machine who may use the proxy: same-user (and root), any, or a list"),
    Key(
        "allowed_hosts",
        ALLOWED_HOSTS,
        "accepted Host headers besides localhost, 127.0.0.1, [::1] and the listen addresses",
    ),
    Key("log_level", choice_of(LogLevel), "least important events to log: debug, info, warning or error"),
    Key(
        "log_format",
        choice_of(LogFormat),
        "format of the log: console, json, or auto: console on a terminal and json elsewhere",
    ),
    Key("drain_timeout", duration(may_be_zero=True), "time for open requests to finish when the daemon ends"),
    Key("exit_when_idle", duration(may_be_zero=True), "end the daemon after this time without a request; 0s: never"),
    Key("cache_dir", CACHE_DIR, "folder of the cache; the default follows $XDG_CACHE_HOME"),
    Key("cache_max_size", BYTE_SIZE, "largest size of the cache; the least recently used files are removed first"),
    Key(
        "cache_url",
        CACHE_URL,
        "second cache shared among machines: s3://, gs://, az:// (ppmproxy[shared-cache]) or file://",
    ),
    Key("cache_url_mode", choice_of(CacheUrlMode), "read-write, or read: nothing is uploaded to cache_url"),
    Key("cache_url_timeout", duration(most=60.0), "longest time that cache_url may delay a request"),
    Key(
        "notifications",
        BOOLEAN,
        "notify on the desktop of a sign-in or the end of a session; needs the extra ppmproxy[desktop]",
    ),
)

URL_KEY = Key("url", URL, "URL of the Package Manager; it may have a path")

UPSTREAM_KEYS = (
    URL_KEY,
    Key("upstream", URL, "the same as url, for a single upstream", alias_of="url"),
    Key("mount", MOUNT, 'local path of the upstream: "/" for the default or only one, "/<name>" for others'),
    Key(
        "scheme",
        choice_of(Scheme),
        "authentication scheme: bearer, basic, or auto: bearer, then basic when it is refused",
    ),
    Key("ca_file", OPTIONAL_PATH, "file of certificate authorities to trust besides the system's (PEM)"),
    Key("client_cert", OPTIONAL_PATH, "client certificate for mutual TLS (PEM)"),
    Key("client_key", OPTIONAL_PATH, "private key of client_cert, if it is in another file (PEM)"),
    Key("headers", HEADERS, "fixed headers to send, for an ingress that requires them", is_flag=False),
    Key("proxy", PROXY, "forward proxy: environment (HTTPS_PROXY and others), none, or a URL"),
    Key("uploads", BOOLEAN, "forward uploads (POST /upload/), which are refused otherwise"),
    Key("api", choice_of(ApiAccess), "part of the API to forward: read (the read-only part) or none"),
    Key(
        "file_hosts",
        FILE_HOSTS,
        "other hosts of files on index pages; fetched through the proxy, without the token",
    ),
    Key("connect_timeout", duration(), "time limit for a connection, with the look-up of the name"),
    Key("read_timeout", duration(), "time limit for the next bytes of the Package Manager"),
    Key("max_connections", whole_number(1, 10_000), "largest number of connections to the Package Manager"),
    Key(
        "sign_in",
        choice_of(SignIn),
        "sign in when no token is valid: always, never, or auto: with a browser or a terminal only",
    ),
    Key("cache", BOOLEAN, "keep files and index pages on disk", is_shared=True),
    Key(
        "cache_recheck",
        duration(may_be_zero=True, most=MAX_AGE),
        "time after which access to a cached file is checked at the Package Manager again",
        is_shared=True,
    ),
    Key(
        "cache_pages_for",
        duration(may_be_zero=True, most=MAX_AGE),
        "time for which an index page is fresh if its response does not say",
        is_shared=True,
    ),
    Key(
        "cache_stale_for",
        duration(may_be_zero=True, most=MAX_AGE),
        "largest age of an index page when the Package Manager does not answer; 0s: never",
        is_shared=True,
    ),
    Key("offline", BOOLEAN, "send no request to the Package Manager and serve from the cache only", is_shared=True),
    Key(
        "credentials",
        CREDENTIALS,
        "sources of tokens, in this order; []: the standard ones",
        is_flag=False,
    ),
)

KEYS = (*DAEMON_KEYS, *UPSTREAM_KEYS)
SHARED_FIELDS = frozenset(key.field for key in UPSTREAM_KEYS if key.is_shared)


@dataclass(frozen=True, slots=True)
class Flag:
    """What `argparse` needs for one key. `bare_value` is the value of the flag alone; None: it needs one."""

    name: str
    key: str  # in `ConfigInputs.flags`
    metavar: str
    help: str
    bare_value: str | None
    is_list: bool  # items separated by commas, or the flag repeated


def flags() -> tuple[Flag, ...]:
    """The flags of all keys that have one."""
    return tuple(_flag_of(key) for key in KEYS if key.is_flag)


def _flag_of(key: Key) -> Flag:
    sentence = f"{key.help} (default: {key.formatted_default()})".replace("%", "%%")  # argparse formats it
    return Flag(
        key.flag,
        key.name,
        key.value_type.metavar,
        sentence,
        "true" if key.value_type.may_be_bare else None,
        key.value_type.is_list,
    )


_EXAMPLE_HEAD = """\
# Settings of ppmproxy. Every key but url has its default value here.
# The same keys are environment variables (PPMPROXY_LOG_LEVEL) and flags (--log-level), which override this file.
# Write no secret into this file, only where one is kept.
"""

_EXAMPLE_TAIL = """\
# Without such a table the standard sources are used: PPMPROXY_TOKEN, PPMPROXY_TOKEN_FILE, .netrc and others.
# [[upstream.default.credentials]]
# from = "file"
# path = "~/.config/ppmproxy/token"
# repos = ["pypi-internal"]   # only for these repositories; default: all
# use = "read"                # read, upload or any; default: any
"""


def example() -> str:
    """A settings file with every key, its default and its description."""
    shared = tuple(key for key in UPSTREAM_KEYS if key.is_shared)
    own = tuple(key for key in UPSTREAM_KEYS if not key.is_shared)
    sections = ("", (*DAEMON_KEYS, *shared)), ("[upstream.default]\n", own)
    written = (header + "".join(_example_lines(keys)) for header, keys in sections)
    return "\n".join((_EXAMPLE_HEAD, *written, _EXAMPLE_TAIL))


def _example_lines(keys: Iterable[Key]) -> Iterable[str]:
    for key in keys:
        if key.alias_of or key.name == "credentials":
            continue
        value = '"https://packagemanager.example.com"' if key.name == "url" else key.formatted_default()
        yield f"# {key.help}\n{key.name} = {value}\n"
