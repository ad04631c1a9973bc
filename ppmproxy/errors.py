"""The errors that people see: code, HTTP status, exit code, what happened and what to do.

Each class has a stable `code`, the HTTP status of its response, and the exit code of a command that ends with it. An
error has one line that says what happened (`str(error)`) and one with what to do (`hint`), each one plain sentence
without a full stop. No message holds a secret: sources and origins are named, values are not.
"""

from __future__ import annotations

import re
from typing import ClassVar

EXIT_OK = 0
EXIT_CHECK_FAILED = 1
EXIT_USAGE = 2
EXIT_CONFIGURATION = 3
EXIT_CANNOT_LISTEN = 4
EXIT_NO_CREDENTIAL = 5
EXIT_UPSTREAM = 6
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells say it
EXIT_TERMINATED = 143  # 128 + SIGTERM

LONGEST_MESSAGE = 200  # characters of what happened and what to do together, where a client shows them
LONGEST_SHOWN = 80  # characters of a path or a name that a message quotes

_REMARK = re.compile(r" \([^()]*\)\Z")


def one_line(text: str) -> str:
    """A text on one line, with "?" for characters that are not printable."""
    line = " ".join(text.split())
    return line if line.isprintable() else "".join(char if char.isprintable() else "?" for char in line)


def shortened(text: str, longest: int) -> str:
    """At most so many characters of a text, cut between words: half a token would not be masked, and has no blanks."""
    if len(text) <= longest:
        return text
    return (text[: longest - len("...")].rpartition(" ")[0] + " ...").strip()


