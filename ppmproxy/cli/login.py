"""`ppmproxy login`: sign in through the browser, and store the token where posit-keyring and pak find it."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime, timezone

from ppmproxy.auth.child_env import child_environment
from ppmproxy.auth.credential import claims_of
from ppmproxy.auth.redaction import Redactor
from ppmproxy.auth.secret import Secret
from ppmproxy.cli import event_loop
from ppmproxy.cli.chosen_upstream import add_name, chosen_upstream
from ppmproxy.cli.context import Context, load_config
from ppmproxy.cli.rich_terminal import can_draw, countdown_on, ends_cleanly
from ppmproxy.config.model import Settings, Upstream
from ppmproxy.credentials.browser import has_visible_browser, open_browser
from ppmproxy.credentials.device_flow import (
    Clock,
    is_sign_in_offered,
    start_device_flow,
    wait_for_token,
    with_long_timeout,
)
from ppmproxy.credentials.device_flow_responses import DeviceGrant, not_offered
from ppmproxy.credentials.token_file import SOURCE, TokenFile, token_file_for
from ppmproxy.errors import EXIT_OK, TokenFileError
from ppmproxy.server.logs import line_style, set_up_logs
from ppmproxy.upstream.client import UpstreamClient

_WAITING = "waiting for your confirmation"
SAVE_RETRIES, SAVE_PAUSE = 30, 2.0  # times, seconds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The upstream, and whether a browser is opened."""
    add_name(parser)
    parser.add_argument("--no-browser", action="store_true", help="print the address and open no browser, as over SSH")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Sign in and store the token.

    Raises `CredentialError` (refused, too late, not offered, not to be stored), `UpstreamError`, `ConfigError`.
    """
    settings = load_config(arguments, context).settings
    upstream = chosen_upstream(settings, arguments.name, "login")
    redactor = Redactor()
    set_up_logs(redactor, settings.log_level, settings.log_format, context.err, line_style(context.environ))
    opens_browser = not arguments.no_browser and has_visible_browser(context.environ)
    signing_in = _SigningIn(upstream, settings, context, redactor, Clock(), opens_browser)
    token_file_for(upstream, context.environment).check()  # before the person signs in for nothing
    with ends_cleanly():
        _store(event_loop.run(_token(signing_in)), signing_in, time.time())
    return EXIT_OK


@dataclass(frozen=True, slots=True)
class _SigningIn:
    """One sign-in: upstream, context, and how it is shown."""

    upstream: Upstream
    settings: Settings
    context: Context
    redactor: Redactor
    clock: Clock
    opens_browser: bool


async def _token(signing_in: _SigningIn) -> Secret:
    client = UpstreamClient(with_long_timeout(signing_in.upstream), signing_in.redactor)
    url, found, clock = signing_in.upstream.url, signing_in.redactor.add, signing_in.clock
    try:
        if not await is_sign_in_offered(client, url):
            raise not_offered(url)
        grant = await start_device_flow(client, url, found, clock)
        _show(grant, signing_in)
        async with _countdown(grant, signing_in):
            return await wait_for_token(client, grant, found, clock)
    finally:
        await client.close()


def _show(grant: DeviceGrant, signing_in: _SigningIn) -> None:
    print_err = signing_in.context.print_err
    print_err(f"To sign in to {grant.base_url}, open this page in a browser:\n\n  {grant.page}\n")
    if grant.user_code:
        print_err(f"and confirm this code there:\n\n  {grant.user_code}\n")
    if signing_in.opens_browser:
        environ, settings = signing_in.context.environ, signing_in.settings
        open_browser(grant.page, environ, child_environment(environ, settings.upstreams, settings.cache_url))


@contextlib.asynccontextmanager
async def _countdown(grant: DeviceGrant, signing_in: _SigningIn) -> AsyncIterator[None]:
    """Show the time left: on a terminal a line drawn anew each second, elsewhere one line."""
    context, clock = signing_in.context, signing_in.clock
    left = grant.expires_at - clock.now()
    if not can_draw(context.err):
        context.print_err(f"{_WAITING}, for {_minutes(left)}")
        yield
        return
    with countdown_on(context.err, _WAITING, left) as show:
        ticking = asyncio.create_task(_tick(grant, clock, show))
        try:
            yield
        finally:
            ticking.cancel()
            await asyncio.wait({ticking})


async def _tick(grant: DeviceGrant, clock: Clock, show: Callable[[float, str], None]) -> None:
    while True:
        left = max(0.0, grant.expires_at - clock.now())
        show(left, _minutes(left))
        await clock.sleep(1)


def _minutes(seconds: float) -> str:
    whole = max(0, round(seconds))
    return f"{whole // 60}:{whole % 60:02}"


def _store(token: Secret, signing_in: _SigningIn, now: float) -> None:
    upstream, context = signing_in.upstream, signing_in.context
    store = token_file_for(upstream, context.environment)
    _save(store, upstream, token, context)
    validity = _validity(claims_of(token).expires_at, now)
    context.print_err(f"signed in to {upstream.url}; token {validity} ({store.path})")
    if danger := store.posit_keyring_warning():
        context.print_err(f"warning: {danger}")
    if upstream.credentials is not None and all(spec.source != SOURCE for spec in upstream.credentials):
        context.print_err(f'warning: the settings do not look there; add [[credentials]] with from = "{SOURCE}"')


def _save(store: TokenFile, upstream: Upstream, token: Secret, context: Context) -> None:
    """Save the token. When that fails, the person has a minute to mend the cause, and need not sign in again."""
    for _ in range(SAVE_RETRIES):
        try:
            store.save(upstream.url, token)
        except TokenFileError as error:
            context.print_err(f"warning: {error}; {error.hint}; trying again in {SAVE_PAUSE:g} s")
            time.sleep(SAVE_PAUSE)
        else:
            return
    store.save(upstream.url, token)


def _validity(expires_at: float | None, now: float) -> str:
    """The end of the validity in local time with its offset, and the date unless it is today."""
    if expires_at is None:
        return "without a known end"
    try:
        end = datetime.fromtimestamp(expires_at, timezone.utc).astimezone()
    except (OverflowError, OSError, ValueError):  # out of the platform's range
        return "valid for centuries"
    is_today = end.date() == datetime.fromtimestamp(now, timezone.utc).astimezone().date()
    return f"valid until {end:%H:%M %z}" if is_today else f"valid until {end:%Y-%m-%d %H:%M %z}"
