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
    Key("listen", LISTEN, "addresses to listen on: host:port, or unix:/path of a socket"),
    Key("access", ACCESS, "who on this machine may use the proxy: same-user (and root), any, or a list of users"),
    Key("allowed_hosts", ALLOWED_HOSTS, "Host values besides localhost, 127.0.0.1, [::1] and the listen addresses"),
    Key("log_level", choice_of(LogLevel), "the least important event that is logged: debug, info, warning or error"),
    Key("log_format", choice_of(LogFormat), "auto, console or json; auto is console on a terminal and json otherwise"),
    Key("drain_timeout", duration(may_be_zero=True), "how long running requests may take to finish at the end"),
    Key("exit_when_idle", duration(may_be_zero=True), "end when nothing was asked for so long; 0s is never"),
    Key("cache_dir", CACHE_DIR, "where the cache is; its default follows $XDG_CACHE_HOME"),
    Key("cache_max_size", BYTE_SIZE, "how large the cache may grow; what was used least recently goes first"),
    Key(
        "cache_url",
        CACHE_URL,
        "a second tier shared among machines: s3://bucket/prefix, gs://…, az://… (ppmproxy[shared-cache]) or file:///…",
    ),
    Key("cache_url_mode", choice_of(CacheUrlMode), "read-write, or read: nothing is uploaded"),
    Key("cache_url_timeout", duration(most=60.0), "how long the second tier may keep a request waiting"),
    Key(
        "notifications", BOOLEAN, "show on the desktop that a sign-in waits or a session ends; takes ppmproxy[desktop]"
    ),
)

URL_KEY = Key("url", URL, "where the Package Manager is; the URL may have a path")

UPSTREAM_KEYS = (
    URL_KEY,
    Key("upstream", URL, "the same as url, where there is one upstream", alias_of="url"),
    Key(
        "mount", MOUNT, 'where it appears locally; "/" for the default or only upstream, "/<name>" for every other one'
    ),
    Key(
        "scheme",
        choice_of(Scheme),
        "how the token is sent: bearer, basic, or auto: bearer first, basic when that is refused",
    ),
    Key("ca_file", OPTIONAL_PATH, "certificate authorities trusted besides the system's (PEM)"),
    Key("client_cert", OPTIONAL_PATH, "certificate for mutual TLS (PEM)"),
    Key("client_key", OPTIONAL_PATH, "its private key, where that is not in the same file"),
    Key("headers", HEADERS, "fixed headers that an ingress wants", is_flag=False),
    Key("proxy", PROXY, "the way out: environment (HTTPS_PROXY …), none, or the URL of a proxy"),
    Key("uploads", BOOLEAN, "forward POST /upload/…, which is refused otherwise"),
    Key("api", choice_of(ApiAccess), "how much of /__api__ is forwarded: read (its read-only part) or none"),
    Key(
        "file_hosts",
        FILE_HOSTS,
        "other hosts that index links may lead to; fetched through the proxy, without the token",
    ),
    Key("connect_timeout", duration(), "how long connecting may take, from looking up the name on"),
    Key("read_timeout", duration(), "how long the Package Manager may be silent"),
    Key("max_connections", whole_number(1, 10_000), "connections to the Package Manager at one time"),
    Key(
        "sign_in",
        choice_of(SignIn),
        "sign in when no token is valid: always, never, or auto: only where a person can see it",
    ),
    Key("cache", BOOLEAN, "keep files and pages on disk, and serve them from there", is_shared=True),
    Key(
        "cache_recheck",
        duration(may_be_zero=True, most=MAX_AGE),
        "how long an answer of the Package Manager vouches for cached files",
        is_shared=True,
    ),
    Key(
        "cache_pages_for",
        duration(may_be_zero=True, most=MAX_AGE),
        "how long an index page is fresh when its server does not say",
        is_shared=True,
    ),
    Key(
        "cache_stale_for",
        duration(may_be_zero=True, most=MAX_AGE),
        "how old a page may be when the Package Manager gives no answer; 0s is never",
        is_shared=True,
    ),
    Key("offline", BOOLEAN, "send no request; what is not in the cache is said to be missing", is_shared=True),
    Key(
        "credentials",
        CREDENTIALS,
        "where tokens are looked for, in this order; [] is the standard chain",
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
# Settings of ppmproxy. Every key but url has the value that it has anyway.
# The same keys are environment variables (PPMPROXY_LOG_LEVEL) and flags (--log-level), which overrule this file.
# No secret belongs here, only the place where one is kept.
"""

_EXAMPLE_TAIL = """\
# Without a table like these, the usual places are asked: PPMPROXY_TOKEN, PPMPROXY_TOKEN_FILE, .netrc and more.
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
