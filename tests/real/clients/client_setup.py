"""A Package Manager over TLS that demands a token, `ppmproxy run` in front of it, and people with their clients."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client_environments import real_wheels
from client_tools import PROJECT, Tool, Workspace, workspace
from processes import RunningProxy, ppmproxy_run

from ppmproxy.testing.package_manager import Distribution, FakePackageManager, wheel

PARCEL = wheel("mine", "1", payload=bytes(range(256)) * 300)  # what is uploaded; Poetry takes its own project's name
READS, WRITES = "repos:read", "sources:write"


@dataclass(frozen=True)
class ClientSetup:
    """Both servers, and a folder for the people."""

    package_manager: FakePackageManager
    proxy: RunningProxy
    folder: Path

    def workspace(self, tool: Tool, name: str = "first") -> Workspace:
        """A working folder of its own, with a distribution to upload."""
        upload = f"{self.proxy.url}/upload/pypi/internal"
        new = workspace(
            tool, self.folder / name, INDEX=self.proxy.index_url, UPLOAD=upload, FILE=f"dist/{PARCEL.filename}"
        )
        self.package_manager.offers_metadata = tool.takes_metadata
        (new.project / "dist").mkdir()
        (new.project / "dist" / PARCEL.filename).write_bytes(PARCEL.data)
        return new

    @property
    def uploaded(self) -> dict[str, str]:
        """Digests of the files that were taken, by name."""
        return {file.filename: file.sha256 for file in self.package_manager.catalog.files("pypi", PARCEL.project)}

    @property
    def posts(self) -> int:
        return len(self.package_manager.requests_for("*/upload/*", "POST"))


@contextlib.asynccontextmanager
async def client_setup(
    folder: Path, *, scopes: tuple[str, ...] = (READS,), lifetime: float | None = None, **environ: str
) -> AsyncIterator[ClientSetup]:
    """A scene whose proxy has a token with these scopes, or what `environ` gives it."""
    async with running_package_manager() as package_manager:
        settings = {
            "PPMPROXY_UPSTREAM": package_manager.url,
            "PPMPROXY_TOKEN": package_manager.issue_token(scopes, lifetime),
            "PPMPROXY_CA_FILE": str(package_manager.write_ca(folder / "ca.pem")),
        }
        async with ppmproxy_run(folder, **settings | environ) as running:
            yield ClientSetup(package_manager, running, folder)


@contextlib.asynccontextmanager
async def running_package_manager(**options: Any) -> AsyncIterator[FakePackageManager]:
    """A Package Manager with something to install."""
    async with FakePackageManager(base_path="/rspm", **options) as package_manager:
        package_manager.add(what_is_installed())
        yield package_manager


def what_is_installed() -> Distribution:
    """A wheel of the registry."""
    return real_wheels()[PROJECT]


def on_one_line(text: str) -> str:
    """What a client said, without the line breaks that it put where its terminal ends."""
    return " ".join(text.split())
