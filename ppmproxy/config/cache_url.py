"""The type of `cache_url`: where a second tier of the cache is, shared among machines. Never with a secret in it."""

from __future__ import annotations

import posixpath
from urllib.parse import unquote, urlsplit

from ppmproxy.config.location import Location
from ppmproxy.config.values import ValueType, string, toml_string

SCHEMES = ("s3", "gs", "az", "file")
_EXAMPLE = 'write it like "s3://bucket/prefix", "gs://bucket/prefix", "az://container/prefix" or "file:///folder"'


def _cache_url(value: object, location: Location) -> str:
    """The URL without a slash at its end; "" where there is no second tier."""
    text = string(value, location)
    if not text:
        return ""
    try:
        parts = urlsplit(text)
    except ValueError:
        raise location.error("is not a URL", _EXAMPLE) from None
    if parts.scheme not in SCHEMES:
        raise location.error("must begin with s3://, gs://, az:// or file://", _EXAMPLE)
    if "@" in parts.netloc:
        raise location.error(
            "has a user name or a password", "remove it: credentials come from the provider's own variables"
        )
    if parts.query or parts.fragment:
        raise location.error("has a query or a fragment", "leave that out: the provider's own variables say the rest")
    if parts.scheme == "file":
        return _folder(parts.netloc, parts.path, location)
    if not parts.netloc or ":" in parts.netloc:
        hint = f"{_EXAMPLE}; AWS_ENDPOINT_URL names another server than Amazon's"
        raise location.error("does not name a bucket", hint)
    prefix = parts.path.strip("/")
    if any(part in {"", ".", ".."} for part in prefix.split("/")) and prefix:
        raise location.error("has an empty part, . or .. in its prefix", _EXAMPLE)
    return f"{parts.scheme}://{parts.netloc}{f'/{prefix}' if prefix else ''}"


def _folder(host: str, path: str, location: Location) -> str:
    if host or not path.startswith("/") or path.strip("/") == "":
        raise location.error("does not name a folder by its full path", 'write it like "file:///mnt/shared/ppmproxy"')
    if not unquote(path).isprintable():
        raise location.error("has a control character in its path", "leave that out")
    return f"file://{posixpath.normpath(path)}"


def folder_of(url: str) -> str:
    """The path of a `file://` URL."""
    return unquote(urlsplit(url).path)


CACHE_URL = ValueType(_cache_url, toml_string, "URL")
