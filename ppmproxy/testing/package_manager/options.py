"""Options of a fake Package Manager, which tests change while it runs."""

from __future__ import annotations

import enum
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ppmproxy.testing.package_manager.tls import CertificateAuthority


class Accepts(enum.Enum):
    """The kind of Authorization header that repositories and uploads take; `/__api__/` always takes both."""

    BASIC = "basic"
    BEARER = "bearer"
    EITHER = "either"


class LinkStyle(enum.Enum):
    """How links on index pages, and redirects, are written."""

    ABSOLUTE = "absolute"
    ROOT_RELATIVE = "root-relative"
    RELATIVE = "relative"


@dataclass(frozen=True)
class IdentityProviderTrust:
    """Identity tokens that the server exchanges for one of its own; None accepts any value."""

    audience: str | None
    subject: str | None = None


@dataclass(kw_only=True, eq=False)
class ServerOptions:
    """`host`, `port`, `token` and the options of TLS are read at the start, the others at each request."""

    base_path: str = ""
    host: str = "127.0.0.1"
    port: int = 0
    tls: bool = True
    authority: CertificateAuthority | None = None  # share another server's, so that one CA file trusts both
    certificate_for: tuple[str, ...] = ("localhost", "127.0.0.1", "::1")
    demands_client_certificate: bool = False

    repos: tuple[str, ...] = ("pypi",)
    r_repos: tuple[str, ...] = ("cran",)
    open_repos: tuple[str, ...] = ()  # read without a token
    sources: Mapping[str, str] = field(default_factory=lambda: {"internal": "pypi"})  # upload source -> its repository

    accepts: Accepts = Accepts.EITHER
    token: str = field(default="", repr=False)  # "": a made-up JWT
    scopes: tuple[str, ...] = ("repos:read",)  # of `token`, and of tokens it hands out
    anonymous_status: int = 401  # 401, 403 or 404: the response to a reader without a token
    rejected_status: int = 401  # 401 or 403: to a reader with an expired, revoked or unknown token
    refuses_authorization: bool = False  # like object storage: 400 to any Authorization header, and no token needed
    clock: Callable[[], float] = time.time
    clock_offset: float = 0.0  # seconds, to let tokens expire without waiting

    links: LinkStyle = LinkStyle.ROOT_RELATIVE
    address: str | None = None  # for absolute links; None: X-Forwarded-Host and -Proto, else Host
    offers_json: bool = True
    offers_metadata: bool = True  # PEP 658 and 714
    offers_ranges: bool = True
    offers_etags: bool = True
    gzip_pages: bool = True
    page_cache_control: str | None = None
    file_cache_control: str | None = "max-age=3600"
    files_redirect_to: str | None = None  # an origin; files then answer 302 there, with `redirect_query` added
    redirect_query: str = "X-Amz-Expires=60&X-Amz-Signature=ab%2Fcd%7Eef%2B="
    generated_projects: int = 0  # as many empty projects more on the root index

    sso: bool = True
    offers_device: bool = True  # False: the server says SSO but knows no /__api__/device
    device_interval: float = 5.0
    device_lifetime: float = 300.0
    enforces_interval: bool = True  # slow_down to a client that polls more often than allowed
    slow_down_step: float = 5.0
    holds_device_access: bool = False  # /__api__/device_access waits for the user
    offers_complete_uri: bool = True
    access_token_lifetime: float | None = 3600.0
    trusts: tuple[IdentityProviderTrust, ...] = ()  # identity federation: accepted identity tokens of others

    def now(self) -> float:
        """Seconds since the epoch by this server's clock."""
        return self.clock() + self.clock_offset
