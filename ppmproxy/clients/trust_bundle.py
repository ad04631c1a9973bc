"""A bundle of trusted certificates for one run: the system's, those the person's variables name, and one more.

Never the one alone: the command asks other servers, too. The files are in a private folder, which is removed at the
end; a folder that a killed process left behind is removed by the next run.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import ssl
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ppmproxy.access.daemon_record import is_alive
from ppmproxy.clients.intercepting import BUNDLE_VARIABLES

LARGEST_FILE = 1 << 24  # bytes
PREFIX = "ppmproxy-intercept-"

_CERTIFICATE = re.compile(
    r"-----BEGIN (?:TRUSTED )?CERTIFICATE-----.+?-----END (?:TRUSTED )?CERTIFICATE-----", re.DOTALL
)
_SYSTEM_FILES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
_WGETRC = "/etc/wgetrc"


@dataclass(frozen=True, slots=True)
class TrustFiles:
    """The files of a run."""

    bundle: Path
    wgetrc: Path


@contextlib.contextmanager
def trust_files(own: str, environ: Mapping[str, str], further: Sequence[Path] = ()) -> Iterator[TrustFiles]:
    """Files that have clients trust `own` (PEM) besides what they trust already; removed at the end. `OSError`."""
    parent = Path(tempfile.gettempdir())
    _remove_stale(parent)
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=parent))  # 0700
    try:
        bundle, wgetrc = folder / "ca-bundle.pem", folder / "wgetrc"
        bundle.write_text("\n".join(certificates(environ, further, own)) + "\n", encoding="ascii")
        settings = _text(Path(environ.get("SYSTEM_WGETRC") or _WGETRC))
        wgetrc.write_text(f"{settings}\nca_certificate = {bundle}\n", encoding="utf-8", errors="surrogateescape")
        yield TrustFiles(bundle, wgetrc)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def certificates(environ: Mapping[str, str], further: Sequence[Path], own: str) -> list[str]:
    """All certificates in PEM, each once: the run's own first, where a person looks."""
    named = [Path(environ[name]) for name in BUNDLE_VARIABLES if environ.get(name)]
    texts = [own, *_system_certificates(environ), *map(_text, [*named, *further])]
    found = (one for text in texts for one in _CERTIFICATE.findall(text))
    return list(dict.fromkeys(one for one in found if one.isascii()))


def _system_certificates(environ: Mapping[str, str]) -> Iterator[str]:
    """What OpenSSL reads by default; Windows' store as the standard library reads it."""
    if sys.platform == "win32":
        context = ssl.create_default_context()
        yield from (ssl.DER_cert_to_PEM_cert(der) for der in context.get_ca_certs(binary_form=True))
    else:
        paths = ssl.get_default_verify_paths()
        files = [path for path in (paths.openssl_cafile, *_SYSTEM_FILES) if Path(path).is_file()]
        yield from (_text(Path(path)) for path in files[:1])
        for folder in (environ.get("SSL_CERT_DIR", "").split(":"), [] if files else [paths.openssl_capath]):
            for path in filter(None, folder):
                with contextlib.suppress(OSError):
                    yield from (_text(file) for file in sorted(Path(path).iterdir()) if file.is_file())


def _text(path: Path) -> str:
    """The text of a file; "" when it cannot be read, as the clients pass over it, too."""
    try:
        with path.open("rb") as file:
            return file.read(LARGEST_FILE).decode("utf-8", "surrogateescape")
    except OSError:
        return ""


def _remove_stale(parent: Path) -> None:
    """Folders of this user whose process has ended."""
    for folder in parent.glob(f"{PREFIX}*"):
        pid = folder.name.removeprefix(PREFIX).partition("-")[0]
        with contextlib.suppress(OSError):
            is_ours = not hasattr(os, "getuid") or folder.lstat().st_uid == os.getuid()
            if is_ours and pid.isdigit() and not folder.is_symlink() and not is_alive(int(pid)):
                shutil.rmtree(folder, ignore_errors=True)
