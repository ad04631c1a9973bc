"""Claims about the examples that need an engine: what they describe is run as their platform would, and installs."""

import re
import shlex

import pytest
import yaml
from container_setup import CANARY, URL
from downloads import MAY_DOWNLOAD
from engine import IMAGE, ROOT

pytestmark = [pytest.mark.real, MAY_DOWNLOAD]

EXAMPLES = ROOT / "docker" / "examples"
PLACEHOLDER = "registry.example.com/ppmproxy:0.1.0"
PROJECT = "printf 'six\\n' > requirements.txt"


@pytest.fixture
def named(setup):
    """The image under the name that the examples have for it."""
    setup.engine.docker("tag", IMAGE, PLACEHOLDER)
    yield setup.engine
    setup.engine.docker("rmi", PLACEHOLDER)


def variables(given):
    """`docker run` flags for the variables of an example; what it keeps secret is the canary."""
    secret = re.compile(r"\$\{\{ secrets\.\w+ \}\}|\$PPM_TOKEN$")
    return [f"--env={name}={secret.sub(CANARY, str(value))}" for name, value in given.items()]


def trust(setup):
    return ["--volume", f"{setup.ca}:/etc/ssl/certs/ca-certificates.crt:ro"]


def test_github_actions_service_container(setup):
    """A runner starts it with its ports and variables, waits for its health, and runs the steps on the machine."""
    job = yaml.safe_load((EXAMPLES / "github-actions-service.yml").read_text())["jobs"]["test"]
    [service] = job["services"].values()
    flags = [*(f"--publish={port}" for port in service["ports"]), *variables(service["env"]), *trust(setup)]
    steps = [step["run"] for step in job["steps"] if "run" in step]

    with setup.engine.container("service", f"--network={setup.network}", *flags, "--health-interval=1s", IMAGE) as name:
        setup.engine.healthy(name)
        ran = setup.job("\n".join(["cd /tmp", PROJECT, *steps]), "--network=host", *variables(job["env"]))

    assert "Successfully installed six" in ran.said
    assert CANARY not in ran.said


def test_gitlab_ci_service(setup):
    """A runner starts it in the job's network under its alias."""
    document = yaml.safe_load((EXAMPLES / "gitlab-ci.yml").read_text())
    job = document["with-service"]
    [service] = job["services"]
    given = variables(document["variables"] | service["variables"])
    flags = [f"--network={setup.network}", f"--network-alias={service['alias']}", *given, *trust(setup)]

    with setup.engine.container("service", *flags, "--health-interval=1s", IMAGE) as name:
        setup.engine.healthy(name)
        script = "\n".join(["cd /tmp", PROJECT, *job["script"]])
        ran = setup.job(script, f"--network={setup.network}", *variables(job["variables"]))

    assert "Successfully installed six" in ran.said


def test_jenkins(setup, named, tmp_path):
    """The plug-in starts it with the flags of `withRun`; the secret's file lies beside the workspace."""
    text = (EXAMPLES / "Jenkinsfile").read_text()
    with_run = "".join(re.findall(r"'([^']*)'", text.partition("withRun(")[2].partition(") { ppmproxy ->")[0]))
    [wait] = re.findall(r'sh "docker exec \$\{ppmproxy.id\} ([^"]*)"', text)
    [steps] = re.findall(r"sh '''\n(.*?)'''", text, re.DOTALL)
    look = f"env; cat /proc/mounts; grep -rs {CANARY} / --exclude-dir=proc --exclude-dir=sys || true"
    workspace, secrets = tmp_path / "workspace", tmp_path / "workspace@tmp" / "secretFiles"
    workspace.mkdir()
    secrets.mkdir(parents=True)
    (workspace / "requirements.txt").write_text("six\n")
    (secrets / "token").write_text(CANARY)
    (secrets / "token").chmod(0o600)
    given = {"PPM_TOKEN_FILE": str(secrets / "token"), "WORKSPACE": str(workspace)}
    flags = with_run.replace("/etc/ssl/certs/ca-certificates.crt:/etc", f"{setup.ca}:/etc")

    started = named.script(f"docker run -d --network {setup.network} {flags} {PLACEHOLDER}", **given).out.strip()
    try:
        named.docker("exec", started, *shlex.split(wait))
        ran = named.script(steps, PROXY_CONTAINER=started, **given)
        seen = named.script(re.sub(r"sh -ec '.*'", f"sh -ec '{look}'", steps), PROXY_CONTAINER=started, **given)
    finally:
        named.docker("rm", "--force", started)

    assert "Successfully installed six" in ran.said
    assert str(workspace) in seen.said
    assert CANARY not in seen.said
    assert secrets.name not in seen.said


def test_devcontainer(setup, named, tmp_path):
    """An editor brings its compose file up and works in the service that it names."""
    for file in (EXAMPLES / "devcontainer").iterdir():
        (tmp_path / ".devcontainer").mkdir(exist_ok=True)
        (tmp_path / ".devcontainer" / file.name).write_bytes(file.read_bytes())
    (tmp_path / "token").write_text(CANARY)
    (tmp_path / "token").chmod(0o444)
    environ = {"PPM_TOKEN_FILE": str(tmp_path / "token"), "CA_BUNDLE": str(setup.ca)}

    def compose(*arguments):
        file = tmp_path / ".devcontainer" / "compose.yaml"
        return named.docker("compose", "--project-name=dev", "--file", file, *arguments, more=environ)

    try:
        compose("up", "--no-start")
        named.docker("network", "connect", "--alias", URL[8:], "dev_default", URL[8:])
        compose("up", "--detach", "--wait")
        ran = compose("exec", "-T", "workspace", "sh", "-c", "pip install six; env")
    finally:
        named.docker("network", "disconnect", "--force", "dev_default", URL[8:], check=False)
        compose("down", "--timeout=5")

    assert "Successfully installed six" in ran.said
    assert CANARY not in ran.said
