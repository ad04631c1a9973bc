"""Checks of each Package Manager: reachable, trusted, and accepting the token.

The requests are those of a client, through the same code and with the same credentials: the status page without a
token, then one project's page with it. Each has a time limit.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus

from ppmproxy.auth.credential import Use
from ppmproxy.auth.redaction import Redactor
from ppmproxy.cli.doctor.checks import (
    CheckResult,
    Outcome,
    check_name,
    clock_check,
    crashed,
    failed,
    failed_by,
    no_token,
    ok,
    token_check,
    warning,
)
from ppmproxy.clients.index_url import Index, chosen_index
from ppmproxy.config.model import Settings, Upstream
from ppmproxy.config.network import masked_proxy
from ppmproxy.credentials.lookup import LookupResult, TokenRequest
from ppmproxy.environment import Environment
from ppmproxy.errors import (
    CredentialError,
    PpmProxyError,
    TokenMissingError,
    UnknownProxyError,
    UpstreamError,
    UpstreamUntrustedError,
)
from ppmproxy.index.routing import ResourceKind, Target
from ppmproxy.server.authenticated_send import AuthenticatedFetcher
from ppmproxy.server.rejections import way_to_a_token
from ppmproxy.server.session import UpstreamSession
from ppmproxy.server.upstream_state import UpstreamState
from ppmproxy.server.wiring import Wiring
from ppmproxy.upstream.bodies import read_at_most
from ppmproxy.upstream.client import UpstreamClient
from ppmproxy.upstream.forward_proxy import proxy_for
from ppmproxy.upstream.messages import UpstreamRequest, UpstreamResponse
from ppmproxy.upstream.retries import NO_RETRIES
from ppmproxy.upstream.tls import store_in_use, store_mistake

DEADLINE = 30.0  # seconds for all that is asked about one upstream
CONNECT_TIMEOUT, READ_TIMEOUT = 5.0, 10.0  # at most
LARGEST_STATUS = 1 << 16  # bytes
PROJECT = "pip"  # asked for by its page, there or not: the page of all projects may have a million links

_LATER = "try again later, or tell its administrator"
_TOO_MANY, _BROKEN = 429, 500

_HEADERS = [("Accept", "*/*"), ("Accept-Encoding", "identity"), ("User-Agent", "ppmproxy")]


@dataclass(frozen=True, slots=True)
class UpstreamCheckContext:
    """The upstreams to check, and the index on which the token is tried."""

    settings: Settings
    index: Index
    environment: Environment
    redactor: Redactor = field(repr=False)

    @property
    def upstreams(self) -> Sequence[Upstream]:
        """All of the settings."""
        return self.settings.upstreams


def index_to_try(settings: Settings, repo: str, snapshot: str) -> Index:
    """The index on which the token is tried, whatever the addresses at which the proxy listens; `UsageError`."""
    return chosen_index(replace(settings, listen=Settings().listen), repo, snapshot)


async def upstream_checks(examined: UpstreamCheckContext) -> list[CheckResult]:
    """The checks of all upstreams, which run concurrently."""
    found = await asyncio.gather(*(_in_time(upstream, examined) for upstream in examined.upstreams))
    return [result for results in found for result in results]


async def _in_time(upstream: Upstream, examined: UpstreamCheckContext) -> list[CheckResult]:
    results: list[CheckResult] = []
    try:
        await asyncio.wait_for(_gather(upstream, examined, results), DEADLINE)
    except asyncio.TimeoutError:
        what = f"{upstream.url} was not done with in {DEADLINE:g} s"
        results.append(failed("upstream", what, "check the network, the VPN and the upstream's url"))
    except PpmProxyError as error:  # a certificate file that cannot be used
        results.append(failed_by("certificate", error))
    except Exception as error:  # noqa: BLE001 - what came so far is kept, and so are the other upstreams' results
        results.append(crashed("upstream", error))
    return results


async def _gather(upstream: Upstream, examined: UpstreamCheckContext, results: list[CheckResult]) -> None:
    """All checks of one upstream; results before the time limit are kept."""
    hurried = replace(
        upstream,
        connect_timeout=min(upstream.connect_timeout, CONNECT_TIMEOUT),
        read_timeout=min(upstream.read_timeout, READ_TIMEOUT),
    )
    others = tuple(other for other in examined.upstreams if other is not upstream)
    wiring = Wiring(examined.environment, examined.redactor)
    session = wiring.session(hurried, others, UpstreamState(), examined.settings.cache_url)
    try:
        async for result in _reached(session):
            results.append(result)  # noqa: PERF401 - at once: time may be up before the next one
        is_reached = all(result.outcome is not Outcome.FAILED for result in results)
        async for result in _token(session, examined, tries=is_reached):
            results.append(result)  # noqa: PERF401
        async for result in _upload_tokens(session):
            results.append(result)  # noqa: PERF401
    finally:
        await session.close()


# --- reachable, trusted, clock --------------------------------------------------------------------------------------


async def _reached(session: UpstreamSession) -> AsyncIterator[CheckResult]:
    upstream = session.upstream
    try:
        proxy = proxy_for(upstream.url, upstream.proxy)
    except UpstreamError as error:
        yield failed_by("forward-proxy", error)
        return
    failure: CheckResult | None = None
    try:
        request = UpstreamRequest("GET", f"{upstream.url}/__api__/status", _HEADERS)
        async with session.send(request, NO_RETRIES) as received:
            body = await read_at_most(LARGEST_STATUS, received.chunks(), received.codings)
            status, redactor = _status_finding(received, body, upstream), received.redactor
            clock = clock_check(received.header("Date"), time.time(), upstream)
    except UnknownProxyError as error:
        yield failed_by("forward-proxy", error)
        return
    except UpstreamError as error:
        failure = failed_by("certificate" if isinstance(error, UpstreamUntrustedError) else "upstream", error)
    if proxy is not None:
        yield ok("forward-proxy", f"{upstream.url} is reached through {masked_proxy(proxy)}")
    if failure:
        yield failure
        return
    yield status
    if upstream.origin.scheme == "https":
        yield ok("certificate", f"that of {upstream.url} is trusted by {await _trusted_by(upstream, redactor)}")
    if mistake := store_mistake():
        yield warning("certificate", mistake, f"correct {mistake.partition(' ')[0]}, or unset it")
    if clock:
        yield clock


def _status_finding(received: UpstreamResponse, body: bytes, upstream: Upstream) -> CheckResult:
    status = received.status
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if isinstance(document, dict) and "version" in document:
        version = received.redactor.server_text(str(document["version"]))
        return ok("upstream", f"{upstream.url} answers, Package Manager {version[:40]}")
    if _is_out_of_order(status):
        return warning("upstream", f"{upstream.url} answers {status} to /__api__/status", _LATER)
    what = f"{upstream.url} answers {status} to /__api__/status, and not as a Package Manager does"
    return warning("upstream", what, "check the upstream's url, its path above all")


def _is_out_of_order(status: int) -> bool:
    """Whether a status is a fault of the server or its gateway, not of the URL or the token."""
    return status == _TOO_MANY or status >= _BROKEN


async def _trusted_by(upstream: Upstream, redactor: Redactor) -> str:
    """The store that trusts the certificate; with a `ca_file`, a request without it decides."""
    if upstream.ca_file is None:
        return store_in_use()
    client = UpstreamClient(replace(upstream, ca_file=None), redactor)
    try:
        async with client.send(UpstreamRequest("HEAD", f"{upstream.url}/__api__/status", _HEADERS), NO_RETRIES):
            return f"{store_in_use()}, even without ca_file {upstream.ca_file}"
    except PpmProxyError:
        return f"ca_file {upstream.ca_file}"
    finally:
        await client.close()


# --- the token --------------------------------------------------------------------------------------------------------


async def _upload_tokens(session: UpstreamSession) -> AsyncIterator[CheckResult]:
    """The tokens for uploads; they are not tried, because that would be an upload."""
    upstream = session.upstream
    if not (upstream.configured and upstream.uploads):
        return
    specs = [spec for spec in upstream.credentials or () if spec.use is not Use.READ]
    for repo in sorted({repo for spec in specs for repo in spec.repos}) or [""]:
        lookup = await session.chain.find(TokenRequest(upstream.url, repo, Use.UPLOAD))
        result = token_check(lookup, upstream, session.now(), Use.UPLOAD)
        fix = 'give [[credentials]] with use = "upload" a token with the scope sources:write'
        yield result or warning(check_name(Use.UPLOAD), no_token(lookup, upstream), fix)


async def _token(
    session: UpstreamSession, examined: UpstreamCheckContext, *, tries: bool
) -> AsyncIterator[CheckResult]:
    upstream, index = session.upstream, examined.index
    if not upstream.configured:
        yield ok("token", f"{upstream.url}: none is looked up for the public Package Manager")
        return
    is_chosen = upstream.name == index.upstream.name
    target = _target(upstream, index.repo if is_chosen else "", index.snapshot)
    lookup = await session.credential_for(target)
    result = token_check(lookup, upstream, session.now())
    if result and result.outcome is Outcome.FAILED:
        yield result
    elif tries and is_chosen:
        yield await _tried(session, target, lookup, result)
    else:
        way = way_to_a_token(upstream, lookup, in_ci=session.in_ci)
        yield result or warning("token", no_token(lookup, upstream), way)


def _target(upstream: Upstream, repo: str, snapshot: str) -> Target:
    return _page_of(upstream, repo, f"/{repo}/{snapshot}/simple/{PROJECT}/")


def _page_of(upstream: Upstream, repo: str, path: str) -> Target:
    return Target(upstream, upstream.url + path, path, ResourceKind.INDEX_PAGE, repo)


async def _tried(
    session: UpstreamSession, target: Target, lookup: LookupResult, result: CheckResult | None
) -> CheckResult:
    """The result of a request with the token, or without one."""
    try:
        status = await _status(session, target, lookup)
        if status == HTTPStatus.NOT_FOUND:  # no such project, which is no fault, or no such index
            index = _page_of(session.upstream, target.repo, target.local.removesuffix(f"{PROJECT}/"))
            if await _status(session, index, lookup) == HTTPStatus.NOT_FOUND:
                return _no_index(session.upstream, index)
    except TokenMissingError:
        way = way_to_a_token(session.upstream, lookup, in_ci=session.in_ci)
        return failed("token", no_token(lookup, session.upstream), way)
    except PpmProxyError as error:
        check = "token" if isinstance(error, CredentialError) or error.code == "not-permitted" else "upstream"
        return failed_by(check, error)
    if _is_out_of_order(status):
        what = f"{session.upstream.url} answers {status} to {target.local}, so the token could not be tried"
        return failed("upstream", what, _LATER)
    if result is None:
        return ok("token", f"{no_token(lookup, session.upstream)}, and {target.repo} wants none")
    how = "" if status < 400 or status == HTTPStatus.NOT_FOUND else f", with {status}"  # noqa: PLR2004
    return replace(result, what=f"{result.what}; taken for {target.repo}{how}")


async def _status(session: UpstreamSession, target: Target, lookup: LookupResult) -> int:
    request = UpstreamRequest("HEAD", target.url, _HEADERS)
    async with AuthenticatedFetcher(session, NO_RETRIES).fetch(target, request, lookup) as received:
        return received.status


def _no_index(upstream: Upstream, index: Target) -> CheckResult:
    what = f"{upstream.url} has no index {index.local} (404), or none for this token, which could not be tried"
    fix = "name another repository or snapshot with --repo and --snapshot; the Package Manager's own pages list them"
    return warning("token", what, fix)
