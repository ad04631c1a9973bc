"""What is wrong with a request as a message of HTTP: too slow, too large, another version."""

from __future__ import annotations

from ppmproxy.errors import BadTargetError, RefusedError


class TooSlowError(RefusedError):
    """A request that was not complete in time."""

    code = "too-slow"
    status = 408
    title = "request took too long"


class HeadTooLargeError(BadTargetError):
    """A request head larger than any client has reason to send."""

    status = 431
    title = "request head too large"


class OtherVersionError(BadTargetError):
    """HTTP/2.0 or HTTP/0.9 in a request line."""

    status = 505
    title = "version of HTTP not supported"
