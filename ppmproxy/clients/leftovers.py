"""Variables of a person's that clients go by besides the proxy: second indexes, and keyrings with passwords."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from ppmproxy.clients.index_settings import origin_shown
from ppmproxy.clients.local_urls import LocalUrls
from ppmproxy.environment import Environment

KEYRING_OFF = frozenset({"disabled", "auto"})  # pip's "auto" asks only what is installed beside it, and after a 401
_INDEXES = ("PIP_EXTRA_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL")
_KEYRINGS = ("PIP_KEYRING_PROVIDER", "UV_KEYRING_PROVIDER")


@dataclass(frozen=True, slots=True)
class Leftover:
    """A variable that goes before the proxy, its value beside the proxy ("" for none), and what is dropped of it."""

    variable: str
    value: str
    dropped: tuple[str, ...] = ()  # as it may be shown

    @property
    def off(self) -> str:
        """What pip and uv take for the same as no variable, where one cannot be unset."""
        return "disabled" if self.variable in _KEYRINGS else ""

    def __str__(self) -> str:
        return f"{self.variable} ({', '.join(self.dropped)})" if self.dropped else self.variable


def leftovers(environ: Mapping[str, str], urls: LocalUrls) -> Iterator[Leftover]:
    """Those of these variables; URLs of an upstream become the proxy's, all others are dropped."""
    for name in _INDEXES:
        words = environ.get(name, "").split()
        local = [_local(word, urls) for word in words]
        kept = [word for word in local if urls.is_local(_parts_of(word)[1])]
        dropped = [origin_shown(_parts_of(word)[1]) for word in local if word not in kept]
        if kept != words:
            yield Leftover(name, " ".join(kept), tuple(dict.fromkeys(dropped)))
    for name in _KEYRINGS:
        if environ.get(name, "disabled") not in KEYRING_OFF:
            yield Leftover(name, "")


def with_leftovers_cleared(environment: Environment, found: Iterable[Leftover]) -> Environment:
    """The environment as it is with the values beside the proxy."""
    return replace(environment, environ={**environment.environ, **{one.variable: one.value for one in found}})


def _local(word: str, urls: LocalUrls) -> str:
    name, url = _parts_of(word)
    return name + urls.local(url)


def _parts_of(word: str) -> tuple[str, str]:
    """``name=`` and the URL of a word that names it, as uv allows; else "" and the URL."""
    name, separator, url = word.partition("=")
    return (f"{name}=", url) if separator and "://" in url and "://" not in name else ("", word)
