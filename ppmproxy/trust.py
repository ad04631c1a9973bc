"""Which certificate authorities are trusted, and what is missing when one is not.

To change whom the proxy believes over TLS, open this file.

The operating system decides (truststore): on Linux OpenSSL's paths, so ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` count;
on macOS and Windows the system's own verification. ``ca_file`` adds to that and never replaces it.
"""

from __future__ import annotations

import os
import ssl
import stat

import truststore

from ppmproxy.errors import ConfigError
from ppmproxy.settings import Upstream


def tls_context(upstream: Upstream, *, with_client_certificate: bool) -> ssl.SSLContext:
    """A client context that trusts the system and the upstream's `ca_file`.

    The client certificate is for the upstream itself, never for another origin. Raises `ConfigError`.
    """
    context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if upstream.ca_file is not None:
        _load_ca_file(context, str(upstream.ca_file))
    if with_client_certificate and upstream.client_cert is not None:
        _load_client_certificate(context, upstream)
    return context


def _load_ca_file(context: ssl.SSLContext, path: str) -> None:
    try:
        _check_regular(path)
        context.load_verify_locations(cafile=path)
    except (OSError, ssl.SSLError) as error:
        what = f"ca_file {path} cannot be used: {_reason(error)}"
        raise ConfigError(what, "name a readable PEM file with the certificate authority's certificate") from error


def _load_client_certificate(context: ssl.SSLContext, upstream: Upstream) -> None:
    def no_passphrase() -> str:
        # Without this OpenSSL would ask on the terminal and hang a service.
        msg = "the key is protected by a passphrase"
        raise ConfigError(msg, "store the key without one, readable for you alone")

    try:
        for path in filter(None, (upstream.client_cert, upstream.client_key)):
            _check_regular(str(path))
        context.load_cert_chain(
            str(upstream.client_cert), upstream.client_key and str(upstream.client_key), no_passphrase
        )
    except (OSError, ssl.SSLError) as error:
        what = f"client_cert {upstream.client_cert} cannot be used: {_reason(error)}"
        raise ConfigError(what, "name readable PEM files with the certificate and its key") from error


def _check_regular(path: str) -> None:
    """OpenSSL would wait for ever for somebody to write into a named pipe, and no signal could end that."""
    if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116
        raise OSError(None, "not a regular file")


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not a PEM file").replace("_", " ").lower()
    return error.strerror or str(error)


def store_in_use() -> str:
    """Where trusted authorities are looked for, for people."""
    paths = ssl.get_default_verify_paths()
    file = os.environ.get(paths.openssl_cafile_env) or paths.openssl_cafile
    folder = os.environ.get(paths.openssl_capath_env) or paths.openssl_capath
    return f"the operating system's store ({file}, {folder})"