class PpmProxyError(Exception):
    """The base of all errors that people see."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 502
    exit_code: ClassVar[int] = EXIT_CHECK_FAILED
    title: ClassVar[str] = "unexpected failure"

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(one_line(what))
        self.hint = one_line(hint)

    @property
    def detail(self) -> str:
        """What happened and what to do, as one paragraph."""
        return f"{self}; {self.hint}." if self.hint else f"{self}."

    def within(self, longest: int = LONGEST_MESSAGE) -> str:
        """What happened and what to do in so many characters.

        Where both are too long, a remark in parentheses at the end of what to do is left out, then what happened cut.
        """
        is_too_long = len(self.detail) - len(".") > longest
        hint = shortened(_REMARK.sub("", self.hint) if is_too_long else self.hint, longest * 2 // 3)
        what = shortened(str(self), longest - len(hint) - len("; ")) if hint else shortened(str(self), longest)
        return f"{what}; {hint}" if hint else what


class ConfigError(PpmProxyError):
    """The settings are wrong."""

    code = "config"
    exit_code = EXIT_CONFIGURATION
    title = "configuration error"


class UsageError(PpmProxyError):
    """The command line is wrong."""

    code = "usage"
    exit_code = EXIT_USAGE
    title = "usage error"


class CannotListenError(PpmProxyError):
    """A listen address is taken, or not allowed for this user."""

    code = "cannot-listen"
    exit_code = EXIT_CANNOT_LISTEN
    title = "cannot listen"


class CredentialError(PpmProxyError):
    """There is no credential that the upstream accepts."""

    status = 407  # not 401: pip would prompt for a user name; not 403 or 404: clients hide their text
    exit_code = EXIT_NO_CREDENTIAL


class TokenMissingError(CredentialError):
    """The upstream requires a token, and no source has one."""

    code = "token-missing"
    title = "no token found"


class TokenExpiredError(CredentialError):
    """The token has expired."""

    code = "token-expired"
    title = "token expired"


class TokenRejectedError(CredentialError):
    """The upstream rejects the token."""

    code = "token-rejected"
    title = "token rejected"


class SignInNeededError(CredentialError):
    """A person has to sign in, or is doing so."""

    code = "sign-in-needed"
    title = "sign-in needed"


class SignInRefusedError(SignInNeededError):
    """The person or the Package Manager refused the sign-in."""

    title = "sign-in refused"


class SignInExpiredError(SignInNeededError):
    """Nobody confirmed the sign-in in time."""

    title = "sign-in not finished in time"


class SignInNotOfferedError(CredentialError):
    """The Package Manager has no single sign-on."""

    code = "token-missing"
    title = "no sign-in offered"


class IdentityUnavailableError(CredentialError):
    """The platform gives no identity token."""

    code = "token-missing"
    title = "no identity token"


class IdentityRefusedError(CredentialError):
    """The Package Manager rejects the identity token."""

    code = "token-rejected"
    title = "identity token refused"


class TokenFileError(CredentialError):
    """The token file is broken, or cannot be read or written."""

    code = "token-missing"
    title = "token file unusable"


class NotPermittedError(PpmProxyError):
    """The token is valid, and the upstream answers 403."""

    code = "not-permitted"
    status = 403
    exit_code = EXIT_NO_CREDENTIAL
    title = "not permitted"


class UpstreamError(PpmProxyError):
    """The upstream cannot be reached, or its response cannot be used."""

    status = 424  # a 4xx ends the client's own retries and shows its reason; a 5xx hides it for 8 to 16 seconds
    exit_code = EXIT_UPSTREAM
    may_pass: ClassVar[bool] = False  # whether the same request may succeed a few seconds later


class UpstreamUnreachableError(UpstreamError):
    """No connection: DNS, refused, reset, no route."""

    code = "upstream-unreachable"
    may_pass = True
    title = "Package Manager unreachable"


class OfflineError(UpstreamError):
    """Nothing may be asked, and this is in no cache."""

    code = "upstream-unreachable"
    title = "offline, and not in the cache"


class NoConnectionError(UpstreamUnreachableError):
    """No connection could be made: DNS, refused, no route, not in time. It concerns every request to that origin."""


class ConnectionRejectedError(UpstreamUnreachableError):
    """A forward proxy or a TLS handshake rejects the connection, and will again."""

    may_pass = False


class ProxyRefusalError(ConnectionRejectedError):
    """A forward proxy refuses to connect; asked again and again with the same password, it may lock an account."""


class UnknownProxyError(ConnectionRejectedError):
    """The host name of the forward proxy is not known: most likely a mistake where it is named."""


class UpstreamUntrustedError(UpstreamError):
    """The TLS handshake failed, mostly because of an unknown certificate authority."""

    code = "upstream-untrusted"
    title = "Package Manager's certificate not trusted"


class UpstreamTimeoutError(UpstreamError):
    """The upstream accepted the request and did not answer in time."""

    code = "upstream-timeout"
    title = "Package Manager did not answer"


class UpstreamUnexpectedError(UpstreamError):
    """A response that does not fit the request: a login page, a broken index, a redirect loop."""

    code = "upstream-unexpected"
    title = "unexpected answer from the Package Manager"


class RejectedElsewhereError(UpstreamUnexpectedError):
    """A server to which the Package Manager redirects says 401 or 403; here both are 403: a 401 makes pip prompt."""

    status = 403
    title = "refused by another server"


SILENT = (UpstreamUnreachableError, UpstreamUntrustedError, UpstreamTimeoutError)  # the upstream sent nothing


class RefusedError(PpmProxyError):
    """A request that is refused before anything is sent upstream."""


class ForbiddenClientError(RefusedError):
    """A client that may not use this proxy: another user, a web page, a foreign Host."""

    code = "forbidden-client"
    status = 403
    title = "this client may not use the proxy"


class BadTargetError(RefusedError):
    """A request target that two parsers could read in two ways."""

    code = "bad-target"
    status = 400
    title = "request target refused"


class NotForwardedError(RefusedError):
    """A path or method that is never forwarded."""

    code = "not-forwarded"
    status = 403
    title = "not forwarded"


class MethodNotAllowedError(NotForwardedError):
    """A method that the target does not have; `allowed` are those that it has."""

    status = 405
    title = "method not allowed"

    def __init__(self, what: str, hint: str = "", allowed: str = "GET, HEAD") -> None:
        super().__init__(what, hint)
        self.allowed = allowed


class UploadsOffError(RefusedError):
    """An upload while uploads are off."""

    code = "uploads-off"
    status = 403
    title = "uploads are off"
