"""`ppmproxy logout`: forget the token of one upstream, and nobody else's.

To change what signing out does, open this file.
"""

from __future__ import annotations

import argparse

from ppmproxy.chosen_upstream import add_name, chosen_upstream
from ppmproxy.command import Around, effective
from ppmproxy.errors import EXIT_OK
from ppmproxy.token_store import store_for


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to sign out."""
    add_name(parser)


def run(arguments: argparse.Namespace, around: Around) -> int:
    """Remove the entry, if there is one; `TokenStoreError`, `ConfigError`."""
    upstream = chosen_upstream(effective(arguments, around).settings, arguments.name, "logout")
    store = store_for(upstream, around.environ, around.home)
    if store.remove(upstream.url):
        around.note(f"signed out of {upstream.url}; its token is gone from {store.path}")
    else:
        around.note(f"there was no token for {upstream.url} in {store.path}")
    return EXIT_OK
