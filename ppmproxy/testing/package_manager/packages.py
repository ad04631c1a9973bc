"""Generated packages that install: Python wheels and R source packages."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile

from ppmproxy.testing.package_manager.catalog import Distribution, RPackage, normalized

EPOCH = (1980, 1, 1, 0, 0, 0)  # the same wheel twice is the same bytes


def wheel(name: str, version: str = "1.0", requires: tuple[str, ...] = (), payload: bytes = b"") -> Distribution:
    """A pure wheel with one module, which has `__version__` and, beside it, `payload.bin`.

    Set other facts of the index (`requires_python`, `yanked`, no metadata file …) with `dataclasses.replace`.
    """
    module = normalized(name).replace("-", "_")
    metadata = _metadata(name, version, requires)
    info = f"{module}-{version}.dist-info"
    files = {
        f"{module}/__init__.py": f'"""An example package."""\n\n__version__ = "{version}"\n'.encode(),
        f"{module}/payload.bin": payload,
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: ppmproxy\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = _record(files, f"{info}/RECORD")
    return Distribution(f"{module}-{version}-py3-none-any.whl", _zipped(files), metadata=metadata)


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
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {name}",
        f"Version: {version}",
        "Summary: An example package",
    ]
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
