"""Claims about jobs beside a proxy in containers: real pip and uv install, and no token is where a job could see it."""

import json
import tarfile
from pathlib import Path

import pytest
from container_setup import CANARY, INDEX, SIX, URL, commands
from downloads import MAY_DOWNLOAD
from engine import BASE, IMAGE

from ppmproxy.auth.secret import encoded_forms

pytestmark = [pytest.mark.real, MAY_DOWNLOAD]

# The commands of docker/README.md, by the tests that run them.
SIDECAR = "real/service/test_container_sidecar::test_the_sidecar_of_the_readme_installs_and_stops"
WITH_COMPOSE = "real/service/test_container_sidecar::test_the_compose_command_of_the_readme_installs"
BUILD = "real/service/test_container_sidecar::test_a_build_uses_the_proxy_of_this_machine_through_its_network"
BUILD_BY_NAME = "real/service/test_container_sidecar::test_a_build_uses_a_proxy_by_name"
SHUTDOWN = "real/service/test_container_sidecar::test_a_job_ends_the_proxy_through_a_shared_folder_without_a_token"

COMPOSE = ("compose", "--file", "docker/compose.yaml")
WITH_PIP = f"pip install -q --target /tmp/six six && PYTHONPATH=/tmp/six python -c '{SIX}'"
WITH_UV = f"uv venv -q /tmp/venv && uv pip install -q --python /tmp/venv six && /tmp/venv/bin/python -c '{SIX}'"


@pytest.fixture
def environ(setup):
    """What a person sets before `docker compose`, and nothing else."""
    return {
        "PPMPROXY_UPSTREAM": URL,
        "PPM_TOKEN_FILE": str(setup.token),
        "CA_BUNDLE": str(setup.ca),
    }


@pytest.fixture
def compose(setup, environ):
    """`docker compose …` for our file; the Package Manager is in its networks, and all of it goes at the end."""

    def run(*arguments, **options):
        return setup.engine.docker(*COMPOSE, *arguments, more=environ, **options)

    def up(*arguments, **options):
        run("up", "--no-start", *arguments)
        setup.engine.docker("network", "connect", "--alias", URL[8:], "ppmproxy_default", URL[8:])
        return run("up", *arguments, **options)

    run.up = up
    yield run
    environ.setdefault("PPMPROXY_UPSTREAM", URL)
    setup.engine.docker("network", "disconnect", "--force", "ppmproxy_default", URL[8:], check=False)
    run("--profile", "by-name", "down", "--volumes", "--timeout", "5")


# --- compose ---


def test_the_job_of_the_compose_file_installs_and_its_exit_code_is_the_answer(setup, compose):
    ran = compose.up("--no-build", "--exit-code-from", "job", "job")

    log = setup.engine.logs("ppmproxy-ppmproxy-1")
    assert "Successfully installed six" in setup.engine.logs("ppmproxy-job-1")
    assert setup.engine.inspect("ppmproxy-ppmproxy-1", "{{.State.ExitCode}}") == "0"
    assert '"source": "file /run/secrets/token (PPMPROXY_TOKEN_FILE)"' in log
    assert CANARY not in ran.said + log


def test_a_job_that_fails_is_not_taken_for_one_that_does_not(setup, compose, environ):
    environ["PPMPROXY_UPSTREAM"] = "https://127.0.0.1:9"

    ran = compose.up("--no-build", "--exit-code-from", "job", "job", check=False)

    assert ran.code != 0
    assert "https://127.0.0.1:9" in setup.engine.logs("ppmproxy-job-1")


def test_by_name_the_proxy_is_the_only_way_out_of_the_jobs_network(setup, compose):
    ran = compose.up("--no-build", "--exit-code-from", "job-by-name", "job-by-name")
    [proxy] = compose("--profile", "by-name", "ps", "--all", "--quiet", "ppmproxy-for-many").out.split()
    past = setup.job(f"curl -sSk --max-time 3 {URL}/", "--network=ppmproxy_jobs", check=False)

    assert "Successfully installed six" in setup.engine.logs("ppmproxy-job-by-name-1")
    assert CANARY not in ran.said + setup.engine.logs(proxy)
    assert past.code != 0


def test_a_variable_that_is_not_set_is_named(compose, environ):
    del environ["PPMPROXY_UPSTREAM"]

    assert "the URL of your Package Manager" in compose("config", check=False).said


