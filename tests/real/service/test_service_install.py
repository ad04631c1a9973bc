"""Claims about `ppmproxy service` with a real systemd: it installs, says how things are, and leaves nothing."""

import shlex

import pytest
from downloads import MAY_DOWNLOAD
from installations import venv
from service_person import PAGE, URL, holding

from ppmproxy.cli.service.units import UnitSettings, exec_line, service_unit, with_digest

pytestmark = [pytest.mark.real, MAY_DOWNLOAD]


def test_it_installs_starts_and_waits_until_requests_are_taken(person):
    said = person.installs()

    assert "running, and ready" in said.out
    assert person.of_service("ActiveState") == "active"
    assert person.of_socket("UnitFileState") == "enabled"
    assert person.asks(f"{URL}/-/ready") == "200 ready\n\n"
    assert person.asks("http://[::1]:7760/-/ready") == "200 ready\n\n"


def test_at_a_terminal_each_step_is_shown(person):
    words = [person.command, "service", "install", "--upstream", person.package_manager.url]
    settings = {"PPMPROXY_CA_FILE": str(person.package_manager.ca_file), "TERM": "xterm-256color"}

    said = person.systemd.runs("script", "-qec", shlex.join(map(str, words)), "/dev/null", **settings)

    assert said.code == 0, said
    assert "starting the service, until it is ready ..." in said.out
    assert said.out.index("running, and ready") > said.out.rindex("until it is ready ...")


def test_it_says_when_lingering_matters(person):
    assert f"loginctl enable-linger {person.systemd.name}" in person.installs().err
    assert "ends when you log out" in person.runs("service", "status").out

    person.systemd.root_runs("touch", f"/var/lib/systemd/linger/{person.systemd.name}")
    said = person.installs()

    assert "enable-linger" not in said.err
    assert "when the machine does" in person.runs("service", "status").out
    person.systemd.root_runs("rm", f"/var/lib/systemd/linger/{person.systemd.name}")


def test_what_is_left_after_uninstalling_is_nothing(person):
    before = person.files()

    person.installs()
    person.asks(PAGE)
    said = person.runs("service", "uninstall")

    assert (said.code, said.out, said.err) == (0, "stopped and removed\n", "")
    assert person.files() == before
    assert person.of_service("LoadState") == person.of_socket("LoadState") == "not-found"
    assert person.asks(PAGE) == ""
    assert "nothing to remove" in person.runs("service", "uninstall").out


def test_a_dry_run_shows_both_units_and_changes_nothing(person):
    before = person.files()

    said = person.installs("--dry-run")
    assert "+ListenStream=127.0.0.1:7760" in said.out
    assert f'+Environment="PPMPROXY_UPSTREAM={person.package_manager.url}"' in said.out
    assert person.files() == before

    person.installs()
    assert person.installs("--dry-run").out == "nothing would change\n"
    assert "-ListenStream=127.0.0.1:7760" in person.runs("service", "uninstall", "--dry-run").out
    assert person.of_service("ActiveState") == "active"


def test_what_was_given_by_flags_and_variables_holds_for_the_service(person):
    listen = "127.0.0.1:7761"

    person.installs("--listen", listen, "--log-level", "debug", PPMPROXY_AUDIENCE="pm")

    assert person.asks("http://127.0.0.1:7761/-/ready") == "200 ready\n\n"
    assert person.asks(URL) == ""
    environment = person.of_service("Environment")
    assert "PPMPROXY_LOG_LEVEL=debug" in environment
    assert "PPMPROXY_AUDIENCE=pm" in environment


def test_a_path_that_was_given_from_some_folder_holds_from_everywhere(person):
    person.systemd.write("settings with space/100%/config.toml", f'upstream = "{person.package_manager.url}"\n')

    said = person.runs("service", "install", "--config", "settings with space/100%/config.toml")

    assert said.code == 0, said
    assert person.package_manager.url in person.until_status(person.package_manager.url)
    person.systemd.must("rm", "-r", "settings with space")


