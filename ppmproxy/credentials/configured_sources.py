"""The sources of an upstream's credential chain, as its settings describe them.

A new source is one class (in `static_sources` or `dynamic_sources`) and one case in `_source_of`; a source of the
standard chain also has an entry in `STANDARD_CHAIN` and in `_standard_source`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ppmproxy.auth.child_env import (
    AUDIENCE_VARIABLE,
    CREDENTIALS_VARIABLE,
    FILE_VARIABLES,
    GITHUB_ADDRESS,
    IDENTITY_VARIABLE,
    TOKEN_FILE_VARIABLE,
    TOKEN_VARIABLES,
)
from ppmproxy.auth.secret import Secret
from ppmproxy.config.model import CredentialSpec, Upstream
from ppmproxy.credentials.chain import ChainEntry
from ppmproxy.credentials.dynamic_sources import (
    CommandSource,
    GitHubActionsSource,
    IdentityTokenSource,
    KeyringSource,
)
from ppmproxy.credentials.lookup import NOT_SET, STANDARD_CHAIN, VARIABLE, CredentialSource
from ppmproxy.credentials.refreshing_source import RefreshingSource
from ppmproxy.credentials.sign_in_token import SignInTokenStore
from ppmproxy.credentials.static_sources import (
    EnvSource,
    FileSource,
    NetrcSource,
    NoSource,
    TokensTomlSource,
)
from ppmproxy.credentials.token_file import token_file_path
from ppmproxy.credentials.watched_file import WatchedFile
from ppmproxy.environment import Environment


@dataclass(frozen=True, slots=True)
class SourceServices:
    """What sources need besides settings and environment: network calls, the redactor, the last sign-in's token."""

    exchange: Callable[[Secret], Awaitable[Secret]] = field(repr=False)  # identity token → access token
    github: Callable[[str], Awaitable[Secret]] = field(repr=False)  # audience → identity token
    register: Callable[[Secret], None] = field(repr=False)  # with the redactor, before any other use
    sign_in_token: SignInTokenStore


def build_chain(
    upstream: Upstream, environment: Environment, services: SourceServices, child_environ: Mapping[str, str]
) -> list[ChainEntry]:
    """The sources that an upstream's settings describe, in their order; commands run with `child_environ`.

    The public default has none: a token must never reach a server that nobody configured.
    """
    if not upstream.configured:
        return []
    if upstream.credentials is None:
        return [ChainEntry(_standard_source(word, environment, services)) for word in STANDARD_CHAIN]
    return [
        ChainEntry(
            RefreshingSource(_command(spec, child_environ))
            if spec.source == "command"
            else _source_of(spec, environment, services),
            spec.use,
            spec.repos,
            ends_search=spec.source == "none",
        )
        for spec in upstream.credentials
    ]


def _standard_source(word: str, environment: Environment, services: SourceServices) -> CredentialSource:
    """A source of the standard chain; one that only gives the reason where the environment does not name it."""
    environ = environment.environ
    if word in TOKEN_VARIABLES:
        return EnvSource(word, environ)
    if word == "github-actions":
        return _standard_github_source(environment, services)
    if word in {*FILE_VARIABLES, CREDENTIALS_VARIABLE} and not environ.get(word):
        return NoSource(f"{VARIABLE}{word}", NOT_SET)
    if word == TOKEN_FILE_VARIABLE:
        return FileSource(environment.expand(environ[word]), word)
    if word == CREDENTIALS_VARIABLE:
        source = FileSource(Path(environ[word]) / "token", "systemd credential")
        return source if source.file.exists() else NoSource(source.name, "no such file")
    return _source_of(CredentialSpec(_SPEC_OF.get(word, word)), environment, services)


_SPEC_OF = {IDENTITY_VARIABLE: "identity-token"}


def _standard_github_source(environment: Environment, services: SourceServices) -> CredentialSource:
    """GitHub Actions where an audience is set; elsewhere only the reason why it is not used."""
    source = _source_of(CredentialSpec("github-actions"), environment, services)
    if not environment.environ.get(AUDIENCE_VARIABLE):
        return NoSource(f"{VARIABLE}{AUDIENCE_VARIABLE}", NOT_SET)
    # Without the job's permission GitHub sets neither of the two variables of its token server.
    is_job = environment.environ.get("GITHUB_ACTIONS") == "true" or environment.environ.get(GITHUB_ADDRESS)
    return source if is_job else NoSource(source.name, "this is no job of GitHub Actions")


def _source_of(spec: CredentialSpec, environment: Environment, services: SourceServices) -> CredentialSource:
    """The source that a ``[[credentials]]`` table describes, with its defaults."""
    environ, home = environment.environ, environment.home
    match spec.source:
        case "env":
            return EnvSource(spec.variable or "PPMPROXY_TOKEN", environ)
        case "file":
            return FileSource(spec.path or home / ".config" / "ppmproxy" / "token")
        case "netrc":
            if spec.path or environ.get("NETRC"):
                return NetrcSource(spec.path or environment.expand(environ["NETRC"]))
            return NetrcSource(home / ".netrc", home / "_netrc")
        case "tokens":
            return TokensTomlSource(spec.path or token_file_path(environment), services.sign_in_token)
        case "keyring":
            return RefreshingSource(KeyringSource(spec.timeout))
        case "identity-token":
            if spec.path is None and not environ.get(IDENTITY_VARIABLE):
                return NoSource(f"{VARIABLE}{IDENTITY_VARIABLE}", NOT_SET)
            path = spec.path or environment.expand(environ[IDENTITY_VARIABLE])
            return RefreshingSource(IdentityTokenSource(WatchedFile(path), services.exchange, services.register))
        case "github-actions":
            audience = spec.audience or environ.get(AUDIENCE_VARIABLE, "")
            return RefreshingSource(
                GitHubActionsSource(lambda: services.github(audience), services.exchange, services.register)
            )
        case _:
            return NoSource()


def _command(spec: CredentialSpec, environ: Mapping[str, str]) -> CommandSource:
    argv = spec.argv or ()
    return CommandSource(argv, environ, spec.timeout) if spec.timeout else CommandSource(argv, environ)
