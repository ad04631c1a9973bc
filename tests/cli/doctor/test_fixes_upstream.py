"""Claims about doctor's fixes for a Package Manager that is not reached, not trusted, or out of order.

Each fault is made to appear, what the fix says is done, and then nothing is found. Some fixes are for the administrator
of the Package Manager; then the fake one changes as the fix asks for.
"""

import datetime as dt
import ssl
import time
from email.utils import formatdate

import pytest
from aiohttp import web
from forward_proxy import ForwardProxy
from plain_http import serving_http

from ppmproxy.testing.package_manager import CertificateAuthority, Delay, LoginPage, Status, wheel

NOWHERE = "http://127.0.0.1:1"
NOW, DAY = dt.datetime.now(dt.timezone.utc), dt.timedelta(days=1)
ANY = "0.0.0.0"  # leads to this machine, and is not called loopback


@pytest.fixture
async def elsewhere(configured, package_manager):
    """A Package Manager whose host is not called loopback, so that a forward proxy is used."""
    server = await package_manager(certificate_for=(ANY,))
    server.add(wheel("pip"))
    url = server.url.replace("127.0.0.1", ANY)
    configured.environ |= {"PPMPROXY_UPSTREAM": url, "PPMPROXY_TOKEN": server.token}
    return server


# --- reached ----------------------------------------------------------------------------------------------------------


async def test_a_package_manager_that_is_not_reached_is_found_once_the_network_is_there(configured, server):
    await server.close()
    found = (await configured.doctor()).of("upstream", "failed")
    assert "cannot connect to" in found["what"]
    assert found["fix"] == "check the network, the VPN and the upstream's url"

    await server.start()

    assert (await configured.doctor()).faults() == set()


async def test_a_url_of_another_host_is_found_once_it_is_corrected(configured, server):
    found = (await configured.doctor(PPMPROXY_UPSTREAM="https://packagemanager.invalid")).of("upstream", "failed")
    assert "the host name is unknown" in found["what"]
    assert "the upstream's url" in found["fix"]

    assert (await configured.doctor(PPMPROXY_UPSTREAM=server.url)).faults() == set()


async def test_a_slow_package_manager_is_found_once_it_has_more_time(configured, server):
    server.add_fault("*", Delay(0.4))
    fix = (await configured.doctor(PPMPROXY_READ_TIMEOUT="0.2s")).of("upstream", "failed")["fix"]
    assert fix == "try again, or raise read_timeout"

    assert (await configured.doctor(PPMPROXY_READ_TIMEOUT="10s")).faults() == set()
    server.clear_faults()
    assert (await configured.doctor(PPMPROXY_READ_TIMEOUT="10s")).faults() == set()


async def test_tls_at_a_url_without_it_is_found_once_the_url_begins_with_https(configured, server):
    plain = server.url.replace("https://", "http://")
    fix = (await configured.doctor(PPMPROXY_UPSTREAM=plain)).of("upstream", "failed")["fix"]
    assert "check whether the upstream's url begins with https://" in fix

    assert (await configured.doctor(PPMPROXY_UPSTREAM=server.url)).faults() == set()


@pytest.mark.parametrize(
    ("wrong", "check", "fix"),
    [
        (NOWHERE, "upstream", 'check HTTPS_PROXY and NO_PROXY, or set proxy = "none" in the settings'),
        ("http://proxy.invalid:3128", "forward-proxy", 'correct HTTPS_PROXY, or set proxy = "none" in the settings'),
        ("http:/proxy.invalid:3128", "forward-proxy", 'correct HTTPS_PROXY, or set proxy = "none" in the settings'),
    ],
)
async def test_a_forward_proxy_that_is_wrong_is_mended_in_each_way_of_the_fix(configured, elsewhere, wrong, check, fix):
    assert (await configured.doctor(HTTPS_PROXY=wrong)).of(check, "failed")["fix"] == fix

    async with ForwardProxy() as proxy:
        corrected = await configured.doctor(HTTPS_PROXY=proxy.url)
    spared = await configured.doctor(HTTPS_PROXY=wrong, NO_PROXY=ANY)
    none = await configured.doctor(HTTPS_PROXY=wrong, PPMPROXY_PROXY="none")

    assert proxy.targets
    assert [report.faults() for report in (corrected, spared, none)] == [set(), set(), set()]


# --- in order ---------------------------------------------------------------------------------------------------------


async def test_a_url_without_its_path_is_mended_by_the_path(configured, server):
    origin = server.url.removesuffix("/rspm")
    fix = (await configured.doctor(PPMPROXY_UPSTREAM=origin)).of("upstream", "warning")["fix"]
    assert fix == "check the upstream's url, its path above all"

    assert (await configured.doctor(PPMPROXY_UPSTREAM=server.url)).faults() == set()


async def test_a_sign_in_page_in_place_of_an_index_is_gone_once_the_url_is_right(configured, server):
    server.add_fault("*", LoginPage())
    found = await configured.doctor()
    assert found.of("upstream", "warning")["fix"] == "check the upstream's url, its path above all"

    server.clear_faults()

    assert (await configured.doctor()).faults() == set()


