"""Sign-in to the Package Manager: the device flow of a person, and the exchange of a machine's identity token.

The Package Manager fronts the company's identity provider. A person confirms a code in a browser (RFC 8628, with PKCE,
RFC 7636); the resulting identity token is exchanged for a token of the Package Manager (RFC 8693). A machine already
has an identity token from its platform and needs only the exchange. `device_flow_responses` parses the responses.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from ppmproxy.auth.child_env import GITHUB_ADDRESS, GITHUB_TOKEN
from ppmproxy.auth.credential import token_problem
from ppmproxy.auth.origin import Origin
from ppmproxy.auth.redaction import Redactor
from ppmproxy.auth.secret import Secret
from ppmproxy.config.local_address import is_loopback_host
from ppmproxy.config.model import Upstream
from ppmproxy.credentials.device_flow_responses import (
    DeviceGrant,
    DeviceRequest,
    NotYet,
    ServerResponse,
    expired,
    offers_sso,
    parse_grant,
    parse_identity,
    parse_token,
)
from ppmproxy.errors import IdentityUnavailableError, UpstreamError, UpstreamTimeoutError
from ppmproxy.index.codings import codings_of
from ppmproxy.upstream.bodies import read_at_most
from ppmproxy.upstream.client import UpstreamClient
from ppmproxy.upstream.errors_map import map_exception
from ppmproxy.upstream.forward_proxy import proxy_for, split_credentials
from ppmproxy.upstream.messages import UpstreamRequest
from ppmproxy.upstream.retries import NO_RETRIES
from ppmproxy.upstream.tls import Trust
from ppmproxy.upstream.tls_failures import explain_tls_failure

TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - RFC 8693 section 2.1
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"  # noqa: S105 - RFC 8693 section 3
SLOW_DOWN_STEP = 5.0  # seconds added to the interval by each slow_down (RFC 8628 section 3.5)
MAX_RESPONSE = 1 << 18  # bytes
RESPONSE_TIMEOUT = 60.0  # seconds, except for the poll, whose response the server may hold
LONG_POLL_TIMEOUT = 900.0  # seconds for the poll: longer than any sign-in lasts

_HEADERS = (("Accept", "application/json"), ("Accept-Encoding", "identity"), ("User-Agent", "ppmproxy"))
_GITHUB_TIMEOUT = aiohttp.ClientTimeout(total=10)

RegisterSecret = Callable[[Secret], None]  # called with every secret before any other use, to have it masked


@dataclass(frozen=True, slots=True)
class Clock:
    """The monotonic time in seconds, and how to sleep.

    It may stop while a laptop sleeps: the server then answers that the sign-in has expired.
    """

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


def with_long_timeout(upstream: Upstream) -> Upstream:
    """An upstream's settings with a read timeout as long as the server may hold the poll of `wait_for_token`.

    A client that gives up too early may miss the token, which some servers send only once.
    """
    return replace(upstream, read_timeout=max(upstream.read_timeout, LONG_POLL_TIMEOUT))


# --- a person's device flow ------------------------------------------------------------------------------------------


async def is_sign_in_offered(client: UpstreamClient, base_url: str) -> bool:
    """Whether the Package Manager offers sign-in, by its status endpoint; True when that does not say."""
    try:
        return offers_sso(await _send(client, UpstreamRequest("GET", _api(base_url, "status"), list(_HEADERS))))
    except UpstreamError:
        return True


async def start_device_flow(
    client: UpstreamClient, base_url: str, register: RegisterSecret, clock: Clock
) -> DeviceGrant:
    """Start a device flow: get a code that a person confirms in a browser.

    Raises `SignInNotOfferedError`, `SignInRefusedError`, `UpstreamError`.
    """
    request = DeviceRequest(base_url, Secret(secrets.token_urlsafe(48)), clock.now())
    register(request.code_verifier)
    digest = hashlib.sha256(request.code_verifier.reveal().encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")  # RFC 7636 section 4.2
    form = {"code_challenge_method": "S256", "code_challenge": challenge}
    grant = parse_grant(await _post(client, _api(base_url, "device"), form), request)
    register(grant.device_code)
    return grant


async def wait_for_token(client: UpstreamClient, grant: DeviceGrant, register: RegisterSecret, clock: Clock) -> Secret:
    """Wait until the person has confirmed, and get the token.

    Raises `SignInRefusedError` (by the person or the server), `SignInExpiredError` (nobody confirmed in time),
    `IdentityRefusedError`, `UpstreamError`. May be cancelled at any time.
    """
    identity = await _identity_of_person(client, grant, clock)
    register(identity)
    while True:
        try:
            return await exchange_token(client, grant.base_url, identity, register)
        except UpstreamError as error:
            # The person has confirmed: a short network failure must not make them do it again.
            if not _is_temporary(error) or clock.now() + grant.interval >= grant.expires_at:
                raise
        await clock.sleep(grant.interval)


async def _identity_of_person(client: UpstreamClient, grant: DeviceGrant, clock: Clock) -> Secret:
    """Poll for the identity token until it is issued or the sign-in ends."""
    interval, failure = grant.interval, None
    while (left := grant.expires_at - clock.now()) > 0:
        try:
            result = parse_identity(await _poll(client, grant, left), grant)
        except UpstreamError as error:
            if not _is_temporary(error):
                raise
            # The server may hold the poll until the person has decided, longer than the read timeout.
            result, failure = NotYet.PENDING, None if isinstance(error, UpstreamTimeoutError) else error
        else:
            failure = None
        if isinstance(result, Secret):
            return result
        if result is NotYet.SLOW_DOWN:
            interval += SLOW_DOWN_STEP
        await clock.sleep(min(interval, left))
    raise failure or expired(grant.base_url)


async def _poll(client: UpstreamClient, grant: DeviceGrant, left: float) -> ServerResponse:
    form = {"device_code": grant.device_code.reveal(), "code_verifier": grant.code_verifier.reveal()}
    return await _post(client, _api(grant.base_url, "device_access"), form, left)


def _is_temporary(error: UpstreamError) -> bool:
    return error.may_pass or isinstance(error, UpstreamTimeoutError)


# --- a machine's identity token ---------------------------------------------------------------------------------------


async def exchange_token(
    client: UpstreamClient, base_url: str, subject_token: Secret, register: RegisterSecret
) -> Secret:
    """The Package Manager's token for an identity token (RFC 8693).

    Raises `IdentityRefusedError` (names the audience), `SignInNotOfferedError`, `UpstreamError`.
    """
    register(subject_token)
    form = {
        "grant_type": TOKEN_EXCHANGE,
        "subject_token": subject_token.reveal(),
        "subject_token_type": ID_TOKEN,
    }
    token = parse_token(await _post(client, _api(base_url, "token"), form), base_url, subject_token)
    register(token)
    return token


async def github_identity_token(environ: Mapping[str, str], audience: str, register: RegisterSecret) -> Secret:
    """The identity token of a GitHub Actions job; `IdentityUnavailableError` says why there is none."""
    address, bearer = environ.get(GITHUB_ADDRESS, ""), environ.get(GITHUB_TOKEN, "")
    if not address or not bearer:
        what = "GitHub Actions gives this job no identity token"
        raise IdentityUnavailableError(what, "add `id-token: write` to the job's permissions")
    register(Secret(bearer))
    if not _is_confidential(address) or token_problem(Secret(bearer)):
        raise _github_error(f"{GITHUB_ADDRESS} or {GITHUB_TOKEN} has a value that GitHub does not set")
    url = f"{address}{'&' if '?' in address else '?'}audience={quote(audience, safe='')}"
    response = await _fetch_from_github(url, Secret(bearer))
    token = Secret(response.text("value"))
    if token_problem(token):
        raise _github_error(f"its server answered {response.status} without a token")
    register(token)
    return token


async def _fetch_from_github(url: str, bearer: Secret) -> ServerResponse:
    """One response of GitHub's token server. No redirect is followed, and no setting of an upstream applies."""
    headers = {**dict(_HEADERS), "Authorization": f"Bearer {bearer.reveal()}"}
    defaults = Upstream()
    try:
        tls = Trust(defaults, with_client_certificate=False).context()
        proxy, proxy_headers = split_credentials(proxy_for(url, defaults.proxy) or "")
        async with (
            aiohttp.ClientSession(
                timeout=_GITHUB_TIMEOUT, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
            ) as session,
            session.get(
                URL(url, encoded=True),
                headers=headers,
                allow_redirects=False,
                ssl=tls,
                proxy=proxy or None,
                proxy_headers=proxy_headers,
            ) as response,
        ):
            codings = codings_of(response.headers.getall("Content-Encoding", ()))
            body = await read_at_most(MAX_RESPONSE, response.content.iter_any(), codings)
            return ServerResponse(response.status, response.headers.get("Content-Type", ""), body)
    except (aiohttp.ClientSSLError, ssl.SSLError) as error:
        raise _github_error(str(await explain_tls_failure(error, url, defaults, Redactor()))) from error
    except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError) as error:
        raise _github_error(str(map_exception(error, url, defaults.proxy))) from error
    except UpstreamError as error:
        raise _github_error(str(error)) from error


