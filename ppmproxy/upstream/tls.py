"""TLS settings of connections to the Package Manager: trusted authorities and the client certificate.

The operating system decides (truststore): on Linux OpenSSL's paths, so ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` count;
on macOS and Windows the system's own verification. ``ca_file`` adds to that and never replaces it.

The files are read again when one of them changes: an authority that is added, or a client certificate that is renewed,
counts within a second, and at once where a connection has failed without it.
"""

from __future__ import annotations

import os
import re
import ssl
import stat
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import structlog
import truststore

from ppmproxy.config.model import Upstream
from ppmproxy.errors import ConfigError
from ppmproxy.files import Fingerprint, fingerprint_of, read_regular_file

CHECK_INTERVAL = 1.0  # seconds between two looks at the files
LARGEST_BUNDLE = 64 << 20  # bytes
FEW = 10  # authorities; a bundle of the usual ones has over a hundred

_HASHED_NAME = re.compile(r"[0-9a-f]{8}\.[0-9]+")
_OPENSSL_VERIFIES = not sys.platform.startswith(("darwin", "win"))

Fingerprints = tuple[Fingerprint | None, ...]
"""One for each file, which changes when the file does; None for a file that is not there."""


class Trust:
    """Authorities and client certificate for connections to an upstream, or to where it redirects.

    The client certificate is for the upstream itself, never for another origin.
    """

    def __init__(
        self, upstream: Upstream, *, with_client_certificate: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        identity = (upstream.client_cert, upstream.client_key) if with_client_certificate else (None, None)
        self._files = _CertificateFiles(upstream.ca_file, *identity)
        self._watched = [*_system_files(), *map(str, filter(None, (upstream.ca_file, *identity)))]
        self._clock = clock
        self._checked_at = float("-inf")
        self._fingerprints: Fingerprints = ()
        self._context: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        """A client's context, from the files as they are now.

        Raises `ConfigError` when they cannot be used the first time; later, when they may be in the middle of being
        replaced, the context that was read before stays in use.
        """
        now = self._clock()
        if self._context is not None and now - self._checked_at < CHECK_INTERVAL:
            return self._context
        self._checked_at = now
        fingerprints = tuple(map(_fingerprint, self._watched))
        if self._context is None or fingerprints != self._fingerprints:
            try:
                self._context = _context(self._files, fingerprints)
            except ConfigError as error:
                if self._context is None:
                    raise
                log = structlog.get_logger("ppmproxy")
                log.warning("certificates_not_read", why=str(error), consequence="those read before stay in use")
            self._fingerprints = fingerprints
        return self._context

    def connection_failed(self) -> None:
        """Have the next request look at the files: somebody may be about to mend them."""
        self._checked_at = float("-inf")


@dataclass(frozen=True, slots=True)
class _CertificateFiles:
    """The files that the settings name."""

    ca_file: Path | None
    client_cert: Path | None
    client_key: Path | None


def _fingerprint(path: str) -> Fingerprint | None:
    try:
        return fingerprint_of(os.stat(path))  # noqa: PTH116 - once for each file of each request
    except OSError:
        return None


@lru_cache(maxsize=16)
def _context(files: _CertificateFiles, _fingerprints: Fingerprints) -> ssl.SSLContext:
    context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if files.ca_file is not None:
        _load_ca_file(context, str(files.ca_file))
    if files.client_cert is not None:
        _load_client_certificate(context, files.client_cert, files.client_key)
    return _with_store_loaded(context)


def _with_store_loaded(context: ssl.SSLContext) -> ssl.SSLContext:
    """The same context with the system's certificates already loaded.

    truststore loads them for each connection, and a bundle of them takes tens of milliseconds in which nobody is
    served. Where OpenSSL verifies, the context behind truststore's is complete once one connection was prepared with
    it.
    """
    if not _OPENSSL_VERIFIES:
        return context
    loaded = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="localhost").context
    loaded.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # an intermediate in ca_file is enough, as in curl and uv
    loaded.hostname_checks_common_name = False  # as pip, uv and browsers: RFC 9110 section 4.3.4
    return loaded


def _load_ca_file(context: ssl.SSLContext, path: str) -> None:
    try:
        _check_regular(path)
        context.load_verify_locations(cafile=path)
    except (OSError, ssl.SSLError) as error:
        what = f"ca_file {path} cannot be used: {_reason(error)}"
        raise ConfigError(what, "name a readable PEM file with the certificate authority's certificate") from error


def _load_client_certificate(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    def no_passphrase() -> str:
        # Without this OpenSSL would ask on the terminal and hang a service.
        msg = "the key is protected by a passphrase"
        raise ConfigError(msg, "store the key without one, readable for you alone")

    try:
        for path in filter(None, (certificate, key)):
            _check_regular(str(path))
        context.load_cert_chain(str(certificate), key and str(key), no_passphrase)
    except (OSError, ssl.SSLError) as error:
        what = f"client_cert {certificate} cannot be used: {_reason(error)}"
        raise ConfigError(what, "name readable PEM files with the certificate and its key") from error


def _check_regular(path: str) -> None:
    """OpenSSL would wait for ever for a writer of a named pipe, and no signal could end that."""
    if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116
        raise OSError(None, "not a regular file")


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not a PEM file").replace("_", " ").lower()
    return error.strerror or str(error)


def names_own_authorities() -> bool:
    """Whether ``SSL_CERT_FILE`` names a file of few authorities, which somebody chose, and no bundle of the usual."""
    named = os.environ.get(ssl.get_default_verify_paths().openssl_cafile_env)
    try:
        return bool(named) and read_regular_file(Path(named or ""), LARGEST_BUNDLE)[0].count(b"-----BEGIN") <= FEW
    except OSError:
        return False


def store_mistake() -> str:
    """What is wrong with the first variable that names authorities which cannot be used; "" when none does."""
    paths = ssl.get_default_verify_paths()
    for variable, problem in ((paths.openssl_cafile_env, _file_problem), (paths.openssl_capath_env, _folder_problem)):
        named = os.environ.get(variable)
        why = problem(named) if named else ""
        if why:
            return f"{variable} names {named}, {why}"
    return ""


def _file_problem(named: str) -> str:
    try:
        content, _ = read_regular_file(Path(named), LARGEST_BUNDLE)
        if not content:
            return "which is empty"
        if b"-----BEGIN" not in content:
            return "which is not in PEM: `openssl x509 -inform der` converts it from DER"
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=named)
    except OSError as error:
        return f"which cannot be used: {_reason(error).lower()}"
    return ""


def _folder_problem(named: str) -> str:
    """OpenSSL takes several folders, and certificates by the hash of their subject: ``5ed36f99.0``."""
    names: list[str] = []
    for folder in named.split(os.pathsep):
        with suppress(OSError):
            names += os.listdir(folder)  # noqa: PTH208 - names are all that is wanted
    if any(_HASHED_NAME.fullmatch(name) for name in names):
        return ""
    return "which has no certificate under the hash of its subject: `openssl rehash` makes these names"


def store_in_use() -> str:
    """Where trusted authorities are looked for, for people."""
    file, folder = _system_files()
    return f"the operating system's store ({file}, {folder})"


def _system_files() -> tuple[str, str]:
    """OpenSSL's bundle and its folder of certificates, whether or not they are there."""
    paths = ssl.get_default_verify_paths()
    return (
        os.environ.get(paths.openssl_cafile_env) or paths.openssl_cafile,
        os.environ.get(paths.openssl_capath_env) or paths.openssl_capath,
    )
