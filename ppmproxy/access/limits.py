"""The limits of client connections: how many there may be, and how long a client may take."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ppmproxy.access.descriptors import DescriptorShares


@dataclass(frozen=True, slots=True)
class Limits:
    """How many connections there may be, and how many seconds a client may take.

    uv opens 66 connections, more than any other client.
    """

    per_user: int = 512
    total: int = 1024
    refused: int = 64  # with a response that says why; as many again may wait for a place
    place: float = 4.0  # for a place; with ten seconds for the response it is less than pip waits
    silent: float = 2.0  # from the beginning of a connection on, after which one without a request counts as idle
    head: float = 20.0  # from the first byte of a request to the end of its headers
    body: float = 60.0  # between two pieces of a body
    idle: float = 75.0  # between two requests

    def within(self, shares: DescriptorShares) -> Limits:
        """The same with no more connections than descriptors."""
        total, refused = min(self.total, shares.clients), min(self.refused, shares.refused)
        return replace(self, per_user=min(self.per_user, total), total=total, refused=refused)
