"""Sizes as people read them; `values` has the exact form of the settings, in the same units."""

from __future__ import annotations

_STEP = 1024


def size_text(size: float) -> str:
    """A number of bytes, rounded."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < _STEP:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= _STEP
    return f"{size:.1f} TiB"
