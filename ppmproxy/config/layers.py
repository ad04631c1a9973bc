"""The values of each layer (file, environment, flags), parsed and checked one by one.

An unknown key, variable or flag is an error that names the nearest known one. `load` merges the layers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ppmproxy.auth.child_env import AUDIENCE_VARIABLE, TOKEN_FILE_VARIABLE
from ppmproxy.config.file import parse_document
from ppmproxy.config.keys import DAEMON_KEYS, ENVIRONMENT_PREFIX, KEYS, UPSTREAM_KEYS, Key
from ppmproxy.config.location import Layer, Location, dotted, looks_secret, nearest, unknown_key
from ppmproxy.config.values import type_name
from ppmproxy.environment import Environment
from ppmproxy.errors import ConfigError

_DAEMON = {key.name: key for key in DAEMON_KEYS}
_UPSTREAM = {key.name: key for key in UPSTREAM_KEYS}
_ALL = {key.name: key for key in KEYS}

# Read elsewhere: by credential sources, by `file_candidates` and by the project's own tests.
_NOT_SETTINGS = frozenset({"PPMPROXY_TOKEN", TOKEN_FILE_VARIABLE, AUDIENCE_VARIABLE, "PPMPROXY_CONFIG"})
_TEST_PREFIX = "PPMPROXY_TEST_"
# Kubernetes sets these in every pod of a namespace with a Service named ppmproxy, and so does docker --link.
_SERVICE_LINK = re.compile(
    r"PPMPROXY_(SERVICE_(HOST|PORT(_\w+)?)|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)", re.ASCII
)
_SERVICE_PORT = re.compile(r"(tcp|udp|sctp)://")
_UPSTREAM_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9_-])?")


@dataclass(frozen=True, slots=True)
class ConfigInputs:
    """The sources of the settings; `flags` by the key's name, None for a flag that was not given."""

    environment: Environment
    flags: Mapping[str, str | None] = field(default_factory=dict)
    file_text: str | None = field(default=None, repr=False)
    file_name: str = ""


@dataclass(frozen=True, slots=True)
class ValueWithOrigin:
    """A parsed value, and its location."""

    value: Any
    location: Location


Values = dict[str, ValueWithOrigin]  # by the field of the settings


@dataclass(frozen=True, slots=True)
class LayerValues:
    """The values of one layer: for the daemon, for the single upstream, and for upstreams by name."""

    daemon: Values = field(default_factory=dict)
    single: Values = field(default_factory=dict)
    named: dict[str, Values] = field(default_factory=dict)

    def add(self, key: Key, raw: object, location: Location) -> None:
        """Parse a value and add it under its field."""
        add_value(self.daemon if key.name in _DAEMON else self.single, key, raw, location)

    def overridden_by(self, later: LayerValues) -> LayerValues:
        """Both layers merged; only a file names upstreams."""
        return LayerValues({**self.daemon, **later.daemon}, {**self.single, **later.single}, self.named or later.named)


def add_value(values: Values, key: Key, raw: object, location: Location) -> None:
    """Parse a value and add it under its field; `ConfigError` when the field has a value under another name."""
    if key.field in values:
        other = values[key.field].location
        raise location.error(f"repeats {dotted(other.path) or other.name}", "keep one of the two")
    values[key.field] = ValueWithOrigin(key.value_type.parse(raw, location), location)


def file_layer(inputs: ConfigInputs) -> LayerValues:
    """The values of the settings file, at its top and in its tables."""
    if inputs.file_text is None:
        return LayerValues()
    top = Location(Layer.FILE, inputs.file_name, inputs.environment.home, text=inputs.file_text)
    layer = LayerValues()
    for name, raw in parse_document(inputs.file_text, inputs.file_name).items():
        location = top.below(name)
        if name == "upstream" and isinstance(raw, dict):
            layer.named.update(
                {each: _upstream_values(each, table, location.below(each)) for each, table in raw.items()}
            )
        elif name in _ALL:
            layer.add(_ALL[name], raw, location)
        else:
            raise unknown_key(location, name, _ALL)
    return layer