def test_a_token_in_the_environment_is_written_nowhere_and_that_is_said(person):
    token = "canary-token-of-the-shell"

    said = person.installs(PPMPROXY_TOKEN=token)

    assert "PPMPROXY_TOKEN is not carried over" in said.err
    assert "PPMPROXY_TOKEN_FILE" in said.err
    assert token not in said.out + said.err
    assert person.systemd.runs("grep", "-r", token, ".config", ".ppm").out == ""
    assert token not in person.systemd.systemctl("show", "ppmproxy.service")
    assert token not in person.systemd.systemctl("show-environment")


@pytest.mark.parametrize(
    ("variable", "value"), [("PPMPROXY_HEADERS", '{ X-Key = "canary" }'), ("PPMPROXY_PROXY", "http://me:canary@p:1")]
)
def test_a_setting_that_may_hold_a_secret_is_refused_rather_than_lost(person, variable, value):
    said = person.runs("service", "install", **person.settings, **{variable: value})

    assert said.code == 3
    assert variable in said.err
    assert "config.toml" in said.err
    assert "canary" not in said.err
    assert person.of_service("LoadState") == "not-found"


def test_a_token_file_is_handed_over_by_systemd_and_used(person):
    token = person.package_manager.token
    person.systemd.write("token", token)

    person.installs(PPMPROXY_TOKEN_FILE="token")
    answer = person.asks(PAGE)

    assert answer.startswith("200 ")
    assert {*person.package_manager.tokens_seen} == {token}
    assert "LoadCredential" not in person.of_service("Environment")
    assert "(systemd credential)" in person.until_status("systemd credential")
    assert token not in person.systemd.systemctl("show", "ppmproxy.service") + person.systemd.journal()


def test_a_token_file_that_is_missing_is_named(person):
    file = person.systemd.home / "token"

    said = person.runs("service", "install", **person.settings, PPMPROXY_TOKEN_FILE="token")

    assert said.code == 5
    assert f"{file} cannot be read" in said.err.splitlines()[-2]
    assert said.err.startswith("the last lines of its log (journalctl --user -u ppmproxy):\n")
    assert person.of_service("ExecMainStatus") == "243"
    status = person.runs("service", "status")
    assert status.code == 1
    assert f"{file} cannot be read" in status.err

    person.systemd.write("token", person.package_manager.token)
    person.systemd.systemctl("restart", "ppmproxy.socket", "ppmproxy.service")
    assert person.runs("service", "status").code == 0


def test_a_unit_that_was_edited_by_hand_is_not_overwritten_silently(person):
    person.installs()
    unit = person.systemd.units / "ppmproxy.service"
    edited = unit.read_text().replace("WatchdogSec=30", "WatchdogSec=31")
    person.systemd.write(unit, edited)

    install, uninstall = person.runs("service", "install", **person.settings), person.runs("service", "uninstall")
    assert (install.code, uninstall.code) == (3, 3)
    assert "edited by hand" in install.err
    assert "systemctl --user edit ppmproxy.service" in install.err
    assert "--force" in install.err
    assert unit.read_text() == edited
    assert "edited by hand" in person.runs("service", "status").out

    person.installs("--force")
    assert "WatchdogSec=30\n" in unit.read_text()


def test_what_the_person_changed_as_one_should_stays_and_counts(person):
    person.installs()
    person.drops_in("ppmproxy.service", "[Unit]\nDescription=Mine\n")

    person.installs()
    assert person.of_service("Description") == "Mine"
    said = person.runs("service", "uninstall")

    assert "ppmproxy.service.d is yours" in said.err
    assert (person.systemd.units / "ppmproxy.service.d" / "test.conf").exists()


