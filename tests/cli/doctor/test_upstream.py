"""Claims about what doctor finds of the Package Manager: reachable, trusted, in order, and the clocks."""

import re

import pytest
from examined_person import SECRET

from ppmproxy.cli.doctor.checks import clock_check
from ppmproxy.config.model import Upstream
from ppmproxy.testing.package_manager import NoAnswer, Status

NOWHERE = "http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("proxy", "check", "outcome", "said"),
    [
        (f"http://me:{SECRET}@127.0.0.1:1", "forward-proxy", "ok", "is reached through http://****@127.0.0.1:1"),
        (f"http://me:{SECRET}@127.0.0.1:1", "upstream", "failed", "cannot connect to the forward proxy"),
        (
            f"http://me:{SECRET}@proxy.invalid:3128",
            "forward-proxy",
            "failed",
            "HTTPS_PROXY names the forward proxy proxy.invalid:3128",
        ),
        ("http:/proxy.invalid:3128", "forward-proxy", "failed", "HTTPS_PROXY cannot be used for no-such-host"),
        (f"http://me:{SECRET}#@127.0.0.1:1", "forward-proxy", "failed", "HTTPS_PROXY cannot be used for no-such-host"),
    ],
)
async def test_the_forward_proxy_that_is_used_is_checked(configured, proxy, check, outcome, said):
    report = await configured.doctor(PPMPROXY_UPSTREAM="https://no-such-host.invalid", HTTPS_PROXY=proxy)

    assert said in report.of(check, outcome)["what"]


async def test_an_upstream_whose_authority_is_unknown_is_reported_with_the_authority_s_name(configured):
    configured.environ.pop("PPMPROXY_CA_FILE")

    report = await configured.doctor()

    finding = report.of("certificate", "failed")
    assert re.search(r'issued by "[^"]*Testing CA[^"]*trustme[^"]*"', finding["what"])
    assert "ca_file" in finding["fix"]


async def test_the_store_that_trusts_the_certificate_is_named(configured, ca_file):
    by_system = await configured.doctor(SSL_CERT_FILE=str(ca_file))
    configured.environ.pop("PPMPROXY_CA_FILE")
    without = await configured.doctor(SSL_CERT_FILE=str(ca_file))

    assert "even without ca_file" in by_system.of("certificate", "ok")["what"]
    assert str(ca_file) in without.of("certificate", "ok")["what"]


@pytest.mark.parametrize("content", [None, "no certificate"])
async def test_a_ca_file_that_cannot_be_used_is_reported(configured, content):
    file = configured.has("ca.pem", content or "")
    if content is None:
        file.unlink()

    report = await configured.doctor(PPMPROXY_CA_FILE=str(file))

    faults = [one["what"] for one in report.found if one["outcome"] == "failed" and one["check"] != "daemon"]
    assert "ca.pem" in faults[0]


@pytest.mark.parametrize("status", [429, 503])
async def test_a_server_that_is_out_of_order_is_no_wrong_url_and_has_not_taken_the_token(configured, server, status):
    server.add_fault("*", Status(status))

    report = await configured.doctor()

    assert "tell its administrator" in report.of("upstream", "warning")["fix"]
    assert "could not be tried" in report.of("upstream", "failed")["what"]


@pytest.mark.timeout(60)
async def test_an_upstream_that_never_answers_is_not_waited_for_in_vain(configured, server):
    server.add_fault("*", NoAnswer())

    report = await configured.doctor(PPMPROXY_READ_TIMEOUT="1s")

    assert "did not answer in time" in report.of("upstream", "failed")["what"]


def test_clocks_may_differ_by_a_minute():
    date, then = "Thu, 01 Jan 2026 00:00:00 GMT", 1767225600
    found = {skew: clock_check(date, then + skew, Upstream()) for skew in (0, 60, -60, 61, -61)}

    assert {skew: finding.outcome.value for skew, finding in found.items()} == {
        0: "ok",
        60: "ok",
        -60: "ok",
        61: "warning",
        -61: "warning",
    }
    assert "61 s ahead of" in found[61].what
    assert "61 s behind" in found[-61].what
    assert clock_check(None, then, Upstream()) is None
    assert clock_check("yesterday", then, Upstream()) is None
