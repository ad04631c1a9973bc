"""Character references of HTML, resolved whatever a server writes."""

from __future__ import annotations

import re
from html import unescape
from typing import Final

_LEADING_ZEROS: Final = re.compile(r"(&#[xX])0+(?=[0-9a-fA-F])|(&#)0+(?=[0-9])")
_LONG_NUMBER: Final = re.compile(r"&#(?:[0-9]{8,}|[xX][0-9a-fA-F]{7,});?")  # beyond Unicode


def unescaped(text: str) -> str:
    """A text with its character references resolved.

    `html.unescape` raises `ValueError` where a number has thousands of digits: Python 3.11 limits `int`.
    """
    return unescape(_LONG_NUMBER.sub("\N{REPLACEMENT CHARACTER}", _LEADING_ZEROS.sub(r"\1\2", text)))
