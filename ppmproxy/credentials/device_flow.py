"""Getting tokens over the network: device flow, identity-token exchange.

To change how a person or a machine signs in to the Package Manager, open this file; what its answers mean is in
`sign_in_answers`.

The Package Manager fronts the company's identity provider: a person confirms a code in a browser (RFC 8628, with PKCE,
RFC 7636) and an identity token comes back, which is exchanged for the Package Manager's own (RFC 8693). A machine
brings the identity token that its platform issued, and goes straight to the exchange.
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

from ppmproxy.auth.credential import token_problem
from ppmproxy.auth.origin import Origin
from ppmproxy.auth.secret import Secret
from ppmproxy.config.model import Upstream, is_loopback_host
from ppmproxy.credentials.device_flow_responses import (
    Answer,
    DeviceGrant,
    TokenAnswer,
    Wait,
    expired,
    grant_in,
    identity_in,
    offers_sso,
    token_in,
)
from ppmproxy.errors import IdentityUnavailableError, UpstreamError, UpstreamTimeoutError
from ppmproxy.upstream.client import UpstreamClient
from ppmproxy.upstream.errors_map import explain_tls_failure, map_exception
from ppmproxy.upstream.forward_proxy import proxy_for
from ppmproxy.upstream.messages import UpstreamRequest
from ppmproxy.upstream.tls import Trust

__all__ = [
    "Clock",
    "DeviceGrant",
    "Found",
    "exchange_token",
    "github_identity_token",
    "patient",
    "sso_offered",
    "start_device_flow",
    "token_from",
]

GITHUB_ADDRESS = "ACTIONS_ID_TOKEN_REQUEST_URL"
GITHUB_TOKEN = "ACTIONS_ID_TOKEN_REQUEST_TOKEN"  # noqa: S105 - the variable's name
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - RFC 8693 section 2.1
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"  # noqa: S105 - RFC 8693 section 3
SLOW_DOWN = 5.0  # seconds more between two questions, for each slow_down (RFC 8628 section 3.5)
LARGEST_ANSWER = 1 << 18  # bytes
ANSWERED_WITHIN = 60.0  # seconds, but for the question that the server may hold
LISTENS_FOR = 900.0  # seconds to that one: longer than any sign-in lasts

_HEADERS = (("Accept", "application/json"), ("Accept-Encoding", "identity"), ("User-Agent", "ppmproxy"))
_GITHUB_TIMEOUT = aiohttp.ClientTimeout(total=10)

Found = Callable[[Secret], None]  # hears of every secret before anything else is done with it: to have it masked


@dataclass(frozen=True, slots=True)
class Clock:
    """The time in seconds, by a clock that nobody sets, and how to let it pass.

    A laptop that wakes up late is told by the server that a sign-in is over.
    """

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


def patient(upstream: Upstream) -> Upstream:
    """The settings for a client that signs in: it listens as long as the server may hold the question of `token_from`.

    One that gives up too early may miss the answer, which some servers give only once.
    """
    return replace(upstream, read_timeout=max(upstream.read_timeout, LISTENS_FOR))


# --- a person, by device flow -----------------------------------------------------------------------------------------


async def sso_offered(client: UpstreamClient, base_url: str) -> bool:
    """Whether the Package Manager offers sign-in, by its status page; True when that does not tell."""
    try:
        return offers_sso(await _ask(client, UpstreamRequest("GET", _api(base_url, "status"), list(_HEADERS))))
    except UpstreamError:
        return True


async def start_device_flow(client: UpstreamClient, base_url: str, found: Found, clock: Clock) -> DeviceGrant:
    """Ask for a code that a person confirms in a browser.

    Raises `SignInNotOfferedError`, `SignInRefusedError`, `UpstreamError`.
    """
    asked = TokenAnswer(base_url, Secret(secrets.token_urlsafe(48)), clock.now())
    found(asked.code_verifier)
    digest = hashlib.sha256(asked.code_verifier.reveal().encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")  # RFC 7636 section 4.2
    form = {"code_challenge_method": "S256", "code_challenge": challenge}
    grant = grant_in(await _post(client, _api(base_url, "device"), form), asked)
    found(grant.device_code)
    return grant


async def token_from(client: UpstreamClient, grant: DeviceGrant, found: Found, clock: Clock) -> Secret:
    """Wait until the person has confirmed, and fetch the token.

    Raises `SignInRefusedError` (the person or the server said no), `SignInExpiredError` (nobody confirmed in time),
    `IdentityRefusedError`, `UpstreamError`. May be cancelled at any time.
    """
    identity = await _identity_of_person(client, grant, clock)
    found(identity)
    while True:
        try:
            return await exchange_token(client, grant.base_url, identity, found)
        except UpstreamError as error:
            # The person has done their part: a moment without network must not make them do it again.
            if not _may_pass(error) or clock.now() + grant.interval >= grant.expires_at:
                raise
        await clock.sleep(grant.interval)


async def _identity_of_person(client: UpstreamClient, grant: DeviceGrant, clock: Clock) -> Secret:
    """The identity token, asked for until it is there or the sign-in is over."""
    interval, trouble = grant.interval, None
    while (left := grant.expires_at - clock.now()) > 0:
        try:
            said = identity_in(await _asked_once(client, grant, left), grant)
        except UpstreamError as error:
            if not _may_pass(error):
                raise
            # The server may hold the question until the person has decided, longer than we listen.
            said, trouble = Wait.PENDING, None if isinstance(error, UpstreamTimeoutError) else error
        else:
            trouble = None
        if isinstance(said, Secret):
            return said
        if said is Wait.SLOW_DOWN:
            interval += SLOW_DOWN
        await clock.sleep(min(interval, left))
    raise trouble or expired(grant.base_url)


async def _asked_once(client: UpstreamClient, grant: DeviceGrant, left: float) -> Answer:
    form = {"device_code": grant.device_code.reveal(), "code_verifier": grant.code_verifier.reveal()}
    return await _post(client, _api(grant.base_url, "device_access"), form, left)


def _may_pass(error: UpstreamError) -> bool:
    return error.may_pass or isinstance(error, UpstreamTimeoutError)


# --- a machine, by the identity token it has --------------------------------------------------------------------------


async def exchange_token(client: UpstreamClient, base_url: str, subject_token: Secret, found: Found) -> Secret:
    """The Package Manager's token for an identity token (RFC 8693).

    Raises `IdentityRefusedError` (names the audience), `SignInNotOfferedError`, `UpstreamError`.
    """
    found(subject_token)
    form = {
        "grant_type": TOKEN_EXCHANGE,
        "subject_token": subject_token.reveal(),
        "subject_token_type": ID_TOKEN,
    }
    token = token_in(await _post(client, _api(base_url, "token"), form), base_url, subject_token)
    found(token)
    return token


async def github_identity_token(environ: Mapping[str, str], audience: str, found: Found) -> Secret:
    """The identity token of a GitHub Actions job; `IdentityUnavailableError` says why there is none."""
    address, bearer = environ.get(GITHUB_ADDRESS, ""), environ.get(GITHUB_TOKEN, "")
    if not address or not bearer:
        what = "GitHub Actions gives this job no identity token"
        raise IdentityUnavailableError(what, "add `id-token: write` to the job's permissions")
    found(Secret(bearer))
    if not _is_confidential(address) or token_problem(bearer):
        raise _nothing_from_github(f"{GITHUB_ADDRESS} or {GITHUB_TOKEN} is not what GitHub sets")
    url = f"{address}{'&' if '?' in address else '?'}audience={quote(audience, safe='')}"
    answer = await _answer_of_github(url, Secret(bearer))
    token = Secret(answer.text("value"))
    if token_problem(token.reveal()):
        raise _nothing_from_github(f"its server answered {answer.status} without a token")
    found(token)
    return token


async def _answer_of_github(url: str, bearer: Secret) -> Answer:
    """One answer of GitHub's token server, which is no upstream: no redirect is followed, no setting applies."""
    headers = {**dict(_HEADERS), "Authorization": f"Bearer {bearer.reveal()}"}
    defaults = Upstream()
    try:
        tls = Trust(defaults, with_client_certificate=False).context()
        proxy = proxy_for(url, defaults.proxy)
        async with (
            aiohttp.ClientSession(timeout=_GITHUB_TIMEOUT, cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.get(
                URL(url, encoded=True), headers=headers, allow_redirects=False, ssl=tls, proxy=proxy
            ) as response,
        ):
            return Answer(response.status, response.headers.get("Content-Type", ""), await response.read())
    except (aiohttp.ClientSSLError, ssl.SSLError) as error:
        raise _nothing_from_github(str(await explain_tls_failure(error, url, defaults))) from error
    except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError) as error:
        raise _nothing_from_github(str(map_exception(error, url))) from error
    except UpstreamError as error:
        raise _nothing_from_github(str(error)) from error


