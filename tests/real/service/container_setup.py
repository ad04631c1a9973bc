"""What the tests of containers share: an engine, the image, and a company's Package Manager in a container."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import engine as engines
import pytest
from client_environments import PROJECTS, real_wheels
from contained_package_manager import NAME
from downloads import cache_folder
from engine import AGAIN, BASE, IMAGE, WITH_BUCKETS, Engine
from readme import blocks_of

CANARY = "c4n4ry-0f-the-c0ntainers-7b1f2e"  # the token, which must show up nowhere
URL = f"https://{NAME}"
INDEX = "http://127.0.0.1:7760/pypi/latest/simple/"
SIX = "import six; print(six.__version__)"
HERE = Path(__file__).absolute().parent


@dataclass(frozen=True)
class ContainerSetup:
    """An engine with the image, and a Package Manager that demands the canary as its token."""

    engine: Engine
    folder: Path  # ca.pem and token
    network: str

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def token(self) -> Path:
        return self.folder / "token"

    @property
    def address(self) -> str:
        """Where the Package Manager is in the company's network."""
        return self.engine.inspect(NAME, f"{{{{.NetworkSettings.Networks.{self.network}.IPAddress}}}}")

    def proxy_flags(self, *more: str) -> list[str]:
        """What `docker run` needs for a proxy to this Package Manager, as hardened as can be."""
        return [
            *("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"),
            *("--env", f"PPMPROXY_UPSTREAM={URL}", "--env", "PPMPROXY_TOKEN_FILE=/run/secrets/token"),
            *("--volume", f"{self.token}:/run/secrets/token:ro"),
            *("--volume", f"{self.ca}:/etc/ssl/certs/ca-certificates.crt:ro"),
            *more,
        ]

    @contextlib.contextmanager
    def proxy(self, name: str = "ppmproxy", *more: str, image: str = IMAGE) -> Iterator[str]:
        """A proxy in the company's network, healthy."""
        flags = [f"--network={self.network}", "--env=PPMPROXY_ACCESS=any", "--health-interval=1s"]
        with self.engine.container(name, *flags, *self.proxy_flags(*more), image):
            self.engine.healthy(name)
            yield name

    def job(self, script: str, *flags: str, check: bool = True, image: str = BASE):
        """A job's container, that ends with its script; it has a file for `uv`, and curl."""
        return self.engine.docker("run", "--rm", *flags, *uv_flags(), image, "sh", "-euc", script, check=check)

    def requests(self) -> list[dict]:
        """What the Package Manager was asked so far."""
        return self.engine.events(NAME, "asked")


def commands(test: str) -> str:
    """The commands of docker/README.md that a test runs."""
    [block] = blocks_of(test)
    return block.text


def give_wheels(folder: Path) -> None:
    """Put real wheels into a folder."""
    real_wheels()
    for wheel in (cache_folder() / "-".join(("wheels", *PROJECTS))).glob("*.whl"):
        shutil.copy(wheel, folder)


def uv_flags() -> list[str]:
    """uv, as a file of its own in a job's container."""
    from uv import find_uv_bin

    return ["--volume", f"{find_uv_bin()}:/usr/local/bin/uv:ro"]


def layers(engine, tag: str) -> str:
    """The digests of what an image consists of, as JSON."""
    return engine.inspect(tag, "{{json .RootFS.Layers}}")


@pytest.fixture(scope="session")
def engine(tmp_path_factory):
    """An engine in a network of its own, with the base image and ours."""
    engines.check_machine()
    folder = tmp_path_factory.mktemp("engine")
    with engines.store(folder) as store:
        with engines.running(store, apart=False) as beside:
            engines.load_base(beside)
            engines.build(beside)
            engines.build(beside, AGAIN, "--no-cache")
            if layers(beside, IMAGE) != layers(beside, AGAIN):  # a dependency may be released between two builds
                engines.build(beside, IMAGE, "--no-cache")
            engines.build(beside, WITH_BUCKETS, "--build-arg", "EXTRAS=[shared-cache]")
        with engines.running(store, apart=True) as apart:
            yield apart


@pytest.fixture(scope="session")
def setup(engine, tmp_path_factory):
    """A Package Manager in a network of the engine's, with real wheels."""
    folder = tmp_path_factory.mktemp("company")
    folder.chmod(0o755)
    give_wheels(folder)
    (folder / "token").write_text(CANARY)
    (folder / "token").chmod(0o444)  # the container's user is not this one
    shutil.copy(HERE / "contained_package_manager.py", folder)
    engine.docker("network", "create", "company")
    program = ["--user=0", "--entrypoint=python", "--volume", f"{folder}:/company", "--network=company"]
    script = ["/company/contained_package_manager.py", "/company"]
    with engine.container(NAME, *program, f"--network-alias={NAME}", IMAGE, *script):
        engine.until(lambda: engine.events(NAME, "serving"), NAME)
        yield ContainerSetup(engine, folder, "company")
    engine.docker("network", "rm", "company", check=False)
