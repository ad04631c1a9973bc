"""The access policy: which users, which Host headers, and no web pages.

A proxy that injects a credential is a way to use that credential, and every web page can send requests to localhost.
`browsers` decides on those. A page that has rebound its own name to 127.0.0.1 sends that name as ``Host``. Both are
checked before anything else.

On a machine with several users, every user reaches every port of localhost. So the user at the other end of a
connection is checked first: the proxy's own user and root, who can read the token anyway, and those listed in `access`.
An unknown user is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ppmproxy.access.browsers import Visit, visit_of
from ppmproxy.config.local_address import LOOPBACK_HOSTS, WILDCARDS, TcpAddress
from ppmproxy.config.model import Access, AccessRule, Settings
from ppmproxy.errors import LONGEST_SHOWN, ConfigError, ForbiddenClientError, shortened

ROOT = 0

_HOST = re.compile(r"(?P<name>\[[0-9a-fA-F:.]+\]|[^:\[\]@/\\\s]+)(?::(?P<port>[0-9]{0,5}))?")


def allowed_hosts(settings: Settings) -> frozenset[str]:
    """Values that ``Host`` may have: a name for any port, or a name with its port."""
    listening = (address.host for address in settings.listen if isinstance(address, TcpAddress))
    hosts = [*LOOPBACK_HOSTS, *(host for host in listening if host not in WILDCARDS)]
    names = [f"[{host}]" if ":" in host else host for host in hosts]
    return frozenset(name.lower() for name in (*names, *settings.allowed_hosts))


def check_client(
    headers: Sequence[tuple[str, str]], raw_target: str, allowed: frozenset[str], method: str = "GET"
) -> Visit:
    """Admit a request and say how a browser has a part in it, or raise `ForbiddenClientError`."""
    lowered = [(name.lower(), value) for name, value in headers]
    _check_host([value for name, value in lowered if name == "host"], allowed)
    return visit_of(lowered, method, raw_target)


def _check_host(values: Sequence[str], allowed: frozenset[str]) -> None:
    if len(values) != 1:
        what = f"the request has {len(values) or 'no'} Host header{'s' if len(values) > 1 else ''} instead of one"
        raise ForbiddenClientError(what, "use a client that speaks HTTP/1.1")
    host = values[0].strip(" \t").lower()
    match = _HOST.fullmatch(host)
    if match is None or not ({host, match["name"]} & allowed):
        raise _not_answered_to(host, match["name"] if match else "")


def _not_answered_to(host: str, name: str) -> ForbiddenClientError:
    if not (host.isprintable() and host.isascii()):
        host, name = "with unprintable characters", ""
    what = f"ppmproxy does not answer to the Host {shortened(host, LONGEST_SHOWN)}"
    allowed = f"PPMPROXY_ALLOWED_HOSTS={name}" if 0 < len(name) <= LONGEST_SHOWN else "PPMPROXY_ALLOWED_HOSTS"
    return ForbiddenClientError(
        what, f"use http://127.0.0.1 or http://localhost, or add the name to allowed_hosts ({allowed})"
    )


# --- users ---


class ForbiddenUserError(ForbiddenClientError):
    """A user who may not use the proxy; `uid` is None for an unknown one."""

    def __init__(self, what: str, hint: str, uid: int | None) -> None:
        super().__init__(what, hint)
        self.uid = uid


@dataclass(frozen=True, slots=True)
class Users:
    """The users who may use the proxy: its own, and those listed; `listed` is None when everybody may."""

    own: int
    listed: frozenset[int] | None = frozenset()


def users_of(access: Access, own: int, uid_of_name: Callable[[str], int | None]) -> Users:
    """The users whom the settings admit, by number; `ConfigError` for an unknown name."""
    if access.rule is AccessRule.ANY:
        return Users(own, None)
    named = {name: uid_of_name(name) for name in access.names}
    for name, uid in named.items():
        if uid is None:
            what = f"access names {name!r}, and this machine has no such user"
            raise ConfigError(what, "correct the name, or write the user's number as `id -u` prints it")
    return Users(own, frozenset(uid for uid in named.values() if uid is not None) | frozenset(access.uids))


def may_use(uid: int | None, users: Users) -> bool:
    """Whether the user at the other end of a connection is admitted; None is an unknown one."""
    return users.listed is None or (uid is not None and (uid in {users.own, ROOT} or uid in users.listed))


def check_user(uid: int | None, users: Users) -> None:
    """Admit a connection, or raise `ForbiddenUserError`."""
    if may_use(uid, users):
        return
    own = "start your own, on a port of its own: `PPMPROXY_LISTEN=auto ppmproxy run`"
    if uid is None:
        what = "the system does not report which user opened this connection"
        raise ForbiddenUserError(what, f"{own}; or have this one started with PPMPROXY_ACCESS=any", uid)
    what = f"this ppmproxy belongs to user {users.own}, and user {uid} may not use it"
    raise ForbiddenUserError(what, f"{own}; or have this one started with PPMPROXY_ACCESS={uid}", uid)
