"""Claims about the image: what is in it, how it behaves as process 1, and what an orchestrator is told."""

import json
import tarfile

import pytest
from container_setup import CANARY, INDEX, URL, layers
from downloads import MAY_DOWNLOAD
from engine import AGAIN, IMAGE

pytestmark = [pytest.mark.real, MAY_DOWNLOAD]

LARGEST = 120_000_000  # bytes
REFUSED = "the token from file /run/secrets/token (PPMPROXY_TOKEN_FILE) was refused"


@pytest.fixture(scope="module")
def files(engine, tmp_path_factory):
    """Every file of the image, by its path."""
    archive = tmp_path_factory.mktemp("image") / "files.tar"
    engine.docker("create", "--name", "unpacked", IMAGE)
    try:
        engine.docker("export", "--output", archive, "unpacked")
    finally:
        engine.docker("rm", "unpacked")
    with tarfile.open(archive) as opened:
        yield {member.name: member for member in opened}


def python(engine, program, *flags):
    """What a few lines of Python say inside the image."""
    return engine.docker("run", "--rm", "--network=none", *flags, "--entrypoint=python", IMAGE, "-c", program).out


# --- what is in it ---


def test_the_image_is_built_as_the_readme_says(engine):
    """Running "real/service/test_container_image::test_the_image_is_built_as_the_readme_says"."""
    assert engine.inspect(IMAGE, "{{json .Config.Entrypoint}} {{json .Config.Cmd}}") == '["ppmproxy"] ["run"]'


def test_it_is_small(engine):
    assert int(engine.inspect(IMAGE, "{{.Size}}")) < LARGEST


def test_the_same_inputs_make_the_same_layers(engine):
    assert layers(engine, IMAGE) == layers(engine, AGAIN)


def test_it_has_no_shell_no_package_manager_and_nothing_that_runs_as_another_user(files):
    programs = {name.rpartition("/")[2] for name, file in files.items() if file.isfile() and file.mode & 0o111}

    assert not programs & {"sh", "bash", "dash", "busybox", "apt-get", "dpkg", "pip", "pip3", "curl", "perl"}
    assert [name for name, file in files.items() if file.isfile() and file.mode & 0o6000] == []
    assert not [name for name in files if "/pip/" in name]


def test_its_user_is_a_number_and_owns_nothing_but_two_folders_and_what_leads_there(engine, files):
    owned = {name.rstrip("/") for name, file in files.items() if file.uid != 0}

    assert engine.inspect(IMAGE, "{{.Config.User}}") == "65532:65532"
    assert owned == {"run", "run/user", "run/user/65532", "var", "var/cache", "var/cache/ppmproxy"}


def test_it_says_what_it_is(engine):
    labels = json.loads(engine.inspect(IMAGE, "{{json .Config.Labels}}"))

    assert labels["org.opencontainers.image.title"] == "ppmproxy"
    assert labels["org.opencontainers.image.licenses"] == "MIT"


def test_its_bill_of_materials_lists_every_distribution_that_can_be_imported(engine):
    installed = set(
        python(
            engine,
            "import importlib.metadata as m\n"
            "for d in m.distributions(): print(d.metadata['Name'].lower().replace('_', '-') + '@' + d.version)",
        ).split()
    )
    document = json.loads(python(engine, "print(open('/usr/share/sbom/ppmproxy.cdx.json').read())"))

    listed = [document["metadata"]["component"], *document["components"]]
    purls = {component["purl"] for component in listed}
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    assert {f"pkg:pypi/{name}" for name in installed} == {purl for purl in purls if purl.startswith("pkg:pypi/")}
    assert any(purl.startswith("pkg:deb/debian/libssl3") for purl in purls)
    assert any(purl.startswith("pkg:generic/python@3.13") for purl in purls)


def test_every_library_that_an_extension_wants_is_there(engine):
    program = (
        "import ctypes, pathlib, sysconfig\n"
        "for name in ('stdlib', 'purelib'):\n"
        "    for file in pathlib.Path(sysconfig.get_path(name)).rglob('*.so'):\n"
        "        ctypes.CDLL(str(file))\n"
        "        print(file.name)\n"
    )

    assert len(python(engine, program).splitlines()) > 20


# --- as process 1 ---


def test_it_needs_no_right_and_no_place_to_write_and_warns_once_at_most(setup):
    with setup.proxy() as name:
        lines = [json.loads(line) for line in setup.engine.logs(name).splitlines()]

    assert [line["event"] for line in lines if line["level"] != "info"] == ["proof_unavailable"]
    assert [line for line in lines if line["event"] == "daemon_listening"]


def test_a_stop_ends_it_in_order_with_exit_code_0(setup):
    with setup.proxy() as name:
        setup.engine.docker("stop", name)

        assert setup.engine.inspect(name, "{{.State.ExitCode}}") == "0"
        [line] = setup.engine.events(name, "daemon_stopping")
        assert line["why"] == "SIGTERM"


def test_a_stop_ends_every_other_command_too_and_that_is_no_success(engine):
    """The kernel keeps from process 1 the signals that it does not wait for: it would be killed after ten seconds."""
    catches_sigterm = "print(int(next(l for l in open('/proc/1/status') if 'SigCgt' in l).split()[1], 16) >> 14 & 1)"
    with engine.container("waits", "--network=none", IMAGE, "wait", "--timeout=60") as name:
        engine.until(lambda: engine.docker("exec", name, "python", "-c", catches_sigterm).out == "1\n", name)
        engine.docker("stop", name)

        assert engine.inspect(name, "{{.State.ExitCode}}") == "143"


