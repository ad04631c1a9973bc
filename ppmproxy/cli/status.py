"""`ppmproxy status`: the state of the running daemon, its upstreams and its credentials, once or with --watch."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from ppmproxy.access.daemon_identity import ListenerIdentity
from ppmproxy.access.discovery import DaemonInfo, daemon_urls, probe_daemon
from ppmproxy.access.runtime_dir import runtime_folders
from ppmproxy.cli.context import Context, load_config
from ppmproxy.cli.rich_terminal import can_draw
from ppmproxy.errors import EXIT_CHECK_FAILED, EXIT_OK


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """For people, or for programs."""
    parser.add_argument("--json", action="store_true", help="print the whole report as JSON")
    parser.add_argument(
        "--watch", action="store_true", help="update the report until q or Ctrl-C; in a pipe, print each change"
    )


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Print the state of each address; exit code 1 unless this user's daemon answers at the first."""
    urls = daemon_urls(load_config(arguments, context).settings)
    folders = runtime_folders(context.environment)

    def found() -> list[DaemonInfo]:
        return [probe_daemon(url, folders) for url in urls]

    if arguments.watch:
        return _watch(found, context, as_json=arguments.json)
    return _report(found(), context, as_json=arguments.json)


def _watch(ask: Callable[[], list[DaemonInfo]], context: Context, *, as_json: bool) -> int:
    from ppmproxy.cli.status_watch import watch_as_text, watch_on_terminal  # noqa: PLC0415 - nobody else needs it

    if as_json:
        return watch_as_text(ask, _document, context)
    if can_draw(context.out):
        return watch_on_terminal(ask, context)
    return watch_as_text(ask, lambda found: "\n".join([*_lines(found), *_remedy(found), ""]), context)


def _report(found: Sequence[DaemonInfo], context: Context, *, as_json: bool) -> int:
    if as_json:
        context.print(_document(found))
    else:
        context.print("\n".join(_lines(found)))
        for line in _remedy(found):
            context.print_err(line)
    return EXIT_OK if _is_up(found) else EXIT_CHECK_FAILED


def _is_up(found: Sequence[DaemonInfo]) -> bool:
    return bool(found) and found[0].identity is ListenerIdentity.OURS


def _document(found: Sequence[DaemonInfo]) -> str:
    status = found[0].status if found else {}
    return json.dumps({"running": _is_up(found), "addresses": _addresses(found), **status})


def _remedy(found: Sequence[DaemonInfo]) -> list[str]:
    """What to do, when the daemon is not up."""
    return [] if _is_up(found) else [f"  {(found[0].identity if found else ListenerIdentity.NOBODY).remedy}"]


def _addresses(found: Sequence[DaemonInfo]) -> dict[str, str]:
    return {one.url: one.identity.value for one in found}


def _lines(found: Sequence[DaemonInfo]) -> Iterator[str]:
    """For people. A daemon of another version may not say everything."""
    if not found:
        yield "the settings name no port (listen has port 0) at which a daemon could be asked"
    for one in found:
        yield f"{one.url}: {one.identity.value}{_held_by(one)}"
    status: Mapping[str, Any] = found[0].status if found else {}
    yield from _version_line(found)
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
        if shared := cache.get("shared"):
            yield f"  shared: {shared.get('url')}: {shared.get('trouble') or 'in use'}"


def _held_by(one: DaemonInfo) -> str:
    return f", held by {one.holder}" if one.holder else ""


def _version_line(found: Sequence[DaemonInfo]) -> Iterator[str]:
    """What to do about a daemon that was started before an upgrade."""
    running, here = found[0].status.get("version") if found else None, version("ppmproxy")
    if running and running != here:
        upgrade = found[0].restart_command
        yield f"it runs version {running}, and this command is version {here}; to upgrade it: {upgrade}"


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
