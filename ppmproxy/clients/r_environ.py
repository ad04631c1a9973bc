"""Variables of R in a person's .Renviron, which go before those of the process (R's ``?Startup``)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ppmproxy.environment import Environment
from ppmproxy.errors import ConfigError, PpmProxyError
from ppmproxy.files import read

_LINE = re.compile(r"\s*(?P<name>\w+)\s*=\s*(?P<quote>[\"']?)(?P<value>.*?)(?P=quote)\s*$")


def as_r_sees_it(environment: Environment) -> Environment:
    """The environment of R in this folder."""
    return replace(environment, environ={**environment.environ, **dict(_variables_in(renviron_file(environment)))})


def renviron_file(environment: Environment) -> Path | None:
    """The file that R reads here, if there is one: that of a variable, the folder's, or the one at home."""
    chosen = environment.environ.get("R_ENVIRON_USER")
    if chosen is not None:
        return environment.cwd / environment.expand(chosen) if chosen else None
    places = (environment.cwd / ".Renviron", r_home(environment) / ".Renviron")
    return next((path for path in places if environment.exists(path)), None)


def r_home(environment: Environment) -> Path:
    """The folder that R takes for home."""
    at_home = environment.home / "Documents" if environment.platform == "win32" else environment.home
    return environment.path_in("R_USER") or at_home


def _variables_in(path: Path | None) -> Iterator[tuple[str, str]]:
    """The variables of a file; those of one that cannot be read are not there for R either."""
    try:
        data = (read(path, ConfigError).data or b"") if path else b""
    except PpmProxyError:
        return
    for line in data.decode("utf-8", "replace").splitlines():
        if match := _LINE.match(line):
            yield match["name"], match["value"]
