"""The environment of a service: the flags and variables it was installed with, but no secrets.

A service does not see the shell that it was installed from, so a note is printed for each variable that is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ppmproxy.auth.child_env import (
    AUDIENCE_VARIABLE,
    IDENTITY_VARIABLE,
    SHARED_FILE_VARIABLE,
    TOKEN_FILE_VARIABLE,
    TOKEN_VARIABLES,
)
from ppmproxy.config.keys import KEYS
from ppmproxy.config.values import OPTIONAL_PATH
from ppmproxy.environment import Environment
from ppmproxy.errors import ConfigError

Flags = Mapping[str, str | None]  # settings given as flags, by key; None for those not given

_PATHS = (
    IDENTITY_VARIABLE,
    SHARED_FILE_VARIABLE,
    "NETRC",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "XDG_CONFIG_HOME",
    "XDG_STATE_HOME",
)
_WORDS = (AUDIENCE_VARIABLE, "PACKAGEMANAGER_ADDRESS")
_PROXIES = tuple(name for word in ("http", "https", "all", "no") for name in (f"{word}_proxy", f"{word}_proxy".upper()))
_KEYS = {key.variable: key for key in KEYS}
# In a unit a line break would begin another directive.
_NOT_ON_A_LINE = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")
_TO_A_FILE = "put the token into a file (chmod 600) and install again with PPMPROXY_TOKEN_FILE=…, or `ppmproxy login`"


@dataclass(frozen=True, slots=True)
class ServiceEnvironment:
    """The service's variables and token file, and notes about what was left out."""

    variables: tuple[tuple[str, str], ...] = ()
    token_file: Path | None = None
    notes: tuple[str, ...] = ()


def service_environment(
    environment: Environment, flags: Flags, before: ServiceEnvironment | None = None
) -> ServiceEnvironment:
    """The environment to install; `ConfigError` for a setting that the service needs and that may hold a secret.

    The values of an earlier installation stay, unless they are given again.
    """
    environ, before = environment.environ, before or ServiceEnvironment()
    kept = _other_variables(before.variables) | dict(_settings(environment, flags, before))
    if config := flags.get("config") or environ.get("PPMPROXY_CONFIG"):
        kept["PPMPROXY_CONFIG"] = str(_absolute(config, environment))
    kept |= {name: str(_absolute(environ[name], environment)) for name in _PATHS if environ.get(name)}
    kept |= {name: environ[name] for name in (*_WORDS, *_PROXIES) if environ.get(name)}
    with_password = [name for name in _PROXIES if "@" in kept.get(name, "")]
    for name in with_password:
        del kept[name]
    named = environ.get(TOKEN_FILE_VARIABLE)
    token_file = _absolute(named, environment) if named else before.token_file
    _check_lines({**kept, TOKEN_FILE_VARIABLE: str(token_file or "")})
    notes = [
        f"{name} is not carried over, a unit is no place for a secret: {_TO_A_FILE}"
        for name in TOKEN_VARIABLES
        if environ.get(name)
    ]
    notes += [f"{name} has a password in it and is not carried over: {_elsewhere('proxy')}" for name in with_password]
    unchanged = [name for name, value in before.variables if kept.get(name) == value]
    unchanged = [name for name in unchanged if not _is_given(name, environ, flags)]
    unchanged += [TOKEN_FILE_VARIABLE] if before.token_file and not named else []
    if unchanged:
        notes.append(f"kept from the last time: {', '.join(unchanged)}; to begin anew, uninstall first")
    return ServiceEnvironment(tuple(sorted(kept.items())), token_file, tuple(notes))


def _check_lines(variables: Mapping[str, str]) -> None:
    """`ConfigError` for a value that does not fit into one line of a unit; the value is not shown."""
    for name, value in variables.items():
        if _NOT_ON_A_LINE.search(value):
            what = f"{name} contains a line break or another control character, which a unit cannot have"
            raise ConfigError(what, "write it on one line")
    if variables[TOKEN_FILE_VARIABLE].endswith(("\\", " ")):  # to systemd a line that goes on, and a blank to drop
        what = f"{TOKEN_FILE_VARIABLE} ends with a backslash or a blank, which a unit cannot have"
        raise ConfigError(what, "give the file another name")


def _other_variables(variables: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Those that are not settings of our own, which are in `_settings`."""
    return {name: value for name, value in variables if name not in _KEYS}


def _is_given(variable: str, environ: Mapping[str, str], flags: Flags) -> bool:
    key = _KEYS.get(variable)
    flag = "config" if variable == "PPMPROXY_CONFIG" else key.name if key else ""
    return variable in environ or flags.get(flag) is not None


def _settings(environment: Environment, flags: Flags, before: ServiceEnvironment) -> Iterator[tuple[str, str]]:
    """Each setting by its variable; a flag overrules a variable, and both overrule the earlier installation."""
    given = {_KEYS[name].field: (_KEYS[name], value) for name, value in before.variables if name in _KEYS}
    for key in KEYS:
        if (text := environment.environ.get(key.variable)) is not None:
            given[key.field] = (key, text)
    for key in KEYS:
        if (text := flags.get(key.name)) is not None:
            given[key.field] = (key, text)
    for key, text in given.values():
        if not key.is_flag or (key.name == "proxy" and "@" in text):
            what = f"{key.variable} may hold a secret, and is not written into a unit"
            raise ConfigError(what, _elsewhere(key.name))
        yield key.variable, str(_absolute(text, environment)) if text and key.value_type is OPTIONAL_PATH else text


def _elsewhere(key: str) -> str:
    return f"set {key} in ~/.config/ppmproxy/config.toml (chmod 600), and unset the variable"


def _absolute(path: str, environment: Environment) -> Path:
    return environment.cwd / environment.expand(path)