def test_another_version_is_upgraded_and_restarted(person):
    person.installs()
    unit = person.systemd.units / "ppmproxy.service"
    start = exec_line(str(person.command), "run")
    environment = tuple(person.settings.items())
    person.systemd.write(unit, with_digest(service_unit(UnitSettings(start, environment=environment)), "0.0.9"))
    person.systemd.systemctl("daemon-reload")
    person.systemd.systemctl("restart", "ppmproxy.service")
    before = person.of_service("MainPID")

    assert "brings it to" in person.runs("service", "status").out

    said = person.installs()

    assert "upgraded from version 0.0.9" in said.out
    assert '-m" "ppmproxy' in unit.read_text()
    assert person.of_service("MainPID") not in {before, "0"}


def test_installing_again_changes_nothing_and_stops_nobody(person):
    person.installs()
    before = person.of_service("MainPID")

    said = person.installs()

    assert "installed already, and running" in said.out
    assert person.of_service("MainPID") == before


def test_installing_again_without_flags_loses_none_of_them(person):
    person.systemd.write("token", person.package_manager.token)
    person.installs("--log-level", "debug", PPMPROXY_TOKEN_FILE="token")

    said = person.runs("service", "install", "--drain-timeout", "5s")

    assert said.code == 0, said
    assert "kept from the last time: PPMPROXY_CA_FILE, PPMPROXY_LOG_LEVEL, PPMPROXY_UPSTREAM" in said.err
    environment = person.of_service("Environment")
    assert "PPMPROXY_LOG_LEVEL=debug" in environment
    assert "PPMPROXY_DRAIN_TIMEOUT=5s" in environment
    assert person.asks(PAGE).startswith("200 ")
    assert person.package_manager.tokens_seen[-1] == person.package_manager.token


def test_another_address_that_is_taken_leaves_the_service_as_it_is(person):
    person.installs()
    before = person.of_service("MainPID")

    with holding(person, "127.0.0.1:7770"):
        said = person.runs("service", "install", "--listen", "127.0.0.1:7770")

    assert said.code == 4
    assert "127.0.0.1:7770 is taken by process" in said.err
    assert person.of_service("MainPID") == before
    assert person.asks(f"{URL}/-/ready").startswith("200 ")


def test_another_address_that_is_free_is_listened_on_instead(person):
    person.installs()

    person.runs("service", "install", "--listen", "127.0.0.1:7770")

    assert person.asks("http://127.0.0.1:7770/-/ready").startswith("200 ")
    assert person.asks(URL) == ""


@pytest.mark.parametrize("address", ["127.0.0.1:7760", "::1:7760"])
def test_a_port_that_is_taken_is_named_with_its_holder_and_nothing_is_written(person, address):
    before = person.files()

    with holding(person, address):
        said = person.runs("service", "install", **person.settings)

    assert said.code == 4
    assert "is taken by process" in said.err
    assert "(python3)" in said.err
    assert len(said.err.splitlines()) == 2
    assert person.files() == before


def test_a_port_that_is_taken_at_boot_is_said_by_the_status(person):
    person.installs()
    person.systemd.systemctl("stop", "ppmproxy.socket", "ppmproxy.service")

    with holding(person, "127.0.0.1:7760"):
        person.systemd.runs("systemctl", "--user", "start", "sockets.target", "ppmproxy.socket")
        said = person.runs("service", "status")

    assert said.code == 1
    assert "127.0.0.1:7760 is taken by process" in said.err
    assert "free the port, then `ppmproxy service install`" in said.err


@pytest.mark.parametrize("mode", [0o755, 0o700])
def test_without_systemd_it_says_so_in_two_lines(person, tmp_path, mode):
    tmp_path.chmod(mode)  # which is root's, and not the person's

    said = person.runs("service", "install", **person.settings, PATH=str(tmp_path))

    assert said.code == 3
    assert said.err.splitlines() == [
        "ppmproxy: systemctl is not installed on this machine",
        "  start `ppmproxy run` in another way",
    ]


