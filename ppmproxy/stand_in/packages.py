"""Real packages made on the spot: Python wheels and R source packages that install."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import tarfile
import zipfile
from dataclasses import dataclass

from ppmproxy.stand_in.stock import Distribution, normalized

EPOCH = (1980, 1, 1, 0, 0, 0)  # the same wheel twice is the same bytes


def wheel(name: str, version: str = "1.0", requires: tuple[str, ...] = (), payload: bytes = b"") -> Distribution:
    """A pure wheel with one module, which has `__version__` and, beside it, `payload.bin`.

    Other facts of the index (`requires_python`, `yanked`, no sidecar …) come with `dataclasses.replace`.
    """
    module = normalized(name).replace("-", "_")
    metadata = _metadata(name, version, requires)
    info = f"{module}-{version}.dist-info"
    files = {
        f"{module}/__init__.py": f'"""A package of the stand-in."""\n\n__version__ = "{version}"\n'.encode(),
        f"{module}/payload.bin": payload,
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: stand-in\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = _record(files, f"{info}/RECORD")
    return Distribution(f"{module}-{version}-py3-none-any.whl", _zipped(files), metadata=metadata)


@dataclass(frozen=True)
class RPackage:
    """An R package with one function, `hello()`."""

    name: str
    version: str = "1.0"
    imports: tuple[str, ...] = ()

    @property
    def filename(self) -> str:
        return f"{self.name}_{self.version}.tar.gz"

    def description(self, built: str | None = None) -> str:
        """The DESCRIPTION file; `built` (an R version) makes it a binary's."""
        lines = [f"Package: {self.name}", f"Version: {self.version}", "Title: A Package of the Stand-In"]
        lines += ["Description: Says hello.", "License: MIT", "Author: Nobody", "Maintainer: Nobody <n@example.com>"]
        if self.imports:
            lines.append(f"Imports: {', '.join(self.imports)}")
        lines.append("NeedsCompilation: no")
        if built is not None:
            lines.append(f"Built: R {built}.0; ; 2024-01-01 12:00:00 UTC; unix")
        return "\n".join(lines) + "\n"

    def tarball(self, built: str | None = None) -> bytes:
        """The package as a file; the binary differs from the source only by its DESCRIPTION."""
        files = {
            f"{self.name}/DESCRIPTION": self.description(built).encode(),
            f"{self.name}/NAMESPACE": b"export(hello)\n",
            f"{self.name}/R/hello.R": b'hello <- function() "hello"\n',
        }
        return _tarred(files)


def r_index(packages: tuple[RPackage, ...]) -> bytes:
    """The PACKAGES file of a CRAN-like repository."""
    return "\n".join(_r_entry(package) for package in packages).encode()


def _r_entry(package: RPackage) -> str:
    imports = f"Imports: {', '.join(package.imports)}\n" if package.imports else ""
    digest = hashlib.md5(package.tarball(), usedforsecurity=False).hexdigest()
    return (
        f"Package: {package.name}\nVersion: {package.version}\n{imports}"
        f"License: MIT\nMD5sum: {digest}\nNeedsCompilation: no\n"
    )


def _metadata(name: str, version: str, requires: tuple[str, ...]) -> bytes:
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", "Summary: A package of the stand-in"]
    return "\n".join([*lines, *(f"Requires-Dist: {requirement}" for requirement in requires), ""]).encode()


def _record(files: dict[str, bytes], itself: str) -> bytes:
    lines = []
    for path, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={digest},{len(data)}")
    return "\n".join([*lines, f"{itself},,", ""]).encode()


def _zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in files.items():
            entry = zipfile.ZipInfo(path, EPOCH)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    return buffer.getvalue()


def _tarred(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, data in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return gzip.compress(buffer.getvalue(), mtime=0)
