"""The daemon of `exec`; of one that was running already, its sign-in prompts, and whose token it uses."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ppmproxy.access.daemon_record import list_daemons
from ppmproxy.access.discovery import DaemonInfo, probe_daemon
from ppmproxy.access.runtime_dir import runtime_folders
from ppmproxy.auth.secret import Secret
from ppmproxy.cli.context import Context
from ppmproxy.config.model import Settings

if TYPE_CHECKING:
    from ppmproxy.access.identity_key import IdentityKey
    from ppmproxy.cli.daemon_thread import DaemonThread

POLL_INTERVAL = 2.0  # seconds between two questions whether it waits for a sign-in


@dataclass(frozen=True)
class Serving:
    """The settings by which clients reach a daemon, its key, and the daemon itself where this process started it."""

    settings: Settings
    key: IdentityKey | None
    own: DaemonThread | None = None


def prompt_on(context: Context) -> Callable[[str, str], None]:
    """A callback that shows a sign-in's page and code on stderr."""
    return lambda page, code: context.print_err(
        f"ppmproxy: sign in to continue: open {page}\n  and confirm the code {code}"
    )


@contextmanager
def shared_daemon(found: DaemonInfo, settings: Settings, context: Context) -> Iterator[None]:
    """Show the daemon's sign-ins while the block runs, and warn once if it uses another token than the caller's."""
    folders = runtime_folders(context.environment)
    if other := _other_source(found, settings, context, folders):
        context.print_err(
            f"ppmproxy: PPMPROXY_TOKEN is ignored, because your running ppmproxy uses its own token, from {other}\n"
            "  to use yours, stop that ppmproxy first: ppmproxy shutdown, or for a service "
            "systemctl --user stop ppmproxy.socket ppmproxy.service"
        )
    ended = threading.Event()
    poll = threading.Thread(target=_show_sign_ins, args=(found.url, folders, prompt_on(context), ended), daemon=True)
    poll.start()
    try:
        yield
    finally:
        ended.set()  # a daemon that does not answer is not waited for


def _show_sign_ins(
    url: str, folders: Sequence[Path], prompt: Callable[[str, str], None], ended: threading.Event
) -> None:
    shown: set[str] = set()
    while not ended.wait(POLL_INTERVAL):
        for page, code in probe_daemon(url, folders).sign_ins():
            if code not in shown:
                shown.add(code)
                prompt(page, code)


def _other_source(found: DaemonInfo, settings: Settings, context: Context, folders: Sequence[Path]) -> str:
    """The source of the token that the daemon uses in place of the caller's; "" when it uses the caller's or none.

    A caller who passes a token relies on its scopes, which may be wider or narrower than those of the daemon's token.
    """
    value = context.environ.get("PPMPROXY_TOKEN", "").strip()
    if not value:
        return ""
    standard = {upstream.mount for upstream in settings.upstreams if upstream.credentials is None}
    used = [one["credential"] for one in found.upstreams() if one.get("credential") and one.get("mount") in standard]
    own = {record.key.token_fingerprint(Secret(value)) for record in list_daemons(folders)}
    others = [str(one["source"]) for one in used if one.get("mark")]
    return others[0] if others and not any(one.get("mark") in own for one in used) else ""
