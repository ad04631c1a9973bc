"""The settings in force: the layers merged, contradictions refused, each value with its source.

Later layers override earlier ones: defaults, file, environment, flags. `layers` parses each layer, `keys` lists the
keys, `values` and its neighbours parse single values, `location` words the mistakes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ppmproxy.config.file import Candidate, file_candidates
from ppmproxy.config.keys import DAEMON_KEYS, SHARED_FIELDS, UPSTREAM_KEYS, URL_KEY, Flag, Key, example, flags
from ppmproxy.config.layers import (
    ConfigInputs,
    LayerValues,
    Values,
    ValueWithOrigin,
    add_value,
    environment_layer,
    file_layer,
    flags_layer,
)
from ppmproxy.config.local_address import ListenAddress, TcpAddress
from ppmproxy.config.location import Layer, Location, dotted
from ppmproxy.config.model import PUBLIC_URL, AccessRule, Settings, Upstream

__all__ = [
    "Candidate",
    "ConfigInputs",
    "EffectiveSetting",
    "Flag",
    "LoadedConfig",
    "example",
    "file_candidates",
    "flags",
    "load",
]

DEFAULT_NAME = Upstream().name
ADDRESS_VARIABLE = "PACKAGEMANAGER_ADDRESS"


@dataclass(frozen=True, slots=True)
class EffectiveSetting:
    """One line of ``config show``: the value as TOML with secrets masked, and its source."""

    key: str
    value: str
    source: str  # default | file PATH | environment PPMPROXY_X | flag --x


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """The settings in force, and the source of each; the file that was read, and all that would have been."""

    settings: Settings
    entries: tuple[EffectiveSetting, ...]
    file_name: str = ""  # "" where there is none
    candidates: tuple[Candidate, ...] = ()


def load(inputs: ConfigInputs) -> LoadedConfig:
    """The settings in force; `ConfigError` for a mistake in any layer, also where a later layer overrides it."""
    in_file = file_layer(inputs)
    overriding = environment_layer(inputs).overridden_by(flags_layer(inputs))
    daemon = in_file.overridden_by(overriding).daemon
    values_by_upstream = _upstream_values(in_file, overriding.single, inputs)
    _refuse_exposure(daemon)
    upstreams = tuple(
        _upstream(name, values, is_only=len(values_by_upstream) == 1) for name, values in values_by_upstream.items()
    )
    _refuse_equal_mounts(upstreams, values_by_upstream)
    settings = replace(Settings(), **_fields(daemon), upstreams=upstreams)
    return LoadedConfig(settings, tuple(_entries(settings, daemon, values_by_upstream)))


# --- which upstreams --------------------------------------------------------------------------------------------------


def _upstream_values(in_file: LayerValues, overriding: Values, inputs: ConfigInputs) -> dict[str, Values]:
    """The values of each upstream, in the file's order."""
    if len(in_file.named) > 1:
        given = {**in_file.single, **overriding}
        _refuse_ambiguity([given[name] for name in given if name not in SHARED_FIELDS], in_file.named)
        for name, values in in_file.named.items():
            _refuse_missing_url(name, values, inputs)
        above, over = _shared(in_file.single), _shared(overriding)
        return {name: {**above, **values, **over} for name, values in in_file.named.items()}
    name, values = next(iter(in_file.named.items()), (DEFAULT_NAME, {}))
    for each in (each for each in in_file.single if each in values and each not in SHARED_FIELDS):
        location = in_file.single[each].location
        raise location.error(f"repeats {dotted(values[each].location.path)}", "keep one of the two")
    merged = {**in_file.single, **values, **overriding}
    if "url" not in merged and (address := inputs.environment.environ.get(ADDRESS_VARIABLE)):
        add_value(merged, URL_KEY, address, Location(Layer.ENVIRONMENT, ADDRESS_VARIABLE, inputs.environment.home))
    if name in in_file.named:
        _refuse_missing_url(name, merged, inputs)
    if "url" not in merged and _value(merged, "credentials"):
        # Otherwise requests would silently go to the public default, without them.
        raise merged["credentials"].location.error(
            "has no upstream to which they belong", 'add url = "https://…", or unset them'
        )
    return {name: merged}


