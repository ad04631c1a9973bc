"""The ``[[credentials]]`` tables: the credential sources, and the keys of each.

The room `credentials` implements the sources.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ppmproxy.auth.credential import Use
from ppmproxy.auth.secret import MASK
from ppmproxy.config.location import Location, nearest, one_of, unknown_key
from ppmproxy.config.model import CredentialSpec
from ppmproxy.config.values import (
    PATH,
    ValueType,
    choice_of,
    duration,
    filled_string,
    from_inline_toml,
    items_of,
    list_of,
    toml_list,
    toml_string,
    wrong_type,
)
from ppmproxy.errors import ConfigError


def _variable(value: object, location: Location) -> str:
    text = filled_string(value, location)
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text):
        hint = "write the variable's name without $, and the token into the variable"
        raise location.error("is not the name of an environment variable", hint)
    return text


def _argv(value: object, location: Location) -> tuple[str, ...]:
    hint = 'write argv = ["program", "argument"], which runs without a shell'
    if not isinstance(value, list):
        raise wrong_type(value, "a list of strings", location, hint)
    argv = items_of(value, location, _argument)
    if not argv or not argv[0]:
        raise location.error("names no program", hint)
    return argv


def _argument(value: object, location: Location) -> str:
    # Anything but NUL, which ends an argument in C; line breaks are fine here.
    if not isinstance(value, str):
        raise wrong_type(value, "a string", location)
    if "\0" in value:
        raise location.error("contains a NUL character", "remove it")
    return value


def _format_argv(argv: tuple[str, ...]) -> str:
    # An argument may hold a secret, although every user of the machine can read it.
    return toml_list([toml_string(argv[0]), *(toml_string(MASK) for _ in argv[1:])])


def _repository(value: object, location: Location) -> str:
    text = filled_string(value, location)
    if "/" in text:
        raise location.refused(
            text, "not a repository's name", "write the first segment of its path, as in pypi-internal"
        )
    return text


@dataclass(frozen=True, slots=True)
class _SourceKey:
    """One key of a credentials table, and the sources that take it."""

    name: str
    value_type: ValueType
    sources: frozenset[str]
    is_required: bool = False


SOURCES = ("env", "file", "command", "netrc", "keyring", "tokens", "identity-token", "github-actions", "none")

_OWN_KEYS = (
    _SourceKey("path", PATH, frozenset({"file", "netrc", "tokens", "identity-token"})),
    _SourceKey("variable", ValueType(_variable, toml_string, "NAME"), frozenset({"env"})),
    _SourceKey("argv", ValueType(_argv, _format_argv, "LIST"), frozenset({"command"}), is_required=True),
    _SourceKey("timeout", duration(), frozenset({"command", "keyring"})),
    _SourceKey("audience", ValueType(filled_string, toml_string, "TEXT"), frozenset({"github-actions"})),
)
_COMMON_KEYS = (
    _SourceKey("repos", list_of(_repository, "NAME,..."), frozenset(SOURCES)),
    _SourceKey("use", choice_of(Use), frozenset(SOURCES)),
)
_KEYS = (*_OWN_KEYS, *_COMMON_KEYS)


def _credentials(value: object, location: Location) -> tuple[CredentialSpec, ...] | None:
    """The sources in their order; an empty list is the standard chain."""
    if not isinstance(value, list):
        raise wrong_type(
            value, "a list of tables", location, "write [[upstream.default.credentials]] in double brackets"
        )
    return items_of(value, location, _credential) or None


def _credential(value: object, location: Location) -> CredentialSpec:
    if not isinstance(value, dict):
        raise wrong_type(value, "a table", location, 'write { from = "file", path = "…" }')
    source = _source(value, location)
    keys = {key.name: key for key in _KEYS if source in key.sources}
    for name in (name for name in value if name != "from" and name not in keys):
        wanting = [key.name for key in keys.values() if key.is_required and key.name not in value]
        raise _wrong_key(location.below(name), name, source, wanting or keys)
    for key in keys.values():
        if key.is_required and key.name not in value:
            raise location.error(f"has from = {toml_string(source)} without {key.name}", f"add {key.name} = …")
    parsed: dict[str, Any] = {
        name: keys[name].value_type.parse(given, location.below(name))
        for name, given in value.items()
        if name != "from"
    }
    return CredentialSpec(source, **parsed)


def _source(table: Mapping[str, object], location: Location) -> str:
    if "from" not in table:
        known = ["from", *(key.name for key in _KEYS)]
        for name in (name for name in table if name not in known):
            raise unknown_key(location.below(name), name, known)
        raise location.error("does not say where the token comes from", f"add from = {one_of(SOURCES)}")
    source = filled_string(table["from"], location.below("from"))
    if source not in SOURCES:
        hint = f"the nearest is {nearest(source, SOURCES)}"
        raise location.below("from").refused(source, f"not {one_of(SOURCES)}", hint)
    return source


def _wrong_key(location: Location, name: str, source: str, keys: Iterable[str]) -> ConfigError:
    """The error for a key that this source does not take.

    `keys` are the candidates for what was meant: the missing required keys, or else all keys of the source.
    """
    owners = sorted(owner for key in _OWN_KEYS if key.name == name for owner in key.sources)
    if not owners:
        return unknown_key(location, name, keys)
    what = f"is a key of {one_of(owners)}, not of from = {toml_string(source)}"
    return location.error(what, f"use {one_of(keys)}; the nearest is {nearest(name, keys)}")


def _format_credentials(specs: tuple[CredentialSpec, ...] | None) -> str:
    return toml_list(_format_credential(spec) for spec in specs or ())


def _format_credential(spec: CredentialSpec) -> str:
    default = CredentialSpec(spec.source)
    given = ((key, getattr(spec, key.name)) for key in _KEYS if getattr(spec, key.name) != getattr(default, key.name))
    pairs = [
        f"from = {toml_string(spec.source)}",
        *(f"{key.name} = {key.value_type.format(value)}" for key, value in given),
    ]
    return f"{{ {', '.join(pairs)} }}"


CREDENTIALS = ValueType(_credentials, _format_credentials, "LIST", from_inline_toml)
