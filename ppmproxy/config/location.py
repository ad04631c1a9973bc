"""The location of a setting (file, line and key, variable or flag), and the errors that name it.

A message shows a wrong value only as `shown` has it: it may be a token in the wrong place.
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from ppmproxy.auth.secret import MASK
from ppmproxy.config.file import KeyPath, line_of
from ppmproxy.environment import expand_home
from ppmproxy.errors import LONGEST_SHOWN, ConfigError, one_line, shortened

SEE_EXAMPLE = "`ppmproxy config example` shows every key"

_LONGEST_NAME = 64  # of a key in a message; a token pasted as a key is cut short
_LARGEST_SHOWN = 1e18
_QUERY = re.compile(r"([?#]).+")
# Compiled for an error alone: that takes a hundredth of the time of `ppmproxy env`.
_TOKEN_LIKE = r"\beyJ[\w.=+/-]*|(?=[\w=+-]*[0-9])(?=[\w=+-]*[A-Za-z])[\w=+-]{16,}"  # noqa: S105 - a pattern
_SECRET_WORDS = ("token", "password", "passwd", "secret", "api_key", "apikey", "jwt")


class Layer(enum.Enum):
    """The layer of a value; later ones override earlier ones."""

    DEFAULT = "default"
    FILE = "file"
    ENVIRONMENT = "environment"
    FLAG = "flag"


@dataclass(frozen=True, slots=True)
class Location:
    """The location of one value: layer, name of file, variable or flag, and in a file the key's path."""

    layer: Layer
    name: str
    home: Path
    path: KeyPath = ()
    text: str = field(default="", repr=False)  # of the file, to find the line

    def __str__(self) -> str:
        return f"{self.layer.value} {self.name}".rstrip()

    def below(self, *path: str | int) -> Location:
        """The location of a nested key or list item."""
        return replace(self, path=self.path + path)

    def error(self, what: str, hint: str = SEE_EXAMPLE) -> ConfigError:
        """The error for the value at this location; `what` goes on in the sentence that begins with the key."""
        return ConfigError(f"{self._located()} {what}", hint)

    def refused(self, value: object, why: str, hint: str = SEE_EXAMPLE) -> ConfigError:
        """The error that shows the value at this location, and goes on with why it is wrong."""
        return self.error(f"is {shown(value)}, {why}", hint)

    def _located(self) -> str:
        if self.layer is not Layer.FILE:
            return dotted((self.name, *self.path))
        line = line_of(self.text, self.path)
        place = ", ".join(filter(None, (self.name, f"line {line}" if line else "")))
        return ": ".join(filter(None, (place, dotted(self.path))))

    def path_of(self, text: str) -> Path:
        """A path from the value: ``~`` is the home folder; a relative one in a file starts at the file's folder."""
        path = expand_home(text, self.home)
        return Path(self.name).parent / path if self.layer is Layer.FILE else path


def shown(value: object) -> str:
    """A value for people: short, in quotation marks, and with ``****`` in the place of what may be a secret.

    That is what stands before an @ or behind a ? or # in a URL, and what is as long as a token, of letters and digits.
    """
    if isinstance(value, (int, float)):
        return str(value) if abs(value) < _LARGEST_SHOWN else "a number of that size"
    text = one_line(str(value))
    before, at, after = text.rpartition("@")
    scheme = re.match("[a-z+]*://", before, re.IGNORECASE)
    text = f"{scheme[0] if scheme else ''}{MASK}@{after}" if at else text
    text = re.sub(_TOKEN_LIKE, MASK, _QUERY.sub(rf"\1{MASK}", text))
    return f'"{shortened(text, LONGEST_SHOWN)}"'


def dotted(path: KeyPath) -> str:
    """A key's path as in TOML, list items counted from 1 in brackets: ``upstream.a.credentials[1]``."""
    text = ""
    for step in path:
        text += f"[{step + 1}]" if isinstance(step, int) else f".{_key(step)}" if text else _key(step)
    return text


def _key(name: str) -> str:
    short = name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…"
    return short if re.fullmatch(r"[A-Za-z0-9_-]+…?", short) else json.dumps(short)


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that is most similar."""
    import difflib  # noqa: PLC0415 - for mistakes alone

    return difflib.get_close_matches(name[:_LONGEST_NAME].lower(), list(known), n=1, cutoff=0)[0]


def one_of(words: Iterable[str]) -> str:
    """``a, b or c``."""
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


def unknown_key(location: Location, name: str, known: Iterable[str]) -> ConfigError:
    """The error for an unknown key: it names the nearest known key, or where a secret belongs."""
    return location.error(
        "is not a key of the settings",
        _secret_hint(name) or f"the nearest key is {nearest(name, known)}; {SEE_EXAMPLE}",
    )


def looks_secret(name: str) -> bool:
    """Whether a key of this name looks like one for a secret."""
    return any(word in name.lower().replace("-", "_") for word in _SECRET_WORDS)


def _secret_hint(name: str) -> str:
    """Where a secret belongs, for a key that looks like one for a secret or its file; else empty."""
    plain = name.lower().replace("-", "_")
    if plain == "token_file":
        return 'write [[credentials]] with from = "file" and path = "…", or set PPMPROXY_TOKEN_FILE'
    if looks_secret(name):
        return (
            "put the token into a file, and name that in PPMPROXY_TOKEN_FILE or in [[credentials]] "
            'with from = "file" and path'
        )
    return ""
