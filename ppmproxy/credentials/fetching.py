"""Fetching with a credential: the interface between the handler of a request and the code that gets the response.

The handler calls a `Fetcher`. The server's own one sends the request upstream; others may stand in front of it, each
with the same interface.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from ppmproxy.credentials.lookup import LookupResult
from ppmproxy.index.routing import Target
from ppmproxy.upstream.messages import UpstreamRequest, UpstreamResponse


class Fetcher(Protocol):
    """Gets the answer to one request."""

    def fetch(
        self, target: Target, request: UpstreamRequest, lookup: LookupResult
    ) -> AbstractAsyncContextManager[UpstreamResponse]:
        """The answer, for as long as the context lasts; raises the `PpmProxyError` that explains why there is none.

        `lookup` holds the credential to begin with; `UpstreamResponse.credential` is the one that was accepted.
        """
        ...
