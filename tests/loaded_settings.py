"""Settings that are loaded from a text, variables and flags."""

from pathlib import Path

import pytest

from ppmproxy.config.load import ConfigInputs, load
from ppmproxy.environment import Environment
from ppmproxy.errors import ConfigError

HOME = Path("/home/alice")


FILE = "/etc/ppmproxy/config.toml"


def loaded(text=None, environ=None, flags=None):
    return load(ConfigInputs(Environment(environ or {}, HOME), flags or {}, text, FILE))


def settings_of(text=None, environ=None, flags=None):
    return loaded(text, environ, flags).settings


def only_upstream(text=None, environ=None, flags=None):
    (upstream,) = settings_of(text, environ, flags).upstreams
    return upstream


def mistake(text=None, environ=None, flags=None):
    """The message and the hint of the error."""
    with pytest.raises(ConfigError) as caught:
        loaded(text, environ, flags)
    return f"{caught.value}\n{caught.value.hint}"


def shown(effective, key):
    (entry,) = (entry for entry in effective.entries if entry.key == key)
    return entry.value, entry.source
