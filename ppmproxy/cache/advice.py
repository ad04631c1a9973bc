"""Advice for a cache that cannot be used, by the words of SQLite and of the operating system."""

from __future__ import annotations

from typing import Final

AT_THE_MOMENT: Final = "cannot be used at the moment"
NOT_WRITTEN: Final = "cannot be written"
CLEAR: Final = "run `ppmproxy cache clear`, or name another cache_dir"  # for a damaged database
_ADVICE: Final = {
    "free disk space there, or lower cache_max_size": ("disk is full", "no space left", "quota exceeded"),
    "end the other process that uses it, or name another cache_dir": ("is locked",),
    "check that disk and its permissions, or name another cache_dir": (
        *("i/o error", "input/output error", "unable to open", "readonly", "read-only", "permission denied"),
        "operation not permitted",
    ),
}


def is_passing(trouble: str) -> bool:
    """Whether the daemon uses the cache again by itself, once the cause is gone."""
    return AT_THE_MOMENT in trouble or NOT_WRITTEN in trouble


def advice_for(why: str) -> str:
    """What a person can do, by the reason why the cache is not in use."""
    lowered = why.rpartition(": ")[2].lower()  # without the path
    return next((advice for advice, words in _ADVICE.items() if any(word in lowered for word in words)), CLEAR)
