"""Packages that the fake Package Manager offers, by repository and date."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import tarfile
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, datetime, timezone
from functools import cached_property
from typing import TYPE_CHECKING

from ppmproxy.testing.package_manager.content import Memory, sha256_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ppmproxy.testing.package_manager.content import Content

DEFAULT_UPLOAD_TIME = datetime(2024, 1, 1, 12, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Distribution:
    """One file of a Python project, and its facts on the index."""

    filename: str
    data: bytes | Content
    requires_python: str | None = None
    yanked: str | bool = False  # PEP 592: False, True, or the reason
    metadata: bytes | None = None  # PEP 658: the sidecar file; None: not offered
    uploaded: datetime = DEFAULT_UPLOAD_TIME  # snapshots before this day do not have the file
    hashed: bool = True  # whether the index shows the digest, which for a large file takes time to compute
    href: str | None = None  # the link on the index, when it is not to this server's own file
    extra: Mapping[str, str] = field(default_factory=dict)  # more attributes (HTML) or keys (JSON) of the link

    @property
    def content(self) -> Content:
        return Memory(self.data) if isinstance(self.data, bytes) else self.data

    @property
    def size(self) -> int:
        return self.content.size or 0

    @property
    def version(self) -> str:
        return self._name_and_version[1]

    @property
    def project(self) -> str:
        return normalized(self._name_and_version[0])

    @property
    def _name_and_version(self) -> tuple[str, str]:
        if self.filename.endswith(".whl"):
            name, version, *_ = [*self.filename.split("-"), ""]
        else:
            name, _, version = self.filename.removesuffix(".tar.gz").removesuffix(".zip").rpartition("-")
        return name, version

    @cached_property
    def sha256(self) -> str:
        return sha256_of(self.content)

    @cached_property
    def id(self) -> str:
        """The `<id>` in `packages/<id>/<file>`; another file of the same name has another id."""
        seed = self.sha256 if self.hashed else f"{self.filename} {self.size}"
        return hashlib.sha256(seed.encode()).hexdigest()[:16]


@dataclass(eq=False)
class Catalog:
    """Files by repository and project; several servers may share one."""

    python: dict[tuple[str, str], dict[str, Distribution]] = field(default_factory=lambda: defaultdict(dict))
    r: dict[str, dict[str, RPackage]] = field(default_factory=lambda: defaultdict(dict))

    def add(self, distribution: Distribution, repo: str, project: str | None = None) -> None:
        """Offer a file; one of the same name is replaced."""
        self.python[repo, normalized(project or distribution.project)][distribution.filename] = distribution

    def add_r(self, package: RPackage, repo: str) -> None:
        """Offer an R package; an older one of the same name is replaced."""
        self.r[repo][package.name] = package

    def projects(self, repo: str, until: date | None = None) -> list[str]:
        """Names of the projects that had a file on that day (None: today)."""
        return sorted(name for (where, name) in list(self.python) if where == repo and self.files(repo, name, until))

    def files(self, repo: str, project: str, until: date | None = None) -> tuple[Distribution, ...]:
        """A project's files on that day."""
        files = self.python.get((repo, project), {}).values()
        return tuple(file for file in files if until is None or file.uploaded.date() <= until)

    def find(self, repo: str, file_id: str, filename: str) -> Distribution | None:
        """The file behind `packages/<id>/<file>`."""
        for (where, _), files in self.python.items():
            if where == repo and filename in files and files[filename].id == file_id:
                return files[filename]
        return None


def normalized(project: str) -> str:
    """A project's name as it appears in URLs (PEP 503)."""
    return re.sub(r"[-_.]+", "-", project).lower()


def _tarred(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, data in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return gzip.compress(buffer.getvalue(), mtime=0)


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
        lines = [f"Package: {self.name}", f"Version: {self.version}", "Title: A Package of the Fake Package Manager"]
        lines += ["Description: Says hello.", "License: MIT", "Author: Nobody", "Maintainer: Nobody <n@example.com>"]
        if self.imports:
            lines.append(f"Imports: {', '.join(self.imports)}")
        lines.append("NeedsCompilation: no")
        if built is not None:
            lines.append(f"Built: R {built}.0; ; 2024-01-01 12:00:00 UTC; unix")
        return "\n".join(lines) + "\n"

    def tarball(self, built: str | None = None) -> bytes:
        """The package file; a binary differs from the source only by its DESCRIPTION."""
        files = {
            f"{self.name}/DESCRIPTION": self.description(built).encode(),
            f"{self.name}/NAMESPACE": b"export(hello)\n",
            f"{self.name}/R/hello.R": b'hello <- function() "hello"\n',
        }
        return _tarred(files)
