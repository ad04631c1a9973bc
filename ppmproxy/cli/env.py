"""`ppmproxy env`: the variables that point every client at the proxy, quoted for a shell or a file."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import PurePath

from ppmproxy.cli.context import Context, current_folder, load_config
from ppmproxy.clients.index_url import add_index_flags, add_r_flag, chosen_index, chosen_r_index, is_named
from ppmproxy.clients.leftovers import leftovers, with_leftovers_cleared
from ppmproxy.clients.local_urls import LocalUrls
from ppmproxy.clients.pip_indexes import extra_indexes, pip_variables
from ppmproxy.clients.r_variables import r_variables
from ppmproxy.clients.upload_variables import upload_variables
from ppmproxy.clients.uv_indexes import uv_variables
from ppmproxy.clients.variables import client_variables
from ppmproxy.config.model import DEFAULT_REPO
from ppmproxy.environment import Environment
from ppmproxy.errors import EXIT_OK, UsageError

_PLAIN = re.compile(r"(?!~|.*:~)[A-Za-z0-9_./:,@+~*\[\]-]*")  # a shell expands "~" there
_SINGLE_QUOTES = re.compile("['\u2018\u2019\u201a\u201b]")  # PowerShell treats all of them alike


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The shell or format, and the index."""
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--shell", choices=tuple(_SHELLS), help="syntax of this shell (default: the one in use)")
    how.add_argument(
        "--format",
        choices=tuple(_FILES),
        help='syntax of a file instead: github for >> "$GITHUB_ENV", dotenv for a .env file',
    )
    add_index_flags(parser)
    add_r_flag(parser)


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Print the variables; `ConfigError`, `UsageError`."""
    settings = load_config(arguments, context).settings
    index = chosen_index(settings, arguments.repo or DEFAULT_REPO, arguments.snapshot)
    r_index = chosen_r_index(settings, arguments)
    urls = LocalUrls.of_settings(settings)
    cleared = list(leftovers(context.environ, urls))
    here = with_leftovers_cleared(_here(context), cleared)
    variables = {one.variable: one.value for one in cleared if one.value}
    variables |= client_variables(index, r_index, here.environ)
    variables |= pip_variables(extra_indexes(here), urls)
    variables |= uv_variables(here, urls, is_named=is_named(arguments)) | upload_variables(here, urls)
    has_file_paths = arguments.format != "dotenv"  # a container, which has no file of this machine, takes such a file
    variables |= r_variables(here, urls, index.origin, r_index, with_profile=has_file_paths)
    off = {one.variable: one.off for one in cleared if one.variable not in variables}
    if written_as := _FILES.get(arguments.format):
        lines = _lines(off | variables, written_as)
    else:
        shell = arguments.shell or shell_in_use(context.environ, os.name)
        lines = [*(_UNSET[shell].format(name) for name in off), *_lines(variables, _SHELLS[shell])]
    context.print("\n".join(lines))
    return EXIT_OK


def _here(context: Context) -> Environment:
    """The environment in the current folder; one without a project where that folder is gone."""
    with contextlib.suppress(UsageError):
        return replace(context.environment, cwd=current_folder())
    return context.environment


def shell_in_use(environ: Mapping[str, str], os_name: str) -> str:
    """The shell in use, from ``$SHELL``, which Windows sets in Git Bash only."""
    named = PurePath(environ.get("SHELL", "")).name.removesuffix(".exe")
    if named:
        return {"fish": "fish", "pwsh": "powershell"}.get(named, "sh")
    if os_name == "nt":
        return "cmd" if "PROMPT" in environ else "powershell"  # cmd alone sets it
    return "sh"


def _lines(variables: Mapping[str, str], written_as: Callable[[str, str], str]) -> list[str]:
    for name, value in variables.items():
        if not value.isprintable():
            what = f"the present value of {name} contains a line break or another control character"
            raise UsageError(what, f"set {name} to another value, or unset it")
    return [written_as(name, value) for name, value in variables.items()]


def _sh(name: str, value: str) -> str:
    quoted = value.replace("'", "'\\''")
    return f"export {name}='{quoted}'"


def _fish(name: str, value: str) -> str:
    quoted = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"set -gx {name} '{quoted}'"


def _powershell(name: str, value: str) -> str:
    quoted = _SINGLE_QUOTES.sub(lambda quote: quote[0] * 2, value)
    return f"$env:{name} = '{quoted}'"


def _cmd(name: str, value: str) -> str:
    if '"' in value:
        what = f"the value of {name} contains a double quote, which cmd cannot quote"
        raise UsageError(what, f"set {name} to another value, or unset it")
    quoted = value.replace("%", "%%")  # the output is a batch file
    return f'@set "{name}={quoted}"'


def _github(name: str, value: str) -> str:
    return f"{name}={value}"


def _dotenv(name: str, value: str) -> str:
    """Without quotes where possible: `docker --env-file` keeps them, all others drop them."""
    if _PLAIN.fullmatch(value):
        return f"{name}={value}"
    if "'" not in value:
        return f"{name}='{value}'"
    quoted = re.sub(r'([\\"$`])', r"\\\1", value)
    return f'{name}="{quoted}"'


_SHELLS: Mapping[str, Callable[[str, str], str]] = {
    "sh": _sh,
    "fish": _fish,
    "powershell": _powershell,
    "cmd": _cmd,
}
_UNSET = {
    "sh": "unset {}",
    "fish": "set -e {}",
    "powershell": "Remove-Item -ErrorAction Ignore Env:{}",
    "cmd": '@set "{}="',
}
_FILES: Mapping[str, Callable[[str, str], str]] = {"github": _github, "dotenv": _dotenv}
