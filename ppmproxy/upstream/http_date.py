"""Dates of HTTP (RFC 9110 section 5.6.7), as the other side wrote them."""

from __future__ import annotations

from email.utils import parsedate_to_datetime


def seconds_since_epoch(date: str | None) -> float | None:
    """The moment of a date; None for what is none, or one that no clock has."""
    try:
        return parsedate_to_datetime(date).timestamp() if date else None
    except (TypeError, ValueError, IndexError, OverflowError, OSError):
        return None
