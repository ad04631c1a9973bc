"""The environment of child processes: everything but tokens, other secrets of ours, and systemd's variables.

One rule for every child: the browser, a credential command, `systemctl`, the command of `exec`. None of them needs a
token, and each of them passes its environment on to whatever it starts. Left out are

- the variables of the standard chain, whether they hold a token or name a file with tokens of Package Managers;
- the settings of ours that may have a secret in them: a password for the forward proxy, headers for an ingress;
- the variables that any credential source of any upstream names;
- the variables with which a GitHub Actions job asks for its identity token, where a source uses them. Elsewhere the job
  keeps them for its own purposes, such as trusted publishing;
- the secrets of the object storage that the cache shares with other machines, where it does;
- systemd's: systemd.exec(5), sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3).

`NETRC` stays: its file has the person's passwords for all hosts, and clients find one at home without it, too.
So do variables that clients themselves read, such as `HTTPS_PROXY`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from ppmproxy.auth.storage_secrets import storage_variables

AUDIENCE_VARIABLE = "PPMPROXY_AUDIENCE"
IDENTITY_VARIABLE = "PACKAGEMANAGER_IDENTITY_TOKEN_FILE"
TOKEN_VARIABLES = ("PPMPROXY_TOKEN", "PACKAGEMANAGER_TOKEN")  # of the standard chain: these hold a token
TOKEN_FILE_VARIABLE = "PPMPROXY_TOKEN_FILE"  # noqa: S105 - the variable's name
FILE_VARIABLES = frozenset({TOKEN_FILE_VARIABLE, IDENTITY_VARIABLE})  # of the standard chain: these name a file
SHARED_FILE_VARIABLE = "PACKAGEMANAGER_SSO_TOKEN_FILE"  # of the standard chain: the file that a sign-in writes
SECRET_SETTINGS = frozenset({"PPMPROXY_PROXY", "PPMPROXY_HEADERS"})
GITHUB_ADDRESS = "ACTIONS_ID_TOKEN_REQUEST_URL"
GITHUB_TOKEN = "ACTIONS_ID_TOKEN_REQUEST_TOKEN"  # noqa: S105 - the variable's name
CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"
SYSTEMD_VARIABLES = frozenset(
    {
        *("LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES"),
        *("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "FDSTORE"),
        *("INVOCATION_ID", "JOURNAL_STREAM", "MAINPID", "MANAGERPID", "MANAGERPIDFDID", "SYSTEMD_EXEC_PID", "PIDFILE"),
        *("MEMORY_PRESSURE_WATCH", "MEMORY_PRESSURE_WRITE", CREDENTIALS_VARIABLE),
    }
)


class _SourceSettings(Protocol):
    """A credential source as the settings describe it."""

    @property
    def source(self) -> str: ...
    @property
    def variable(self) -> str | None: ...


class _UpstreamSettings(Protocol):
    """An upstream with its credential sources; None stands for the standard chain."""

    @property
    def credentials(self) -> Sequence[_SourceSettings] | None: ...
    @property
    def configured(self) -> bool: ...


def child_environment(
    environ: Mapping[str, str],
    upstreams: Iterable[_UpstreamSettings],
    cache_url: str,
    *,
    keeps_tokens: bool = False,
) -> dict[str, str]:
    """The part of an environment that a child process gets; `upstreams` and `cache_url` as the settings have them.

    `keeps_tokens`: only what belongs to systemd is left out.
    """
    hidden = set(SYSTEMD_VARIABLES)
    if not keeps_tokens:
        hidden.update(storage_variables(cache_url))
        hidden.update(TOKEN_VARIABLES, FILE_VARIABLES, [SHARED_FILE_VARIABLE], SECRET_SETTINGS)
        hidden.update(_token_variables(environ, upstreams))
    return {name: environ[name] for name in environ if name.upper() not in hidden}  # on Windows case is ignored


def _token_variables(environ: Mapping[str, str], upstreams: Iterable[_UpstreamSettings]) -> Iterator[str]:
    for upstream in upstreams:
        yield from (spec.variable.upper() for spec in upstream.credentials or () if spec.variable)
        if _asks_github(upstream, environ):
            yield from (GITHUB_ADDRESS, GITHUB_TOKEN)


def _asks_github(upstream: _UpstreamSettings, environ: Mapping[str, str]) -> bool:
    if upstream.credentials is None:
        return upstream.configured and bool(environ.get(AUDIENCE_VARIABLE))
    return any(spec.source == "github-actions" for spec in upstream.credentials)