async def test_a_package_manager_out_of_order_is_found_later_or_once_its_administrator_has_mended_it(
    configured, server
):
    server.add_fault("*", Status(503))
    found = await configured.doctor()
    both = [found.of("upstream", outcome)["fix"] for outcome in ("warning", "failed")]
    assert both == ["try again later, or tell its administrator"] * 2

    server.clear_faults()

    assert (await configured.doctor()).faults() == set()


# --- trusted ----------------------------------------------------------------------------------------------------------


async def test_an_unknown_authority_is_trusted_once_it_is_in_ca_file(configured, ca_file):
    del configured.environ["PPMPROXY_CA_FILE"]
    fix = (await configured.doctor()).of("certificate", "failed")["fix"]
    assert "to ca_file, or to " in fix

    assert (await configured.doctor(PPMPROXY_CA_FILE=str(ca_file))).faults() == set()


async def test_a_ca_file_that_cannot_be_used_is_mended_by_one_in_pem(configured, ca_file):
    fix = (await configured.doctor(PPMPROXY_CA_FILE=str(configured.has("ca.pem", "no certificate")))).of(
        "certificate", "failed"
    )["fix"]
    assert fix == "name a readable PEM file with the certificate authority's certificate"

    named = configured.has("ca.pem", ca_file.read_text())

    assert (await configured.doctor(PPMPROXY_CA_FILE=str(named))).faults() == set()


async def test_a_certificate_of_another_name_is_trusted_once_the_url_has_that_name(configured, package_manager):
    server = await package_manager(certificate_for=("localhost",))
    server.add(wheel("pip"))
    by_address = {"PPMPROXY_UPSTREAM": server.url, "PPMPROXY_TOKEN": server.token}
    fix = (await configured.doctor(**by_address)).of("certificate", "failed")["fix"]
    assert fix.startswith("write the upstream's url with a name that the certificate has")

    by_name = by_address | {"PPMPROXY_UPSTREAM": server.url.replace("127.0.0.1", "localhost")}

    assert (await configured.doctor(**by_name)).faults() == set()


class NegligentAuthority(CertificateAuthority):
    """Its certificates have these dates."""

    def __init__(self, **dates):
        self.dates = dates

    def server_context(self, names, **_):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(*names, **self.dates).configure_cert(context)
        return context


@pytest.mark.parametrize("dates", [{"not_after": NOW - DAY, "not_before": NOW - 2 * DAY}, {"not_before": NOW + DAY}])
async def test_a_certificate_out_of_date_is_trusted_once_the_administrator_has_renewed_it(
    configured, package_manager, dates
):
    authority = NegligentAuthority(**dates)
    server = await package_manager(authority=authority)
    server.add(wheel("pip"))
    configured.environ |= {"PPMPROXY_UPSTREAM": server.url, "PPMPROXY_TOKEN": server.token}
    configured.environ["PPMPROXY_CA_FILE"] = str(server.write_ca(configured.home / "ca.pem"))
    fix = (await configured.doctor()).of("certificate", "failed")["fix"]
    assert fix.startswith("check this machine's date and time, or tell the administrator of ")

    await server.close()
    authority.dates = {}
    await server.start()

    assert (await configured.doctor()).faults() == set()


async def test_a_variable_that_names_unusable_authorities_is_mended_by_either_fix(configured, ca_file):
    report = await configured.doctor(SSL_CERT_FILE=str(configured.has("empty.pem", "")))
    assert report.of("certificate", "ok")
    assert "empty.pem, which is empty" in report.of("certificate", "warning")["what"]
    assert report.of("certificate", "warning")["fix"] == "correct SSL_CERT_FILE, or unset it"

    assert (await configured.doctor(SSL_CERT_FILE=str(ca_file))).faults() == set()
    assert (await configured.doctor()).faults() == set()


async def test_a_url_that_would_send_the_token_unencrypted_is_mended_by_https(configured, elsewhere):
    url = configured.environ["PPMPROXY_UPSTREAM"]
    found = await configured.doctor(PPMPROXY_UPSTREAM=url.replace("https://", "http://"))
    assert found.of("settings", "failed")["fix"] == "write https://"

    assert (await configured.doctor()).faults() == set()


# --- the clocks -------------------------------------------------------------------------------------------------------


async def test_clocks_that_differ_are_no_remark_once_they_agree(configured):
    """The clock of this machine cannot be set here, so the other one is."""
    ahead = {"of": 3600.0}

    async def answer(request):
        headers = {"Date": formatdate(time.time() - ahead["of"], usegmt=True)}
        return web.json_response({"version": "1"}, headers=headers)

    async with serving_http(answer) as url:
        found = (await configured.doctor(PPMPROXY_UPSTREAM=url)).of("clock", "warning")
        ahead["of"] = 0.0
        mended = await configured.doctor(PPMPROXY_UPSTREAM=url)

    assert " s ahead of that of " in found["what"]
    assert found["fix"] == "set the clock, best by a time server (timedatectl set-ntp true)"
    assert mended.faults() == set()