def _upstream_values(name: str, table: object, location: Location) -> Values:
    """The values of one ``[upstream.<name>]``."""
    if not isinstance(table, dict):
        raise _not_a_table(name, table, location)
    if not _UPSTREAM_NAME.fullmatch(name):
        raise location.error(
            "is not a name for an upstream", "use letters, digits and . _ -, with a letter or digit first"
        )
    values: Values = {}
    known = {key: value for key, value in _UPSTREAM.items() if not value.alias_of}
    for key, raw in table.items():
        if key not in known:
            raise _not_of_an_upstream(key, location.below(key), known)
        add_value(values, known[key], raw, location.below(key))
    return values


def _not_of_an_upstream(key: str, location: Location, known: Iterable[str]) -> ConfigError:
    """The error for a key that an upstream's table does not have."""
    if key in _DAEMON:
        hint = "move it to the top of the file, above every [table]"
        return location.error("is not a key of an upstream", hint)
    if key in _UPSTREAM:
        return location.error("is a key for the top of the file", f"write {_UPSTREAM[key].field} here")
    return unknown_key(location, key, known)


def _not_a_table(name: str, value: object, location: Location) -> ConfigError:
    """The error for a key directly in ``[upstream]``, where only names of upstreams may stand."""
    if looks_secret(name):
        return unknown_key(location, name, _UPSTREAM)
    if name in _UPSTREAM:
        return location.error("is in [upstream], which names no upstream", "write it below [upstream.default]")
    hint = f"write {dotted(location.path)}.url = …; the nearest known key of an upstream is {nearest(name, _UPSTREAM)}"
    return location.error(f"must be a table, not {type_name(value)}", hint)


def environment_layer(inputs: ConfigInputs) -> LayerValues:
    """The values of the variables ``PPMPROXY_<KEY>``.

    An unknown variable is an error: were PPMPROXY_ACESS ignored, the proxy would run with an access that nobody set.
    """
    known = {key.variable: key for key in KEYS}
    layer = LayerValues()
    for variable, text in sorted(inputs.environment.environ.items()):
        if not variable.startswith(ENVIRONMENT_PREFIX) or _is_no_setting(variable, text):
            continue
        location = Location(Layer.ENVIRONMENT, variable, inputs.environment.home)
        if variable not in known:
            raise location.error("is not a setting", _variable_hint(variable))
        key = known[variable]
        layer.add(key, key.value_type.from_text(text, location), location)
    return layer


def _variable_hint(variable: str) -> str:
    name = variable.removeprefix(ENVIRONMENT_PREFIX)
    if looks_secret(name):
        return "set PPMPROXY_TOKEN to the token, or PPMPROXY_TOKEN_FILE to a file with it"
    known = [*_ALL, *(other.removeprefix(ENVIRONMENT_PREFIX).lower() for other in sorted(_NOT_SETTINGS))]
    return f"unset it; the nearest setting is {ENVIRONMENT_PREFIX}{nearest(name, known).upper()}"


def _is_no_setting(variable: str, text: str) -> bool:
    is_service_link = bool(_SERVICE_LINK.fullmatch(variable)) or (
        variable == "PPMPROXY_PORT" and bool(_SERVICE_PORT.match(text))
    )
    return variable in _NOT_SETTINGS or variable.startswith(_TEST_PREFIX) or is_service_link


def flags_layer(inputs: ConfigInputs) -> LayerValues:
    """The values of the flags."""
    known = {key.name: key for key in KEYS if key.is_flag}
    layer = LayerValues()
    for name, text in inputs.flags.items():
        if text is None:
            continue
        location = Location(Layer.FLAG, f"--{name.replace('_', '-')}", inputs.environment.home)
        if name not in known:
            raise location.error("is not a flag", f"the nearest flag is {known[nearest(name, known)].flag}")
        layer.add(known[name], known[name].value_type.from_text(text, location), location)
    return layer