def test_without_a_bus_it_says_what_is_missing(person):
    for action in ("install", "uninstall", "status"):
        said = person.runs("service", action, XDG_RUNTIME_DIR="/nonexistent", DBUS_SESSION_BUS_ADDRESS="")

        assert said.code == 3
        assert "the systemd of this user is not running" in said.err
        assert "enable-linger" in said.err
        assert len(said.err.splitlines()) == 2


def test_a_dry_run_needs_no_systemd(person):
    said = person.runs("service", "install", "--dry-run", **person.settings, PATH="/nonexistent")

    assert said.code == 0, said
    assert "+ListenStream=127.0.0.1:7760" in said.out


def test_a_shell_that_lacks_the_place_of_the_bus_is_helped(person):
    said = person.installs(XDG_RUNTIME_DIR="", DBUS_SESSION_BUS_ADDRESS="")

    assert "running, and ready" in said.out


def test_settings_that_are_broken_stop_the_installation_before_it_begins(person):
    person.systemd.write(".config/ppmproxy/config.toml", 'acess = "any"\n')

    said = person.runs("service", "install")

    assert said.code == 3
    assert "config.toml, line 1" in said.err
    assert person.of_service("LoadState") == "not-found"


def test_settings_that_break_later_are_said_by_the_status_with_their_line(person):
    person.installs()
    person.systemd.write(".config/ppmproxy/config.toml", 'acess = "any"\n')

    person.systemd.runs("systemctl", "--user", "restart", "ppmproxy.service")
    said = person.runs("service", "status")

    assert said.code == 1
    assert "config.toml, line 1" in said.err
    assert "ppmproxy service install" in said.err


def test_nothing_installed_is_said(person):
    said = person.runs("service", "status")

    assert (said.code, said.out) == (1, "not installed\n")
    assert "ppmproxy service install" in said.err


def test_a_virtual_environment_with_a_blank_in_its_path_does(person, wheels):
    command = venv(person.systemd, wheels, ".local/an environment 100%")

    said = person.systemd.runs(command, "service", "install", **person.settings)

    assert said.code == 0, said
    assert person.asks(f"{URL}/-/ready") == "200 ready\n\n"


def test_users_who_are_listed_can_be_told_apart_in_the_service(person):
    person.systemd.write("token", person.package_manager.token)
    person.installs("--access", "root,daemon", PPMPROXY_TOKEN_FILE="token")
    ask = ["setpriv", "--reuid=daemon", "--regid=daemon", "--clear-groups", "curl", "-s", "-o", "/dev/null", "-w"]

    said = person.systemd.root_runs(*ask, "%{http_code}", PAGE)

    assert said.out == "200", person.systemd.journal()


def test_what_the_new_service_can_serve_is_told(person):
    token = person.systemd.write("token", person.package_manager.token)

    without = person.installs()
    with_one = person.installs(PPMPROXY_TOKEN_FILE=str(token))

    assert f"ok       upstream: {person.package_manager.url} answers" in without.out
    assert "failed   token: " in without.out
    assert "ppmproxy login" in without.out
    assert "ok       token: " in with_one.out
    assert "taken for pypi" in with_one.out
    assert person.package_manager.token not in with_one.out + with_one.err


def test_an_upstream_that_does_not_answer_is_told_of_a_service_that_runs(person):
    said = person.runs("service", "install", "--upstream", "https://127.0.0.1:9")

    assert said.code == 0, said
    assert "running, and ready" in said.out
    assert "failed   upstream: " in said.out
    assert "https://127.0.0.1:9" in said.out


def test_the_last_lines_of_the_log_are_shown_of_a_service_that_does_not_start(person):
    broken = "[Service]\nExecStart=\nExecStart=/bin/sh -c 'echo these are its last words; exit 1'\nRestart=no\n"
    person.drops_in("ppmproxy.service", broken)

    said = person.runs("service", "install", **person.settings)

    assert said.code == 1, said
    assert "the last lines of its log (journalctl --user -u ppmproxy):" in said.err
    assert "  these are its last words" in said.err
    assert "Traceback" not in said.err
