"""`ppmproxy logout`: remove the stored token of one upstream, and of no other."""

from __future__ import annotations

import argparse

from ppmproxy.cli.chosen_upstream import add_name, chosen_upstream
from ppmproxy.cli.context import Context, load_config
from ppmproxy.credentials.token_file import token_file_for
from ppmproxy.errors import EXIT_OK


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The upstream."""
    add_name(parser)


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Remove the entry, if there is one; `TokenFileError`, `ConfigError`."""
    upstream = chosen_upstream(load_config(arguments, context).settings, arguments.name, "logout")
    store = token_file_for(upstream, context.environment)
    if store.remove(upstream.url):
        context.print_err(f"signed out of {upstream.url}; its token is gone from {store.path}")
    else:
        context.print_err(f"there was no token for {upstream.url} in {store.path}")
    return EXIT_OK