def _is_confidential(address: str) -> bool:
    """Whether a secret may be sent to an address: over TLS, or on this machine."""
    try:
        origin = Origin.of(address)
    except ValueError:
        return False
    return address.isprintable() and (origin.scheme == "https" or is_loopback_host(origin.host))


def _github_error(why: str) -> IdentityUnavailableError:
    return IdentityUnavailableError(
        f"GitHub Actions gives no identity token: {why}",
        "run the job again",
    )


# --- on the wire ------------------------------------------------------------------------------------------------------


def _api(base_url: str, call: str) -> str:
    return f"{base_url.rstrip('/')}/__api__/{call}"


async def _post(
    client: UpstreamClient, url: str, form: Mapping[str, str], within: float = RESPONSE_TIMEOUT
) -> ServerResponse:
    headers = [*_HEADERS, ("Content-Type", "application/x-www-form-urlencoded")]
    return await _send(client, UpstreamRequest("POST", url, headers, body=urlencode(form).encode()), within)


async def _send(client: UpstreamClient, request: UpstreamRequest, within: float = RESPONSE_TIMEOUT) -> ServerResponse:
    """One response; `UpstreamTimeoutError` after `within` seconds. No credential is sent."""
    try:
        return await asyncio.wait_for(_fetch(client, request), within)
    except asyncio.TimeoutError:
        what = f"{Origin.of(request.url)} did not answer within {within:.0f} s"
        raise UpstreamTimeoutError(what, "try again") from None


async def _fetch(client: UpstreamClient, request: UpstreamRequest) -> ServerResponse:
    async with client.send(request, NO_RETRIES) as response:
        body = await read_at_most(MAX_RESPONSE, response.chunks(), response.codings)
        return ServerResponse(response.status, response.header("Content-Type") or "", body, response.redactor)
