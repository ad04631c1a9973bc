"""Claims about the Kubernetes manifest: podman runs its pod for real, with an identity token that is exchanged.

podman knows neither sidecars nor projected tokens: the sidecar is one of the ordinary containers here, which start
in their order, and the token is a file. Everything else is the manifest's own.
"""

import json
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from client_environments import shows_token
from contained_package_manager import NAME
from container_setup import CANARY, HERE, give_wheels
from downloads import MAY_DOWNLOAD, skip_or_fail
from engine import BASE, DEADLINE, IMAGE, ROOT, Ran, check_machine

pytestmark = [pytest.mark.real, MAY_DOWNLOAD]

MANIFEST = ROOT / "docker" / "examples" / "kubernetes.yaml"
STORE = "/mnt"  # in a mount namespace of the test's own; podman wants a short path
CONFIGURATION = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


@dataclass(frozen=True)
class Podman:
    """podman with a store of its own, in memory, and without a network."""

    folder: Path
    holder: subprocess.Popen

    def __call__(self, *arguments, check=True, deadline=DEADLINE):
        store = [f"--root={STORE}/root", f"--runroot={STORE}/run", f"--tmpdir={STORE}/tmp"]
        inside = ["nsenter", f"--target={self.holder.pid}", "--mount", "--net"]
        environ = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(self.folder), "TMPDIR": STORE}
        ended = subprocess.run(
            [*inside, "podman", *store, *arguments],
            env=environ | {"CONTAINERS_CONF": str(self.folder / "containers.conf")},
            check=False, capture_output=True, text=True, timeout=deadline, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        ran = Ran(ended.returncode, ended.stdout, ended.stderr)
        assert not check or ran.code == 0, f"podman {arguments} ended with {ran.code}:\n{ran.said}"
        return ran


@pytest.fixture
def podman(engine, tmp_path):
    """podman, with the image and its base."""
    check_machine()
    for program in ("podman", "catatonit"):
        if shutil.which(program) is None:
            skip_or_fail(f"{program} is not installed", f"on Debian: apt-get install {program}")
    (tmp_path / "containers.conf").write_text(CONFIGURATION)
    script = f"ip link set lo up && mount -t tmpfs images {STORE} && echo ready && exec cat"
    holder = subprocess.Popen(
        ["unshare", "--mount", "--propagation=private", "--net", "sh", "-c", script],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    with holder:
        assert holder.stdout.readline() == b"ready\n"
        podman = Podman(tmp_path, holder)
        engine.docker("save", "--output", tmp_path / "images.tar", IMAGE, BASE)
        podman("load", "--input", tmp_path / "images.tar")
        podman("tag", f"localhost/{IMAGE}:latest", "registry.example.com/ppmproxy:0.1.0")
        yield podman
        podman("pod", "rm", "--all", "--force", check=False)


def pod_of(documents, company):
    """The manifest's pod, with the company's Package Manager in it."""
    template = next(one for one in documents if one["kind"] == "Job")["spec"]["template"]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "build", **template["metadata"]},
        "spec": template["spec"],
    }
    [sidecar] = pod["spec"].pop("initContainers")
    assert sidecar.pop("restartPolicy") == "Always"
    pod["spec"]["containers"].insert(0, sidecar)
    [projected] = pod["spec"]["volumes"]
    [source] = projected["projected"]["sources"]
    pod["spec"]["volumes"] = [
        {"name": projected["name"], "hostPath": {"path": str(company / "identity"), "type": "Directory"}},
        {"name": "company", "hostPath": {"path": str(company), "type": "Directory"}},
        {"name": "names", "hostPath": {"path": str(company / "hosts"), "type": "File"}},
    ]
    sidecar["volumeMounts"] += [
        {"name": "company", "mountPath": "/company", "readOnly": True},
        {"name": "names", "mountPath": "/etc/hosts", "readOnly": True},
    ]
    sidecar["env"].append({"name": "SSL_CERT_FILE", "value": "/company/ca.pem"})
    pod["spec"]["containers"].insert(0, {
        "name": "company",
        "image": sidecar["image"],
        "command": ["python", "/company/contained_package_manager.py", "/company"],
        "securityContext": {"runAsUser": 0, "runAsNonRoot": False},
        "volumeMounts": [{"name": "company", "mountPath": "/company"}],
    })  # fmt: skip
    return pod, source["serviceAccountToken"]


@pytest.fixture
def company(tmp_path):
    folder = tmp_path / "company"
    folder.mkdir(mode=0o755)
    give_wheels(folder)
    (folder / "identity").mkdir()
    (folder / "hosts").write_text(f"127.0.0.1 localhost {NAME}\n")
    (folder / "token").write_text(CANARY)
    shutil.copy(HERE / "contained_package_manager.py", folder)
    return folder


def test_the_job_installs_with_an_identity_token_and_is_not_given_it(podman, company, tmp_path):
    pod, token = pod_of(list(yaml.safe_load_all(MANIFEST.read_text())), company)
    (tmp_path / "pod.yaml").write_text(json.dumps(pod))
    by_name = {one["name"]: one for one in pod["spec"]["containers"]}
    probes = [by_name["ppmproxy"][f"{kind}Probe"]["exec"]["command"] for kind in ("startup", "liveness", "readiness")]

    podman("kube", "play", "--network=none", "--start=false", tmp_path / "pod.yaml")
    podman("start", "build-company")
    wait_for((company / "ca.pem").exists)
    podman("start", "build-ppmproxy")
    wait_for(lambda: podman("exec", "build-ppmproxy", *probes[0], check=False).code == 0)  # as of a native sidecar
    podman("start", "build-build")
    code = podman("wait", "build-build").out.strip()
    said = podman("logs", "build-build").said
    log = podman("logs", "build-ppmproxy").said
    probed = [podman("exec", "build-ppmproxy", *probe, check=False) for probe in probes]
    podman("stop", "--time=20", "build-ppmproxy")
    ended = podman("inspect", "--format", "{{.State.ExitCode}}", "build-ppmproxy").out.strip()

    assert code == "0", said + log
    assert "Successfully installed six" in said
    assert '"source": "identity token /var/run/ppm/token' in log
    assert [ran.code for ran in probed] == [0, 0, 0], probed
    assert ended == "0"
    assert (token["path"], "volumeMounts" in by_name["build"]) == ("token", False)
    assert not shows_token((company / "identity" / "token").read_text(), said, log)


def wait_for(true, seconds=90.0):
    """Come back as soon as something is true."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)
