"""Which of a caller's settings a service keeps: flags and variables, as its environment; never a secret.

To change what is kept, or what is said of what is not, open this file. The service does not see the shell that it was
installed from; whatever is not kept has to be said.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ppmproxy.config.keys import KEYS
from ppmproxy.config.values import OPTIONAL_PATH
from ppmproxy.environment import expand_home
from ppmproxy.errors import ConfigError

_TOKENS = ("PPMPROXY_TOKEN", "PACKAGEMANAGER_TOKEN")
_TOKEN_FILE = "PPMPROXY_TOKEN_FILE"  # noqa: S105 - the name of a variable
_PATHS = (
    "PACKAGEMANAGER_IDENTITY_TOKEN_FILE",
    "PACKAGEMANAGER_SSO_TOKEN_FILE",
    "NETRC",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "XDG_CONFIG_HOME",
)
_WORDS = ("PPMPROXY_AUDIENCE", "PACKAGEMANAGER_ADDRESS")
_PROXIES = tuple(name for word in ("http", "https", "all", "no") for name in (f"{word}_proxy", f"{word}_proxy".upper()))
_KEYS = {key.variable: key for key in KEYS}
# What ends a line, for systemd or for whoever reads the unit again, would begin a directive of its own there.
_NOT_ON_A_LINE = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")
_TO_A_FILE = "put the token into a file (chmod 600) and install again with PPMPROXY_TOKEN_FILE=…, or `ppmproxy login`"


@dataclass(frozen=True, slots=True)
class Caller:
    """What somebody installs a service with; `flags` by key, None for those not given."""

    environ: Mapping[str, str] = field(repr=False)
    flags: Mapping[str, str | None]
    home: Path
    folder: Path  # the current one


@dataclass(frozen=True, slots=True)
class ServiceEnvironment:
    """What the service is given, and what a person is told of the rest."""

    environment: tuple[tuple[str, str], ...] = ()
    token_file: Path | None = None
    notes: tuple[str, ...] = ()


def service_environment(caller: Caller, before: ServiceEnvironment | None = None) -> ServiceEnvironment:
    """What goes along; `ConfigError` for a setting that may hold a secret, and so cannot, and would be missed.

    What an earlier installation was given stays, unless it is given anew.
    """
    environ, before = caller.environ, before or ServiceEnvironment()
    kept = _others(before.environment) | dict(_settings(caller, before))
    if config := caller.flags.get("config") or environ.get("PPMPROXY_CONFIG"):
        kept["PPMPROXY_CONFIG"] = str(_absolute(config, caller))
    kept |= {name: str(_absolute(environ[name], caller)) for name in _PATHS if environ.get(name)}
    kept |= {name: environ[name] for name in (*_WORDS, *_PROXIES) if environ.get(name)}
    with_password = [name for name in _PROXIES if "@" in kept.get(name, "")]
    for name in with_password:
        del kept[name]
    named = environ.get(_TOKEN_FILE)
    token_file = _absolute(named, caller) if named else before.token_file
    _check_lines({**kept, _TOKEN_FILE: str(token_file or "")})
    notes = [f"{name} is not carried over, a unit is no place for a secret: {_TO_A_FILE}" for name in _given(environ)]
    notes += [f"{name} has a password in it and is not carried over: {_elsewhere('proxy')}" for name in with_password]
    unchanged = [name for name, value in before.environment if kept.get(name) == value and not _is_given(name, caller)]
    unchanged += [_TOKEN_FILE] if before.token_file and not named else []
    if unchanged:
        notes.append(f"kept from the last time: {', '.join(unchanged)}; to begin anew, uninstall first")
    return ServiceEnvironment(tuple(sorted(kept.items())), token_file, tuple(notes))


def _check_lines(environment: Mapping[str, str]) -> None:
    """`ConfigError` for what is more than a part of one line of a unit; the value is not shown."""
    for name, value in environment.items():
        if _NOT_ON_A_LINE.search(value):
            what = f"{name} has a line break or another control character in it, and cannot stand in a unit"
            raise ConfigError(what, "write it in one plain line")
    if environment[_TOKEN_FILE].endswith(("\\", " ")):  # to systemd a line that goes on, and a blank to drop
        what = f"{_TOKEN_FILE} ends with a backslash or a blank, and cannot stand in a unit"
        raise ConfigError(what, "give the file another name")


def _others(environment: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Without the variables of settings, which `_settings` sees to."""
    return {name: value for name, value in environment if name not in _KEYS}


def _is_given(variable: str, caller: Caller) -> bool:
    key = _KEYS.get(variable)
    flag = "config" if variable == "PPMPROXY_CONFIG" else key.name if key else ""
    return variable in caller.environ or caller.flags.get(flag) is not None


def _given(environ: Mapping[str, str]) -> Iterator[str]:
    return (name for name in _TOKENS if environ.get(name))


def _settings(caller: Caller, before: ServiceEnvironment) -> Iterator[tuple[str, str]]:
    """Each key that was given, by its variable; a flag overrules a variable of the same meaning, and both what was."""
    given = {_KEYS[name].field: (_KEYS[name], value) for name, value in before.environment if name in _KEYS}
    for key in KEYS:
        if (text := caller.environ.get(key.variable)) is not None:
            given[key.field] = (key, text)
    for key in KEYS:
        if (text := caller.flags.get(key.name)) is not None:
            given[key.field] = (key, text)
    for key, text in given.values():
        if not key.is_flag or (key.name == "proxy" and "@" in text):
            what = f"{key.variable} may hold a secret, and is not written into a unit"
            raise ConfigError(what, _elsewhere(key.name))
        yield key.variable, str(_absolute(text, caller)) if text and key.kind is OPTIONAL_PATH else text


def _elsewhere(key: str) -> str:
    return f"set {key} in ~/.config/ppmproxy/config.toml (chmod 600), and unset the variable"


def _absolute(text: str, caller: Caller) -> Path:
    return caller.folder / expand_home(text, caller.home)
