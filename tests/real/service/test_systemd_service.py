"""Claims about the daemon under a real systemd: it is started when needed, seen, kept alive, reloaded and ended."""

import json
import signal
import time

import pytest
from downloads import MAY_DOWNLOAD
from service_person import PAGE, URL, answer_of

from ppmproxy.testing.package_manager import jwt

pytestmark = [pytest.mark.real, MAY_DOWNLOAD]

EXPIRES = 4_000_000_000  # 2096-10-02 07:06 UTC
WATCHDOG = 16  # seconds; a daemon on a machine that is busy may be late by 4
QUICK = f"[Service]\nWatchdogSec={WATCHDOG}\nRestartSec=0\n"


@pytest.fixture
def served(person):
    """The service, with a token in a file that systemd hands over."""
    token = jwt({"sub": "somebody", "exp": EXPIRES, "scopes": ["pypi:read"]})
    person.package_manager.told("accept", token, EXPIRES)
    person.systemd.write("token", token)
    person.installs(PPMPROXY_TOKEN_FILE="token")
    return person


def main_pid(person):
    return int(person.of_service("MainPID"))


def until_logged(person, words):
    """Come back when the running daemon has written these words to its log."""
    of_it = f"_PID={main_pid(person)}"
    person.systemd.until(lambda: words in person.systemd.journal(of_it), f"{words} in the journal")


def send(person, number):
    person.systemd.must("kill", f"-{number.name}", str(main_pid(person)))


# --- started, and seen ------------------------------------------------------------------------------------------------


def test_the_first_request_starts_it(served):
    served.systemd.systemctl("stop", "ppmproxy.service")
    assert served.of_service("ActiveState") == "inactive"

    answer = served.asks(PAGE)

    assert answer.startswith("200 ")
    assert served.of_service("ActiveState") == "active"


def test_a_first_request_over_the_other_family_starts_it_too(served):
    served.systemd.systemctl("stop", "ppmproxy.service")

    assert served.asks(PAGE.replace("127.0.0.1", "[::1]")).startswith("200 ")


def test_it_is_ready_when_requests_are_taken_and_says_upstream_token_and_expiry(served):
    status = served.until_status("token from")

    assert served.of_service("SubState") == "running"
    assert served.package_manager.url in status
    assert "credentials/ppmproxy.service/token (systemd credential), until 2096-10-02T07:06:40+00:00" in status
    assert (served.systemd.home / "token").read_text() not in status


def test_the_credential_that_systemd_handed_over_is_the_one_that_is_sent(served):
    served.asks(PAGE)

    assert {*served.package_manager.tokens_seen} == {(served.systemd.home / "token").read_text()}


def test_its_cache_has_a_hit_although_the_home_is_read_only(served):
    served.asks(PAGE)
    served.asks(PAGE)

    until_logged(served, '"cache": "hit"')
    assert (served.systemd.home / ".cache" / "ppmproxy" / "index.sqlite3").exists()


def test_the_log_is_in_the_journal_by_priority_and_no_token_in_it(served):
    served.asks(PAGE)
    served.asks(f"{URL}/x/%2e%2e/y")
    send(served, signal.SIGHUP)
    until_logged(served, '"settings_reloaded"')
    served.systemd.write(".config/ppmproxy/config.toml", 'acess = "any"\n')
    send(served, signal.SIGHUP)
    until_logged(served, '"reload_failed"')

    words = ["journalctl", "-o", "json", f"_PID={main_pid(served)}"]
    lines = [json.loads(line) for line in served.systemd.root_runs(*words).out.splitlines()]
    ours = [(line["PRIORITY"], json.loads(line["MESSAGE"])) for line in lines if line["MESSAGE"].startswith("{")]
    priorities = {(event["event"], event.get("code", "")): priority for priority, event in ours}

    assert {priorities[event, ""] for event in ("daemon_listening", "request", "settings_reloaded")} == {"6"}
    assert priorities["request", "bad-target"] == "4"
    assert priorities["reload_failed", ""] == "3"
    assert (served.systemd.home / "token").read_text() not in served.systemd.journal()


