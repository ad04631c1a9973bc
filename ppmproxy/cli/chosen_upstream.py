"""The upstream of a command: named as an argument, or the default one."""

from __future__ import annotations

import argparse

from ppmproxy.config.load import DEFAULT_NAME
from ppmproxy.config.model import Settings, Upstream
from ppmproxy.errors import ConfigError, UsageError


def add_name(parser: argparse.ArgumentParser) -> None:
    """Add the optional name of an upstream."""
    parser.add_argument(
        "name",
        nargs="?",
        metavar="NAME",
        help=f"name of the upstream in the settings (default: the only one, or {DEFAULT_NAME})",
    )


def chosen_upstream(settings: Settings, name: str | None, command: str) -> Upstream:
    """The upstream of this name, or the default one; `UsageError`, `ConfigError` when none is configured."""
    by_name = {upstream.name: upstream for upstream in settings.upstreams}
    known = ", ".join(by_name)
    if name is not None and name not in by_name:
        raise UsageError(f"the settings have no upstream {name[:40]!r}", f"use one of {known}")
    chosen = by_name.get(name or DEFAULT_NAME) or (settings.upstreams[0] if len(by_name) == 1 else None)
    if chosen is None:
        raise UsageError(
            f"the settings have several upstreams: {known}", f"name one, as in `ppmproxy {command} {min(by_name)}`"
        )
    if not chosen.configured:
        what = f"the settings name no Package Manager, and the public one ({chosen.url}) takes no token"
        hint = f"name yours: ppmproxy {command} --upstream https://packagemanager.example.com"
        raise ConfigError(what, hint)
    return chosen
