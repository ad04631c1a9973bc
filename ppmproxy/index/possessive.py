"""Regular expressions whose repeats give nothing back.

To change how such expressions reach a Python that does not know them, open this file.

A possessive repeat (``*+``, ``++``, ``?+``; Python 3.11, `re`) keeps what it took. Where what follows could match
nothing of that, it finds the same as an ordinary one, but remembers no way back: index pages are read in three quarters
of the time. Only characters are repeated so: with groups it went wrong before Python 3.11.5 (cpython issue 106052).
"""

from __future__ import annotations

import re
import sys
from typing import AnyStr, Final

_KNOWN: Final = sys.version_info >= (3, 11)
_POSSESSIVE: Final = re.compile(r"(?<=[*+?])\+")


def repeats(pattern: AnyStr) -> AnyStr:
    r"""The pattern for this Python, with ordinary repeats in place of possessive ones before 3.11.

    It must have no ``+`` behind a ``*``, ``+`` or ``?`` that means itself, as in ``[*+]``.
    """
    if _KNOWN:
        return pattern
    if isinstance(pattern, str):
        return _POSSESSIVE.sub("", pattern)
    return _POSSESSIVE.sub("", pattern.decode("latin-1")).encode("latin-1")