# --- as docker/README.md has it ---


@pytest.fixture
def at_home(setup, tmp_path):
    """A person's home with the token in it, and a machine that knows the Package Manager's name and authority."""
    (tmp_path / ".config").mkdir()
    token = tmp_path / ".config" / "ppmproxy-token"
    token.write_text(CANARY)
    token.chmod(0o600)
    programs = tmp_path / "bin"
    programs.mkdir()
    setup.engine.docker("network", "connect", "bridge", URL[8:])
    address = setup.engine.inspect(URL[8:], "{{.NetworkSettings.Networks.bridge.IPAddress}}")
    host, trust = f"packagemanager.example.com:{address}", "/etc/ssl/certs/ca-certificates.crt:ro"
    lines = [
        "#!/bin/sh",
        "# The machine's name service and its authorities, which containers do not inherit from the test's.",
        'case "$*" in run*container:*|exec*|compose*|stop*|build*|image*) exec "$REAL" "$@";; esac',
        f'shift; exec "$REAL" run --add-host {host} "$@"',
    ]
    (programs / "docker").write_text("\n".join(lines) + "\n")
    (programs / "docker").chmod(0o755)
    path = setup.engine.environ["PATH"]
    real = next(folder for folder in path.split(":") if (Path(folder) / "docker").exists())
    yield {"HOME": str(tmp_path), "PATH": f"{programs}:{path}", "REAL": f"{real}/docker", "CA_BUNDLE": str(setup.ca)}
    setup.engine.docker("network", "disconnect", "bridge", URL[8:])
    assert trust in commands(SIDECAR)


def test_the_sidecar_of_the_readme_installs_and_stops(setup, at_home):
    script = commands(SIDECAR).replace("-v /etc/ssl/certs/ca-certificates.crt:", f"-v {setup.ca}:")
    try:
        ran = setup.engine.script(script, **at_home)
        log = setup.engine.logs("ppmproxy")
        code = setup.engine.inspect("ppmproxy", "{{.State.ExitCode}}")
    finally:
        setup.engine.docker("rm", "--force", "ppmproxy", check=False)

    assert "Successfully installed six" in ran.said
    assert code == "0"
    assert CANARY not in ran.said + log


def test_the_compose_command_of_the_readme_installs(setup, compose, at_home):
    compose("up", "--no-start", "job")
    setup.engine.docker("network", "connect", "--alias", URL[8:], "ppmproxy_default", URL[8:])

    ran = setup.engine.script(commands(WITH_COMPOSE), **at_home)

    assert "Successfully installed six" in setup.engine.logs("ppmproxy-job-1")  # `up` may end before it has shown all
    assert CANARY not in ran.said


# --- real clients ---


@pytest.mark.parametrize("install", [WITH_PIP, WITH_UV], ids=["pip", "uv"])
def test_a_job_in_the_proxy_s_network_namespace_installs(setup, install):
    settings = ["--env", f"PIP_INDEX_URL={INDEX}", "--env", f"UV_DEFAULT_INDEX={INDEX}"]
    with setup.proxy() as name:
        ran = setup.job(install, f"--network=container:{name}", *settings, "--user=1000", "--env=HOME=/tmp")

    assert ran.out.strip()[-1].isdigit()


@pytest.mark.parametrize("install", [WITH_PIP, WITH_UV], ids=["pip", "uv"])
def test_a_published_port_serves_the_machine_and_its_containers(setup, install):
    publish = ["--env=PPMPROXY_LISTEN=0.0.0.0:7760", "--publish=127.0.0.1:7760:7760"]
    settings = ["--env", f"PIP_INDEX_URL={INDEX}", "--env", f"UV_DEFAULT_INDEX={INDEX}"]
    with setup.proxy("published", *publish):
        live = setup.engine.run("curl", "-sS", "http://127.0.0.1:7760/-/live").out
        ran = setup.job(install, "--network=host", *settings)

    assert live == "alive\n"
    assert ran.out.strip()[-1].isdigit()


def test_a_job_ends_the_proxy_through_a_shared_folder_without_a_token(setup):
    script = commands(SHUTDOWN)
    with setup.proxy("ppmproxy", "--volume=ppmproxy-run:/run/user/65532") as name:
        bare = "curl -s -o /dev/null -w %{http_code} -X POST http://127.0.0.1:7760/-/shutdown"
        without = setup.job(bare, f"--network=container:{name}")
        setup.job(script, f"--network=container:{name}", "--volume=ppmproxy-run:/run/ppmproxy:ro")
        code = setup.engine.ended(name)
        [line] = setup.engine.events(name, "daemon_stopping")

    setup.engine.docker("volume", "rm", "ppmproxy-run", check=False)
    assert without.out == "403"
    assert (code, line["why"]) == (0, "shutdown")


