"""The file descriptors of the process, shared between client connections and connections to the upstream.

Every connection takes one. Without a share of their own, connections to the upstream and look-ups of its name fail as
soon as clients hold all of them, however idle these are.
"""

from __future__ import annotations

from dataclasses import dataclass

OWN = 20  # stdio, event loop, listeners, files that are read, and connections that are accepted and not yet decided on
MIN_SPARE = 8  # of which each side gets its half even below any sensible limit
MAX_REFUSED = 64


@dataclass(frozen=True, slots=True)
class DescriptorShares:
    """How many descriptors each purpose may take."""

    clients: int  # admitted connections
    refused: int  # connections that get a response that says why; as many again may wait for a place
    upstream: int
    accepted_at_once: int  # connections accepted in one round of the event loop, before anything is decided on them

    @classmethod
    def of(cls, limit: int) -> DescriptorShares:
        """The shares for a limit of open files."""
        spare = max(limit - OWN, MIN_SPARE)
        refused = min(MAX_REFUSED, max(1, spare // 16))
        upstream = (spare - 2 * refused) // 2
        return cls(spare - 2 * refused - upstream, refused, upstream, min(16, max(1, limit // 64)))