def test_as_root_it_says_that_it_need_not_be(engine):
    with engine.container("as-root", "--network=none", "--user=0", IMAGE) as name:
        engine.until(lambda: engine.events(name, "daemon_runs_as_root"), name)

        assert "--user" in engine.events(name, "daemon_runs_as_root")[0]["hint"]


def test_any_user_will_do(setup):
    with setup.proxy("ppmproxy", "--user=12345") as name:
        assert setup.engine.docker("exec", name, "ppmproxy", "wait", "--unproven", "--timeout=30").code == 0


def test_a_mistake_in_the_settings_is_two_lines_and_exit_code_3(engine):
    ran = engine.docker("run", "--rm", "--network=none", "--env=PPMPROXY_LISTEN=0.0.0.0:7760", IMAGE, check=False)

    assert ran.code == 3
    assert len(ran.said.splitlines()) == 2
    assert 'access = "any"' in ran.said


def test_it_ends_by_itself_when_nobody_asks_for_anything(engine):
    with engine.container("idle", "--network=none", "--health-interval=1s", IMAGE, "run", "--exit-when-idle=2") as name:
        assert engine.ended(name) == 0
        assert engine.events(name, "daemon_stopping")[0]["why"] == "idle"


def test_after_a_crash_it_takes_no_old_notice_in_a_shared_folder_for_its_own(engine):
    folder = ["--network=none", "--volume=notices:/run/user/65532"]
    with engine.container("crashes", *folder, IMAGE) as name:
        engine.until(lambda: engine.events(name, "daemon_listening"), name)
        engine.docker("kill", "--signal=KILL", name)
        engine.docker("start", name)
        engine.until(lambda: len(engine.events(name, "daemon_listening")) == 2, name)

        left = python(engine, "import os; print(*os.listdir('/run/user/65532/ppmproxy'))", *folder[1:]).split()

    engine.docker("volume", "rm", "notices", check=False)
    assert len([file for file in left if file.startswith("daemon-")]) == 1


# --- what an orchestrator is told ---


def test_it_is_starting_then_healthy_then_unhealthy_when_its_token_is_refused_and_healthy_with_another(setup, tmp_path):
    tmp_path.chmod(0o755)
    token = tmp_path / "token"
    token.write_text("not-the-token-of-this-server")
    token.chmod(0o444)
    health = ("--health-start-interval=15s", "--health-interval=1s", "--health-retries=1")
    flags = setup.proxy_flags("--network", setup.network, "--env=PPMPROXY_ACCESS=any", *health)
    flags[flags.index(f"{setup.token}:/run/secrets/token:ro")] = f"{tmp_path}:/run/secrets:ro"
    engine = setup.engine
    with engine.container("patient", *flags, IMAGE) as name:
        states = [engine.inspect(name, "{{.State.Health.Status}}")]
        engine.healthy(name)
        setup.job(f"pip install -qi {INDEX} six", f"--network=container:{name}", check=False)
        engine.until(lambda: REFUSED in engine.inspect(name, "{{range .State.Health.Log}}{{.Output}}{{end}}"), name)
        engine.until(lambda: engine.inspect(name, "{{.State.Health.Status}}") == "unhealthy", name)
        said = engine.inspect(name, "{{json .State.Health}}")
        token.write_text(CANARY)
        engine.healthy(name)

    assert states == ["starting"]
    assert CANARY not in said


def test_a_service_name_that_is_not_allowed_is_told_which_setting_allows_it(setup):
    with setup.proxy("by-name", "--env=PPMPROXY_LISTEN=0.0.0.0:7760") as name:
        said = setup.job(f"curl -s http://{name}:7760/-/ready", f"--network={setup.network}").said

    assert "allowed_hosts" in said
    assert f"PPMPROXY_ALLOWED_HOSTS={name}" in said


def test_a_job_of_another_user_in_the_same_network_namespace_is_told_what_lets_it_in(setup):
    engine = setup.engine
    with engine.container("strict", "--network", setup.network, *setup.proxy_flags(), IMAGE) as name:
        engine.healthy(name)
        ask = ["curl -s http://127.0.0.1:7760/pypi/latest/simple/six/", f"--network=container:{name}"]
        refused = setup.job(*ask, "--user=1000").said
        as_root = setup.job(*ask).said

    assert "user 1000 may not use it" in refused
    assert "PPMPROXY_ACCESS=1000" in refused
    assert "six-" in as_root


def test_the_package_manager_heard_nothing_of_health_checks_but_its_own_page_for_that(setup):
    mark = "/requests-of-earlier-tests-end-here"  # which are logged a moment later
    setup.job(f"curl -sk {URL}{mark}", f"--network={setup.network}")
    with setup.proxy() as name:
        setup.engine.until(lambda: requests_after(setup, mark), name)

    assert requests_after(setup, mark) == {("/__ping__", False)}


def requests_after(setup, path):
    """Path, and whether it came with a token, of each request after the one for a path."""
    asked = setup.requests()
    paths = [one["path"] for one in asked]
    return {(one["path"], one["with_token"]) for one in asked[paths.index(path) + 1 :]} if path in paths else set()