# --- the token is nowhere else ---


SHOWN = "pip install six; env; cat /proc/*/environ; echo; echo all of it; sleep 300"


def test_no_layer_of_any_image_and_nothing_that_is_shown_of_a_container_has_the_token(setup, tmp_path):
    engine = setup.engine
    with setup.proxy() as name:
        job = ["--network", f"container:{name}", "--env", f"PIP_INDEX_URL={INDEX}"]
        with engine.container("job", *job, BASE, "sh", "-c", SHOWN):
            engine.until(lambda: "\nall of it\n" in engine.logs("job"), "job")
            shown = [engine.docker("inspect", one).out for one in (name, "job", IMAGE)]
            shown += [engine.logs(one) for one in (name, "job")]
            shown.append(engine.docker("top", name, "-o", "pid,args").out)
            engine.docker("commit", "job", "with-six")
    engine.docker("save", "--output", tmp_path / "images.tar", IMAGE, "with-six")
    forms = [form.encode() for form in encoded_forms(CANARY)]

    assert not [form for form in encoded_forms(CANARY) if form in "\n".join(shown)]
    assert list(files_with(forms, tmp_path / "images.tar")) == []
    engine.docker("rmi", "with-six", check=False)


def files_with(forms, archive):
    """The files of all layers of saved images that hold one of these forms, by layer and name."""
    with tarfile.open(archive) as saved:
        manifest = json.load(saved.extractfile("manifest.json"))
        blobs = {layer for image in manifest for layer in [*image["Layers"], image["Config"]]}
        assert len(blobs) > len(manifest)
        for blob in blobs:
            content = saved.extractfile(blob).read()
            if any(form in content for form in forms):
                yield blob  # a layer that is not compressed, or a description
            if blob.endswith("layer.tar") or content[257:262] == b"ustar":
                continue
            json.loads(content)


# --- docker build ---


BUILT = f"FROM {BASE}\nARG PIP_INDEX_URL\nARG PIP_TRUSTED_HOST\nARG UV_DEFAULT_INDEX\n"


@pytest.fixture
def project(tmp_path):
    (tmp_path / "Dockerfile").write_text(BUILT + f'RUN pip install six && python -c "{SIX}"\n')
    return tmp_path


def test_a_build_uses_the_proxy_of_this_machine_through_its_network(setup, project, tmp_path):
    host = ["--network=host", f"--add-host=packagemanager.example.com:{setup.address}", *setup.proxy_flags()]
    with setup.engine.container("laptop", *host, IMAGE) as name:
        setup.engine.healthy(name)
        setup.engine.script(commands(BUILD), folder=project)

    check_built(setup, tmp_path)


def test_a_build_uses_a_proxy_by_name(setup, project, tmp_path):
    listen = ["--env=PPMPROXY_LISTEN=172.17.0.1:7760", "--env=PPMPROXY_ACCESS=any"]  # as docker/README.md says
    flags = setup.proxy_flags(*listen, "--env=PPMPROXY_ALLOWED_HOSTS=ppmproxy")
    host = ["--network=host", f"--add-host=packagemanager.example.com:{setup.address}", *flags]
    with setup.engine.container("gateway", *host, IMAGE) as name:
        setup.engine.healthy(name)
        setup.engine.script(commands(BUILD_BY_NAME), folder=project)

    check_built(setup, tmp_path)


def check_built(setup, folder):
    """The built image has the package, and no token in any layer or description."""
    engine = setup.engine
    engine.docker("save", "--output", folder / "built.tar", "my-image")
    said = engine.docker("history", "--no-trunc", "my-image").out + engine.docker("inspect", "my-image").out
    ran = engine.docker("run", "--rm", "--network=none", "my-image", "python", "-c", SIX)
    engine.docker("rmi", "my-image", check=False)

    assert ran.out.strip()[-1].isdigit()
    assert not [form for form in encoded_forms(CANARY) if form in said]
    assert list(files_with([form.encode() for form in encoded_forms(CANARY)], folder / "built.tar")) == []