# --- single sign-on ---------------------------------------------------------------------------------------------------

BROWSER = """#!/bin/sh
echo "$*" >~/.local/opened
"""


def test_who_signs_in_while_an_install_waits_has_a_token_for_good(person):
    """Without any file of a token; the browser is outside of the sandbox, or it could not have written that down."""
    browser = person.systemd.write(".local/bin/browser", BROWSER, 0o755)
    person.systemd.systemctl("set-environment", f"BROWSER={browser}")
    person.installs()

    waiting = person.begins(PAGE)
    status = person.until_status("sign in at")
    opened = person.systemd.home / ".local" / "opened"
    person.systemd.until(lambda: opened.exists() and opened.read_text().endswith("\n"), "a browser")
    person.package_manager.told("approve")
    out = answer_of(waiting)

    assert opened.read_text().split()[-1] in status
    assert out.startswith("200 ")
    assert "token from " + str(person.systemd.home / ".ppm" / "tokens.toml") in person.until_status("token from")
    person.systemd.systemctl("restart", "ppmproxy.service")
    assert person.asks(PAGE).startswith("200 ")
    person.systemd.systemctl("unset-environment", "BROWSER")
    opened.unlink()


# --- kept alive -------------------------------------------------------------------------------------------------------


def test_a_crash_is_followed_by_a_restart_and_nobody_is_refused(served):
    before = main_pid(served)

    send(served, signal.SIGKILL)
    answer = served.asks(PAGE)

    assert answer.startswith("200 ")
    assert main_pid(served) not in {before, 0}
    assert served.of_service("NRestarts") == "1"


def test_a_loop_that_is_blocked_is_noticed_and_restarted(served):
    served.drops_in("ppmproxy.service", QUICK)
    served.systemd.systemctl("restart", "ppmproxy.service")
    before = main_pid(served)

    send(served, signal.SIGSTOP)
    waiting = served.begins(PAGE)
    served.systemd.until(lambda: main_pid(served) not in {before, 0}, "a restart")
    out = answer_of(waiting)

    assert served.of_service("NRestarts") == "1"
    assert "Watchdog timeout" in served.systemd.journal()
    assert "Fatal Python error: Aborted" in served.systemd.journal()  # and where it was, below that
    assert out.startswith("200 ") or out == ""  # whether it came in before or after the stopped process had accepted it
    assert served.asks(PAGE).startswith("200 ")


def test_a_loop_that_turns_is_left_alone(served):
    served.drops_in("ppmproxy.service", QUICK)
    served.systemd.systemctl("restart", "ppmproxy.service")
    before = main_pid(served)

    end = time.monotonic() + 2.5 * WATCHDOG
    while time.monotonic() < end:
        assert served.asks(PAGE).startswith("200 ")

    assert main_pid(served) == before
    assert served.of_service("NRestarts") == "0"


def test_settings_that_are_wrong_are_not_tried_again_and_again(served):
    served.systemd.write(".config/ppmproxy/config.toml", 'acess = "any"\n')

    served.systemd.runs("systemctl", "--user", "restart", "ppmproxy.service")

    assert served.of_service("ActiveState") == "failed"
    assert served.of_service("NRestarts") == "0"
    assert "acess" in served.of_service("StatusText")


# --- shut in ----------------------------------------------------------------------------------------------------------


def test_it_can_write_where_its_tokens_are_kept_and_in_no_other_place_of_the_person_s(served):
    home = served.systemd.home
    inside = ["nsenter", f"--target={main_pid(served)}", "--mount", "sh", "-c"]

    places = (home / ".bashrc", home / ".config/systemd/user/x", "/etc/x", "/usr/x")
    refused = [served.systemd.root_runs(*inside, f"echo >> '{place}'").err for place in places]
    kept = served.systemd.root_runs(*inside, f"echo >> {home}/.ppm/x && rm {home}/.ppm/x")

    assert [said for said in refused if "Read-only file system" not in said] == []
    assert kept.code == 0, kept


