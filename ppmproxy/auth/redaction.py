"""The redactor: the inventory of known secrets, and their masking in every text that leaves the process."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import NewType, cast
from urllib.parse import unquote

from structlog.typing import EventDict, WrappedLogger

from ppmproxy.auth.leaks import KnownRuns, runs_of
from ppmproxy.auth.secret import MASK, MASKED_PART_LENGTH, Secret, encoded_forms

SHORTEST_MASKED = 4  # characters; masking shorter values would make texts unreadable, and no token is that short
MOST_MASKED = 100  # secrets; then the one unused for longest is forgotten, as hourly tokens are after days

ServerText = NewType("ServerText", str)  # masked text of a server: no part of it shows a secret
_IN_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"})  # as `html.escape`
_FLAT = (str, int, float, type(None))
_USER_INFO = re.compile(r"(?<=://)[^\s'\"]*@")


class Redactor:
    """The known secrets in all their forms; masks them in texts and in nested values."""

    def __init__(self) -> None:
        self._by_secret: dict[tuple[Secret, str], tuple[frozenset[str], frozenset[str]]] = {}  # last used at the end
        self._longest_first: tuple[str, ...] = ()
        self._runs = KnownRuns()

    def __repr__(self) -> str:
        return f"Redactor({len(self._by_secret)} secrets)"

    @property
    def forms(self) -> frozenset[str]:
        """Every form of every secret: for comparing, never for printing."""
        return frozenset(self._longest_first)

    def add(self, secret: Secret, user: str = "__token__") -> None:
        """Mask a secret from now on; `user` is the one of its Basic authorization."""
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
        """A text with every known secret masked."""
        for form in self._longest_first:  # a regular expression of all forms would take long to compile
            if form in text:
                text = text.replace(form, MASK)
        return text

    def server_text(self, text: str) -> ServerText:
        """A text from a server, to be masked before it is cut or compared.

        The whole text is masked where a part of a secret is left in it, encoded or in pieces.
        """
        masked = self.text(text)
        return ServerText(MASK if self._runs.are_in(masked) else masked)

    def server_headers(self, headers: Iterable[tuple[str, str]]) -> list[tuple[ServerText, ServerText]]:
        """A server's headers with their values masked, and without those that have a secret in their name."""
        given = list(headers)
        everything = "\n".join(map("\n".join, given))
        if self.server_text(everything) == everything:
            return cast("list[tuple[ServerText, ServerText]]", given)
        return [(ServerText(name), self.server_text(value)) for name, value in given if self.server_text(name) == name]

    def is_in_url(self, url: str) -> bool:
        """Whether a URL has a secret in it; secrets as short as a word do not count."""
        readings = {url, unquote(url), unquote(unquote(url))}
        forms = [form for form in self._longest_first if len(form) >= MASKED_PART_LENGTH]
        return any(form in reading for form in forms for reading in readings)

    def is_in_body(self, text: str) -> bool:
        """Whether a body shows a secret or a part of one."""
        return self.text(text) != text or self._runs.are_in_body(text)

    def value(self, value: object) -> object:
        """A value masked at every depth; other objects than texts, numbers and containers become texts."""
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
        """Mask the fields of an event: a processor of structlog."""
        texts = "\n".join([item for item in event.values() if isinstance(item, str)])
        if self.text(texts) == texts and all(isinstance(item, _FLAT) for item in event.values()):
            return event
        return {key: item if key == "exc_info" else self.value(item) for key, item in event.items()}


def without_user_info(text: str) -> str:
    """A text with the user names and passwords of its URLs masked."""
    return _USER_INFO.sub(f"{MASK}@", text)


def _forms_in_texts(token: str, user: str) -> frozenset[str]:
    """The forms of a token, also as they stand in HTML, or between the quotes of JSON or of a Python ``repr``."""
    forms = {form for form in encoded_forms(token, user) if len(form) >= SHORTEST_MASKED}
    escaped = {form.replace("\\", r"\\") for form in forms}
    in_single_quotes = {form.replace("'", r"\'") for form in escaped}
    in_html = {form.translate(_IN_HTML) for form in forms}
    return frozenset(forms | escaped | in_single_quotes | in_html | {json.dumps(form)[1:-1] for form in forms})
