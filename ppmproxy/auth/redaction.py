"""The secrets known so far, masked in every text that leaves the process."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from structlog.typing import EventDict, WrappedLogger

from ppmproxy.auth.secret import MASK, Secret, encoded_forms

SHORTEST_MASKED = 4  # a shorter value would blot out half of every line; no server hands out such tokens
MOST_MASKED = 100  # secrets: the one unused for longest is forgotten, or a year of hourly tokens would slow every line


class Redactor:
    """The secrets known so far, in every form; replaces them in text and in nested values."""

    def __init__(self) -> None:
        self._by_secret: dict[tuple[Secret, str], frozenset[str]] = {}  # the one used last at the end
        self._longest_first: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Mask({len(self._by_secret)} secrets)"

    @property
    def forms(self) -> frozenset[str]:
        """Every form of every secret: for replacing them elsewhere, never for printing."""
        return frozenset(self._longest_first)

    def add(self, secret: Secret, user: str = "__token__") -> None:
        """Mask a secret from now on, as it is and as it goes over the wire."""
        known = self._by_secret.pop((secret, user), None)
        self._by_secret[secret, user] = known or _forms_in_texts(secret.reveal(), user)
        if known is not None:
            return
        if len(self._by_secret) > MOST_MASKED:
            del self._by_secret[next(iter(self._by_secret))]
        forms: frozenset[str] = frozenset().union(*self._by_secret.values())
        self._longest_first = tuple(sorted(forms, key=len, reverse=True))

    def text(self, text: str) -> str:
        """The same text with every known secret masked."""
        for form in self._longest_first:  # one expression for all of them would take long to compile
            if form in text:
                text = text.replace(form, MASK)
        return text

    def value(self, value: object) -> object:
        """The same value, masked at every depth; what is neither text nor a container is turned into text if needed."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(str(key)): self.value(item) for key, item in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self.value(item) for item in value]
        if value is None or isinstance(value, (bool, int, float)):
            return value
        return self.text(str(value))

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        """Processor that masks the fields of an event; the text is masked once more when it is rendered."""
        return {key: item if key == "exc_info" else self.value(item) for key, item in event.items()}


def _forms_in_texts(token: str, user: str) -> frozenset[str]:
    """What a token looks like as it stands, and between the quotes of JSON or of a Python ``repr``."""
    forms = {form for form in encoded_forms(token, user) if len(form) >= SHORTEST_MASKED}
    escaped = {form.replace("\\", r"\\") for form in forms}
    in_single_quotes = {form.replace("'", r"\'") for form in escaped}
    return frozenset(forms | escaped | in_single_quotes | {json.dumps(form)[1:-1] for form in forms})


def without(headers: Sequence[tuple[str, str]], secrets: Iterable[str]) -> list[tuple[str, str]]:
    """The same headers with every occurrence of a secret masked: an upstream may echo what it was sent."""
    forms = sorted(secrets, key=len, reverse=True)
    return [(name, _masked(value, forms)) for name, value in headers]


def _masked(value: str, forms: Iterable[str]) -> str:
    for form in forms:
        value = value.replace(form, MASK)
    return value