def _is_confidential(address: str) -> bool:
    """Whether a secret may be sent there: over TLS, or without leaving this machine."""
    try:
        origin = Origin.of(address)
    except ValueError:
        return False
    return address.isprintable() and (origin.scheme == "https" or is_loopback_host(origin.host))


def _nothing_from_github(why: str) -> IdentityUnavailableError:
    return IdentityUnavailableError(
        f"GitHub Actions' identity token could not be had: {why}",
        "run the job again; GitHub's status page may say more",
    )


# --- on the wire ------------------------------------------------------------------------------------------------------


def _api(base_url: str, call: str) -> str:
    return f"{base_url.rstrip('/')}/__api__/{call}"


async def _post(client: UpstreamClient, url: str, form: Mapping[str, str], within: float = ANSWERED_WITHIN) -> Answer:
    headers = [*_HEADERS, ("Content-Type", "application/x-www-form-urlencoded")]
    return await _ask(client, UpstreamRequest("POST", url, headers, body=urlencode(form).encode()), within)


async def _ask(client: UpstreamClient, outgoing: UpstreamRequest, within: float = ANSWERED_WITHIN) -> Answer:
    """One answer; `UpstreamTimeoutError` after so many seconds.

    No credential goes along: these calls are how to get one.
    """
    try:
        return await asyncio.wait_for(_answer(client, outgoing), within)
    except asyncio.TimeoutError:
        what = f"{Origin.of(outgoing.url)} did not answer within {within:.0f} s"
        raise UpstreamTimeoutError(what, "try again") from None


async def _answer(client: UpstreamClient, outgoing: UpstreamRequest) -> Answer:
    body = bytearray()
    async with client.send(outgoing) as received:
        async for chunk in received.chunks():
            body += chunk
            if len(body) > LARGEST_ANSWER:
                break  # no honest answer is that long, and half of it is no JSON
        return Answer(received.status, received.header("Content-Type") or "", bytes(body))
