"""Faults of the fake Package Manager, and the rules that say which requests get them."""

from __future__ import annotations

import fnmatch
import gzip
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from ppmproxy.testing.package_manager.content import Memory
from ppmproxy.testing.package_manager.responses import FakeResponse, redirect, text

if TYPE_CHECKING:
    from collections.abc import Callable

    from ppmproxy.testing.package_manager.received import ReceivedRequest

# Another response than the correct one.


@dataclass(frozen=True)
class Status:
    """Another status. `early`: sent before the request's body is read, as servers refuse uploads."""

    code: int
    reason: str | None = None
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    early: bool = False


@dataclass(frozen=True)
class LoginPage:
    """200 and an HTML form, as a gateway with single sign-on responds to any request."""


@dataclass(frozen=True)
class RedirectTo:
    """A redirect to a given URL."""

    url: str
    status: int = 302


@dataclass(frozen=True)
class LoginRedirect:
    """302 to the login page of another origin."""

    origin: str = "https://login.invalid"


@dataclass(frozen=True)
class RedirectLoop:
    """302 to the same URL, every time."""


@dataclass(frozen=True)
class BrokenJson:
    """200 and JSON that is cut in the middle."""


@dataclass(frozen=True)
class ExpiredToken:
    """401, as if the token had just expired."""


# The correct response, sent incorrectly.


@dataclass(frozen=True)
class NoAnswer:
    """No byte until `release()`, then the correct response."""


@dataclass(frozen=True)
class Delay:
    """The correct response after some seconds."""

    seconds: float


@dataclass(frozen=True)
class CloseBeforeHead:
    """The connection is closed or reset before a response. `after`: bytes of the request's body read before."""

    reset: bool = False
    after: int | None = None


@dataclass(frozen=True)
class Cut:
    """The connection is closed or reset after so many bytes of the body."""

    after: int
    reset: bool = False


@dataclass(frozen=True)
class Stall:
    """After so many bytes of the body no more are sent until `release()`."""

    after: int


@dataclass(frozen=True)
class Trickle:
    """The body is sent in small pieces with a pause before each."""

    piece: int = 1
    every: float = 0.1


@dataclass(frozen=True)
class Unsized:
    """The body is sent chunked, without Content-Length."""


@dataclass(frozen=True)
class WrongEncoding:
    """The uncompressed body with a Content-Encoding that is wrong."""

    encoding: str = "gzip"


ResponseFault = Status | LoginPage | RedirectTo | LoginRedirect | RedirectLoop | BrokenJson | ExpiredToken
HeadFault = NoAnswer | Delay | CloseBeforeHead
DeliveryFault = HeadFault | Cut | Stall | Trickle | Unsized | WrongEncoding
Fault = ResponseFault | DeliveryFault
RequestFilter: TypeAlias = "str | Callable[[ReceivedRequest], bool]"


@dataclass(eq=False)
class Rule:
    """Which requests get a fault, and how many of them (None: all)."""

    where: RequestFilter
    fault: Fault
    times: int | None = None

    def applies_to(self, received: ReceivedRequest) -> bool:
        """A string is a shell pattern for the raw path, without the query."""
        if self.times == 0:
            return False
        if isinstance(self.where, str):
            return fnmatch.fnmatchcase(received.path, self.where)
        return self.where(received)

    def use(self) -> Fault:
        """Count one use."""
        if self.times is not None:
            self.times -= 1
        return self.fault


def faulty_response(fault: ResponseFault, received: ReceivedRequest) -> FakeResponse:
    """The response to send instead of the correct one."""
    match fault:
        case Status():
            return FakeResponse(fault.code, fault.headers, Memory(fault.body), fault.reason)
        case LoginPage():
            return text(LOGIN_PAGE, "text/html; charset=utf-8")
        case RedirectTo():
            return redirect(fault.url, fault.status)
        case LoginRedirect():
            return redirect(f"{fault.origin}/login?return_to=%2F")
        case RedirectLoop():
            return redirect(received.target)
        case BrokenJson():
            return text('{"meta": {"api-version": "1.1"}, "files": [{"filen', "application/vnd.pypi.simple.v1+json")
        case ExpiredToken():
            challenge = (("WWW-Authenticate", 'Basic realm="Package Manager"'),)
            return FakeResponse(401, challenge, Memory(b"token is expired"))


def mislabelled(right: FakeResponse, encoding: str) -> FakeResponse:
    """The response uncompressed, with a Content-Encoding all the same."""
    headers = tuple(header for header in right.headers if header[0] != "Content-Encoding")
    content = right.content
    if headers != right.headers and isinstance(content, Memory):
        content = Memory(gzip.decompress(content.data))
    return replace(right, headers=(*headers, ("Content-Encoding", encoding)), content=content)


LOGIN_PAGE = """<!DOCTYPE html>
<html><head><title>Sign in</title></head><body>
<form method="post" action="/login">
<input name="user"><input name="password" type="password"><button>Sign in</button>
</form>
</body></html>
"""