def _shared(values: Values) -> Values:
    """What may be given for all upstreams at once."""
    return {name: given for name, given in values.items() if name in SHARED_FIELDS}


def _refuse_ambiguity(given: Iterable[ValueWithOrigin], named: Iterable[str]) -> None:
    """Refuse an upstream's key outside its table when there are several upstreams."""
    tables = [dotted(("upstream", name)) for name in named]
    for each in given:
        what = f"does not name one of the {len(tables)} upstreams"
        raise each.location.error(what, f"set it in the file, below [{'], ['.join(tables)}]")


def _refuse_missing_url(name: str, values: Values, inputs: ConfigInputs) -> None:
    if "url" not in values:
        top = Location(
            Layer.FILE, inputs.file_name, inputs.environment.home, ("upstream", name), inputs.file_text or ""
        )
        raise top.error("has no url", 'add url = "https://packagemanager.example.com"')


def _fields(values: Values) -> dict[str, Any]:
    return {name: given.value for name, given in values.items()}


def _upstream(name: str, values: Values, *, is_only: bool) -> Upstream:
    if "client_key" in values and values["client_key"].value and not _value(values, "client_cert"):
        raise values["client_key"].location.error("is set without client_cert", "set client_cert too, or leave it out")
    mount = "/" if is_only or name == DEFAULT_NAME else f"/{name}"
    # The public server never gets a token, even when the settings name it: the token belongs to another server.
    is_configured = _value(values, "url") not in {None, PUBLIC_URL}
    return replace(Upstream(), **{"name": name, "mount": mount, "configured": is_configured, **_fields(values)})


def _value(values: Values, name: str) -> Any:
    return values[name].value if name in values else None


# --- contradictions ---------------------------------------------------------------------------------------------------


def _refuse_exposure(daemon: Values) -> None:
    """Refuse an address that other machines reach without access = "any": their users cannot be told apart."""
    if "listen" not in daemon or ("access" in daemon and daemon["access"].value.rule is AccessRule.ANY):
        return
    listen: tuple[ListenAddress, ...] = daemon["listen"].value
    for index, address in enumerate(listen):
        if isinstance(address, TcpAddress) and not address.is_loopback:
            hint = 'listen on 127.0.0.1, or let everybody who reaches the address use your token (access = "any")'
            location = daemon["listen"].location.below(index)
            raise location.error(f"is {address}, which other machines can reach", hint)


def _refuse_equal_mounts(upstreams: Iterable[Upstream], values_by_upstream: Mapping[str, Values]) -> None:
    taken: dict[str, str] = {}
    for upstream in upstreams:
        if upstream.mount in taken:
            values = values_by_upstream[upstream.name]
            location = values["mount"].location if "mount" in values else values["url"].location
            other = taken[upstream.mount]
            raise location.error(f"gives {upstream.name} the mount of {other}", "give one of them another mount")
        taken[upstream.mount] = upstream.name


# --- config show ------------------------------------------------------------------------------------------------------


def _entries(
    settings: Settings, daemon: Values, values_by_upstream: Mapping[str, Values]
) -> Iterator[EffectiveSetting]:
    for key in DAEMON_KEYS:
        yield _entry(key.name, key, settings, daemon)
    for upstream in settings.upstreams:
        for key in UPSTREAM_KEYS:
            if not key.alias_of:
                yield _entry(
                    dotted(("upstream", upstream.name, key.name)), key, upstream, values_by_upstream[upstream.name]
                )


def _entry(shown_as: str, key: Key, owner: Settings | Upstream, values: Values) -> EffectiveSetting:
    source = str(values[key.field].location) if key.field in values else Layer.DEFAULT.value
    return EffectiveSetting(shown_as, key.value_type.format(getattr(owner, key.field)), source)
