"""`ppmproxy status`: the state of the running daemon, its upstreams and its credentials."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ppmproxy.access.daemon_identity import ListenerIdentity
from ppmproxy.access.discovery import DaemonInfo, daemon_urls, probe_daemon
from ppmproxy.access.runtime_dir import runtime_folders
from ppmproxy.cli.context import Context, load_config
from ppmproxy.errors import EXIT_CHECK_FAILED, EXIT_OK


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """For people, or for programs."""
    parser.add_argument("--json", action="store_true", help="the whole report, as JSON")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Print the state of each address; exit code 1 unless this user's daemon answers at the first."""
    urls = daemon_urls(load_config(arguments, context).settings)
    folders = runtime_folders(context.environment)
    found = [probe_daemon(url, folders) for url in urls]
    is_up = bool(found) and found[0].identity is ListenerIdentity.OURS
    if arguments.json:
        context.print(
            json.dumps({"running": is_up, "addresses": _addresses(found), **(found[0].status if found else {})})
        )
    else:
        context.print("\n".join(_lines(found)))
        if not is_up:
            context.print_err(f"  {(found[0].identity if found else ListenerIdentity.NOBODY).remedy}")
    return EXIT_OK if is_up else EXIT_CHECK_FAILED


def _addresses(found: list[DaemonInfo]) -> dict[str, str]:
    return {one.url: one.identity.value for one in found}


def _lines(found: list[DaemonInfo]) -> Iterator[str]:
    """For people. A daemon of another version may not say everything."""
    if not found:
        yield "the settings name no port (listen has port 0) at which a daemon could be asked"
    for one in found:
        yield f"{one.url}: {one.identity.value}"
    status: Mapping[str, Any] = found[0].status if found else {}
    for upstream in status.get("upstreams", ()):
        yield from _upstream_lines(upstream)
    if requests := status.get("requests"):
        errors = requests.get("errors", {})
        since = status.get("started_at", "its start")
        yield f"requests: {requests.get('total', 0)} since {since}, {sum(errors.values())} of them refused or failed"
        yield from (f"  {code}: {count}" for code, count in errors.items())
    if cache := status.get("cache"):
        done = ", ".join(f"{count} {word}" for word, count in sorted(cache.get("requests", {}).items()))
        yield f"cache: {cache.get('folder')}: {done or 'not used yet'}"
        if trouble := cache.get("trouble"):
            yield f"  not in use: {trouble}"


def _upstream_lines(upstream: Mapping[str, Any]) -> Iterator[str]:
    yield f"{upstream.get('mount')} -> {upstream.get('url')}"
    if since := upstream.get("silent_since"):
        until, why = upstream.get("silent_until"), upstream.get("silent_why")
        yield f"  no good answer since {since}, last asked {until}: {why}"
    credential, skipped = upstream.get("credential"), upstream.get("passed_over", {})
    several = upstream.get("credentials", ())
    names_purposes = len(several) > 1 or not credential
    used: Sequence[Mapping[str, Any]] = several if names_purposes else [upstream["credential"]]
    for one in used:
        yield from _credential_lines(one, names_purposes=names_purposes)
    if not credential:
        if not used or skipped:
            yield (
                f"  token: none found{' for anything else' if used else ''}" if skipped else "  token: none used yet"
            )
        yield from (f"    {source}: {why}" for source, why in skipped.items())
    yield from (f"  trouble: {trouble}" for trouble in upstream.get("troubles", ()))
    downloads = upstream.get("downloads", {})
    if waiting := downloads.get("waiting"):
        yield f"  downloads: {downloads.get('under_way')} under way, {waiting} wait for their end (max_connections)"
    if sign_in := upstream.get("sign_in"):
        yield f"  sign in: open {sign_in.get('page')} and confirm {sign_in.get('code')}"


def _credential_lines(credential: Mapping[str, Any], *, names_purposes: bool) -> Iterator[str]:
    expires = credential.get("expires_at")
    yield f"  token: from {credential.get('source')}" + (f", until {expires}" if expires else "")
    if names_purposes:
        yield f"  for: {', '.join(credential.get('purposes', ()))}"
    if scopes := credential.get("scopes"):
        yield f"  scopes: {', '.join(scopes)}"
    yield from (f"  note: {remark}" for remark in credential.get("remarks", ()))
