"""The inventory of known secrets, and their masking in every text that leaves the process."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import NewType
from urllib.parse import unquote

from structlog.typing import EventDict, WrappedLogger

from ppmproxy.auth.leaks import KnownRuns, runs_of
from ppmproxy.auth.secret import MASK, MASKED_PART_LENGTH, Secret, encoded_forms

SHORTEST_MASKED = 4  # a shorter value would blot out half of every line; no server hands out such tokens
MOST_MASKED = 100  # secrets: the one unused for longest is forgotten, or a year of hourly tokens would slow every line

ServerText = NewType("ServerText", str)  # of a server, and masked: a part of it shows no more than the whole
_USER_INFO = re.compile(r"(?<=://)[^\s'\"]*@")


class Redactor:
    """The secrets known so far, in every form; replaces them in text and in nested values."""

    def __init__(self) -> None:
        self._by_secret: dict[tuple[Secret, str], tuple[frozenset[str], frozenset[str]]] = {}  # last used at the end
        self._longest_first: tuple[str, ...] = ()
        self._runs = KnownRuns()

    def __repr__(self) -> str:
        return f"Redactor({len(self._by_secret)} secrets)"

    @property
    def forms(self) -> frozenset[str]:
        """Every form of every secret: for replacing them elsewhere, never for printing."""
        return frozenset(self._longest_first)

    def add(self, secret: Secret, user: str = "__token__") -> None:
        """Mask a secret from now on, as it is and as it goes over the wire."""
        known = self._by_secret.pop((secret, user), None)
        self._by_secret[secret, user] = known or (_forms_in_texts(secret.reveal(), user), runs_of(secret.reveal()))
        if known is not None:
            return
        if len(self._by_secret) > MOST_MASKED:
            del self._by_secret[next(iter(self._by_secret))]
        forms: frozenset[str] = frozenset().union(*(forms for forms, _ in self._by_secret.values()))
        self._longest_first = tuple(sorted(forms, key=len, reverse=True))
        self._runs = KnownRuns(runs for _, runs in self._by_secret.values())

    def text(self, text: str) -> str:
        """The same text with every known secret masked."""
        for form in self._longest_first:  # one expression for all of them would take long to compile
            if form in text:
                text = text.replace(form, MASK)
        return text

    def server_text(self, text: str) -> ServerText:
        """A text from a server, masked before anything else is done with it.

        It is masked as a whole where something of a secret is left in it, encoded or in pieces.
        """
        masked = self.text(text)
        return ServerText(MASK if self._runs.are_in(masked) else masked)

    def server_headers(self, headers: Iterable[tuple[str, str]]) -> list[tuple[ServerText, ServerText]]:
        """A server's headers with their values masked, and without those that have a secret in their name."""
        given = [(ServerText(name), ServerText(value)) for name, value in headers]
        everything = "\n".join(part for header in given for part in header)
        if self.server_text(everything) == everything:
            return given
        return [(name, self.server_text(value)) for name, value in given if self.server_text(name) == name]

    def is_in_url(self, url: str) -> bool:
        """Whether a URL has a secret in it; one that is a mere word may be there by chance."""
        readings = {url, unquote(url), unquote(unquote(url))}
        forms = [form for form in self._longest_first if len(form) >= MASKED_PART_LENGTH]
        return any(form in reading for form in forms for reading in readings)

    def is_in_body(self, text: str) -> bool:
        """Whether a body gives anything of a secret away."""
        return self.text(text) != text or self._runs.are_in_body(text)

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


def without_user_info(text: str) -> str:
    """A text with the user names and passwords of its URLs masked."""
    return _USER_INFO.sub(f"{MASK}@", text)


def _forms_in_texts(token: str, user: str) -> frozenset[str]:
    """What a token looks like as it stands, and between the quotes of JSON or of a Python ``repr``."""
    forms = {form for form in encoded_forms(token, user) if len(form) >= SHORTEST_MASKED}
    escaped = {form.replace("\\", r"\\") for form in forms}
    in_single_quotes = {form.replace("'", r"\'") for form in escaped}
    return frozenset(forms | escaped | in_single_quotes | {json.dumps(form)[1:-1] for form in forms})
