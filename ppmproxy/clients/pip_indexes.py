"""Second indexes in pip's own settings, and the variable that points those of the Package Manager at the proxy.

pip asks all its indexes and takes the highest version. A variable goes before pip's files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ppmproxy.clients.index_settings import IndexSetting, Role
from ppmproxy.clients.local_urls import LocalUrls


def pip_variables(settings: Sequence[IndexSetting], urls: LocalUrls) -> dict[str, str]:
    """``PIP_EXTRA_INDEX_URL`` where one of these settings in force names an upstream; other indexes stay in it."""
    extra = [one.value for one in settings if one.role is Role.EXTRA]
    if not any(map(urls.is_upstream, extra)):
        return {}
    return {"PIP_EXTRA_INDEX_URL": " ".join(dict.fromkeys(map(urls.local, extra)))}


def second_indexes(settings: Sequence[IndexSetting], urls: LocalUrls) -> Iterator[IndexSetting]:
    """The settings that name an index which is neither the proxy nor an upstream."""
    for one in settings:
        if one.role is Role.EXTRA and not urls.is_local(one.value) and not urls.is_upstream(one.value):
            yield one
