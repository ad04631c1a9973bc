"""The environment variables for uploads, where an upstream takes them."""

from __future__ import annotations

from collections.abc import Sequence

from ppmproxy.clients.local_urls import LocalUrls
from ppmproxy.environment import Environment


def upload_variables(environment: Environment, urls: LocalUrls, command: Sequence[str] = ()) -> dict[str, str]:
    """The variables, on top of the caller's, where uploads are on; `command` is what will be run with them."""
    if not any(upstream.uploads for upstream in urls.upstreams):
        return {}
    from ppmproxy.clients.upload_clients import variables_of_clients  # noqa: PLC0415 - seldom on

    return variables_of_clients(environment, urls, command)
