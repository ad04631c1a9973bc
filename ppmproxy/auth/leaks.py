"""Whether a server's answer may contain the token that it was sent."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ppmproxy.auth.character_references import unescaped

_ESCAPED = re.compile(r"\\(?:u([0-9a-fA-F]{4})|/)")  # in JSON, as some write it


_ANY_TAG = re.compile(r"<[^<>]*>")


def contains_any(body: bytes, forms: Iterable[str]) -> bool:
    """Whether a server says back what it was sent, even with tags or blanks in between, which hide it from a mask."""
    text = body.decode("utf-8", "replace")
    plain = _ESCAPED.sub(lambda found: chr(int(found[1], 16)) if found[1] else "/", text)
    squeezed = {"".join(one.split()) for one in (text, plain, unescaped(_ANY_TAG.sub("", text)))}
    return any("".join(form.split()) in one for form in forms for one in squeezed)
