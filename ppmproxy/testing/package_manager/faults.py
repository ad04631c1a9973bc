"""How the stand-in misbehaves on request, and where."""

from __future__ import annotations

import fnmatch
import gzip
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from ppmproxy.testing.package_manager.answers import FakeResponse, redirect, text
from ppmproxy.testing.package_manager.content import Memory

if TYPE_CHECKING:
    from collections.abc import Callable

    from ppmproxy.testing.package_manager.seen import ReceivedRequest

# Another answer than the right one.


@dataclass(frozen=True)
class Status:
    """Another status, with its words. `early`: before the request's body was read, as a server refuses an upload."""

    code: int
    reason: str | None = None
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    early: bool = False


@dataclass(frozen=True)
class LoginPage:
    """200 and an HTML form: a gateway that wants a person, where an index or a file was asked for."""


@dataclass(frozen=True)
class RedirectTo:
    """A redirect to a given place."""

    url: str
    status: int = 302


@dataclass(frozen=True)
class LoginRedirect:
    """302 to the login page of another origin."""

    origin: str = "https://login.invalid"


@dataclass(frozen=True)
class RedirectLoop:
    """302 to itself, for ever."""


@dataclass(frozen=True)
class BrokenJson:
    """200 and JSON that ends in the middle."""


@dataclass(frozen=True)
class ExpiredToken:
    """401, as if the token had just expired."""


# The right answer, sent wrongly.


@dataclass(frozen=True)
class NoAnswer:
    """Nothing at all until `release()`, then the right answer."""


@dataclass(frozen=True)
class Delay:
    """The right answer, after a while."""

    seconds: float


@dataclass(frozen=True)
class CloseBeforeHead:
    """The connection is closed, or reset, instead of any answer. `after`: bytes of the request's body read before."""

    reset: bool = False
    after: int | None = None


@dataclass(frozen=True)
class Cut:
    """The connection is closed, or reset, after so many bytes of the body."""

    after: int
    reset: bool = False


@dataclass(frozen=True)
class Stall:
    """After so many bytes of the body nothing more comes until `release()`."""

    after: int


@dataclass(frozen=True)
class Trickle:
    """The body comes in small pieces with a pause before each."""

    piece: int = 1
    every: float = 0.1


@dataclass(frozen=True)
class Unsized:
    """The body comes chunked, without Content-Length."""


@dataclass(frozen=True)
class WrongEncoding:
    """The right bytes, said to be compressed in a way they are not."""

    encoding: str = "gzip"


Instead = Status | LoginPage | RedirectTo | LoginRedirect | RedirectLoop | BrokenJson | ExpiredToken
Before = NoAnswer | Delay | CloseBeforeHead
Delivery = Before | Cut | Stall | Trickle | Unsized | WrongEncoding
Fault = Instead | Delivery
Where: TypeAlias = "str | Callable[[ReceivedRequest], bool]"


@dataclass(eq=False)
class Rule:
    """Where to misbehave, how, and how many times (None: always)."""

    where: Where
    how: Fault
    times: int | None = None

    def applies_to(self, seen: ReceivedRequest) -> bool:
        """A string is a shell pattern for the raw path, without the query."""
        if self.times == 0:
            return False
        if isinstance(self.where, str):
            return fnmatch.fnmatchcase(seen.path, self.where)
        return self.where(seen)

    def use(self) -> Fault:
        """Count one use."""
        if self.times is not None:
            self.times -= 1
        return self.how


def wrong_answer(how: Instead, seen: ReceivedRequest) -> FakeResponse:
    """The answer to give instead of the right one."""
    match how:
        case Status():
            return FakeResponse(how.code, how.headers, Memory(how.body), how.reason)
        case LoginPage():
            return text(LOGIN_PAGE, "text/html; charset=utf-8")
        case RedirectTo():
            return redirect(how.url, how.status)
        case LoginRedirect():
            return redirect(f"{how.origin}/login?return_to=%2F")
        case RedirectLoop():
            return redirect(seen.target)
        case BrokenJson():
            return text('{"meta": {"api-version": "1.1"}, "files": [{"filen', "application/vnd.pypi.simple.v1+json")
        case ExpiredToken():
            challenge = (("WWW-Authenticate", 'Basic realm="Package Manager"'),)
            return FakeResponse(401, challenge, Memory(b"token is expired"))


def wrongly_encoded(right: FakeResponse, encoding: str) -> FakeResponse:
    """The plain bytes of an answer, under the name of an encoding."""
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
