"""HTML in which every value is escaped: the one way in which the page for people is written.

A template is a constant of this program; what is filled in is text unless it is `Html` itself. Values stand between
tags or between double quotes, never in a script, a style or an address that could be a script (`link`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape

# Controls, halves of surrogate pairs, and what turns the direction of the text around it.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_SCHEMES = ("https://", "http://")


class Html(str):
    """HTML of this program's own making, with all values escaped."""

    __slots__ = ()


def markup(template: str, **values: object) -> Html:
    """A template with its values filled in, each escaped unless it is `Html`; None is nothing."""
    return Html(template.format_map({name: _filled_in(value) for name, value in values.items()}))


def joined(parts: Iterable[Html]) -> Html:
    """Several pieces, one after the other."""
    return Html("".join(parts))


def link(address: str, text: str) -> Html:
    """A link in a new window to a web address; only the text for any other address."""
    if not address.lower().startswith(_SCHEMES):
        return markup("{text}", text=text)
    return markup(
        '<a href="{address}" target="_blank" rel="noopener noreferrer">{text}</a>', address=address, text=text
    )


def prose(text: str) -> Html:
    """A sentence in which commands stand between backticks."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return markup("{text}", text=text)
    return joined(
        markup("<code>{part}</code>" if at % 2 else "{part}", part=part) for at, part in enumerate(parts) if part
    )


def _filled_in(value: object) -> str:
    if isinstance(value, Html):
        return value
    return "" if value is None else escape(_UNPRINTABLE.sub("\ufffd", str(value)))
