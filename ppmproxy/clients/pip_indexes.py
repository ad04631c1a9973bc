"""Indexes in pip's own settings, and the variable that points second ones of the Package Manager at the proxy.

pip asks all its indexes and takes the highest version. A variable goes before pip's files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ppmproxy.clients.index_settings import IndexSetting, Role, read_environment, settings_in_force
from ppmproxy.clients.local_urls import LocalUrls
from ppmproxy.clients.paths import pip_files
from ppmproxy.clients.toml_settings import text_in
from ppmproxy.environment import Environment


def extra_indexes(environment: Environment) -> list[IndexSetting]:
    """The extra indexes of pip in force, from variables and files; a file is parsed where it seems to name one."""
    settings = [one for one in read_environment(environment.environ) if one.client == "pip"]
    if any("extra" in text_in(path).lower() for path in pip_files(environment)):
        from ppmproxy.clients.survey import Survey  # noqa: PLC0415 - the readers of all clients' files

        found = Survey(settings)
        found.add_pip(environment)
        settings = found.settings
    return [one for one in settings_in_force(settings) if one.role is Role.EXTRA]


def pip_variables(settings: Sequence[IndexSetting], urls: LocalUrls) -> dict[str, str]:
    """``PIP_EXTRA_INDEX_URL`` where one of these extra indexes is an upstream's; the others stay in it."""
    extra = [one.value for one in settings]
    if not any(map(urls.is_upstream, extra)):
        return {}
    return {"PIP_EXTRA_INDEX_URL": " ".join(dict.fromkeys(map(urls.local, extra)))}


def second_indexes(settings: Sequence[IndexSetting], urls: LocalUrls) -> Iterator[IndexSetting]:
    """Those extra indexes that are neither the proxy's nor an upstream's."""
    for one in settings:
        if not urls.is_local(one.value) and not urls.is_upstream(one.value):
            yield one
