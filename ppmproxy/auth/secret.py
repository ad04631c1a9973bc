"""Secrets: a type that is never printed by accident, and the encoded forms of a token."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from urllib.parse import quote

MASK = "****"


class Secret:
    """A value that prints as ``****``; the one way to read it is `reveal`.

    Not a `str`: it cannot be formatted, joined, logged or serialised by accident.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself: for the wire, and for masking it elsewhere."""
        return self._value

    @property
    def has_parts(self) -> bool:
        """Whether it has dots, as a JWT has (RFC 7519)."""
        return "." in self._value

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> str | tuple[object, ...]:
        msg = "a Secret is not pickled"
        raise TypeError(msg)


def jwt_parts(token: str) -> list[str]:
    """Header, payload and signature of a JWT (RFC 7515 section 3.1), whose header is no secret; else []."""
    parts = token.split(".")
    return parts if len(parts) == 3 else []  # noqa: PLR2004 - these three


def encoded_forms(token: str, user: str = "__token__") -> frozenset[str]:
    """The forms of a token that are masked in texts.

    Raw, in lower case (as in a host name), as ``user:token`` in base64, the token alone in base64 in all three
    alignments, the secret parts of a JWT, and all of these percent-encoded.
    """
    forms = {token, token.lower()}
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        whole = [encode(text.encode()).decode() for text in (f"{user}:{token}", f"__token__:{token}", token)]
        forms.update(whole, (encoded.rstrip("=") for encoded in whole))
        forms.update(_within_base64(token.encode(), encode))
    forms.update(part for part in jwt_parts(token)[1:] if len(part) >= MASKED_PART_LENGTH)
    quoted = [quote(form, safe) for form in forms for safe in ("", "/")]
    forms.update(quoted, (_ESCAPE.sub(lambda escape: escape[0].lower(), form) for form in quoted))
    return frozenset(form for form in forms if form)


def _within_base64(token: bytes, encode: Callable[[bytes], bytes]) -> Iterator[str]:
    """The base64 digits that depend on the token alone, for each alignment to groups of three bytes (RFC 4648)."""
    for before, undecided in ((0, 0), (1, 2), (2, 3)):  # bytes before it in the group; digits those have a part in
        padded = bytes(before) + token
        digits = encode(padded).decode()[undecided : 8 * len(padded) // 6]
        if len(digits) >= MASKED_PART_LENGTH:
            yield digits


_ESCAPE = re.compile("%[0-9A-F]{2}")


MASKED_PART_LENGTH = 8