def test_it_has_no_way_to_more_rights(served):
    status = served.systemd.root_runs("cat", f"/proc/{main_pid(served)}/status").out
    fields = dict(line.split(":\t", 1) for line in status.splitlines())

    assert fields["NoNewPrivs"] == "1"
    assert fields["Seccomp"] == "2"
    assert {fields[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}


def test_another_user_is_refused_and_so_is_root_who_looks_like_one_in_there(served):
    ask = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", PAGE]
    nobody = ["setpriv", "--reuid=daemon", "--regid=daemon", "--clear-groups"]

    assert served.systemd.root_runs(*nobody, *ask).out == "403"
    assert served.systemd.root_runs(*ask).out == "403"
    assert served.package_manager.tokens_seen == []


# --- reloaded ---------------------------------------------------------------------------------------------------------


def test_a_reload_takes_new_settings_while_a_request_goes_on(served):
    served.package_manager.told("hold", "*/simple/hello/")
    waiting = served.begins(PAGE)
    served.systemd.until(lambda: served.package_manager.tokens_seen, "a request at the Package Manager")
    before = main_pid(served)

    served.systemd.write(".config/ppmproxy/config.toml", 'allowed_hosts = ["sidecar"]\nlog_level = "debug"\n')
    served.systemd.systemctl("reload", "ppmproxy.service")
    until_logged(served, '"settings_reloaded"')
    ask = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Host: sidecar", f"{URL}/-/live"]
    admitted = served.systemd.must(*ask)
    served.package_manager.told("let_go")
    out = answer_of(waiting)

    assert admitted == "200"
    assert out.startswith("200 ")
    assert main_pid(served) == before
    assert served.of_service("ActiveState") == "active"


def test_a_reload_of_broken_settings_keeps_the_old_ones_and_says_so(served):
    served.systemd.write(".config/ppmproxy/config.toml", 'acess = "any"\n')

    served.systemd.systemctl("reload", "ppmproxy.service")
    status = served.until_status("not reloaded")

    assert "config.toml, line 1" in status
    assert served.of_service("SubState") == "running"
    assert served.asks(PAGE).startswith("200 ")

    served.systemd.write(".config/ppmproxy/config.toml", "")
    served.systemd.systemctl("reload", "ppmproxy.service")
    served.systemd.until(lambda: "not reloaded" not in served.of_service("StatusText"), "a good reload")


# --- ended ------------------------------------------------------------------------------------------------------------


def test_stopping_finishes_what_is_under_way_and_ends_with_success(served):
    served.package_manager.told("hold", "*/simple/hello/")
    waiting = served.begins(PAGE)
    served.systemd.until(lambda: served.package_manager.tokens_seen, "a request at the Package Manager")

    served.systemd.systemctl("stop", "--no-block", "ppmproxy.service")
    served.until_status("stopping")
    served.package_manager.told("let_go")
    out = answer_of(waiting)
    served.systemd.until(lambda: served.of_service("ActiveState") == "inactive", "the end")

    assert out.startswith("200 ")
    assert served.of_service("ExecMainStatus") == "0"
    assert served.of_service("Result") == "success"


def test_a_request_during_a_restart_waits_and_gets_its_answer(served):
    answers = []
    before = main_pid(served)

    served.systemd.systemctl("restart", "--no-block", "ppmproxy.service")
    while served.of_service("ActiveState") != "active" or main_pid(served) == before:
        answers.append(served.asks(PAGE))
    answers.append(served.asks(PAGE))

    assert [answer[:4] for answer in answers] == ["200 "] * len(answers)


def test_a_person_s_processes_may_end_and_the_service_goes_on_where_they_linger(served):
    """What a logout is to a manager that lingers: every session is gone, and nobody is connected to it any more."""
    served.systemd.root_runs("touch", f"/var/lib/systemd/linger/{served.systemd.name}")
    session = served.begins(f"{URL}/-/live")
    answer_of(session)
    before = main_pid(served)

    served.systemd.systemctl("stop", "dbus.service")

    assert main_pid(served) == before
    assert served.asks(PAGE).startswith("200 ")
    served.systemd.root_runs("rm", f"/var/lib/systemd/linger/{served.systemd.name}")
