import asyncio
import sys

import pytest
from downloads import MAY_DOWNLOAD
from processes import plain_environment, run_program
from proxy_client import leaked_forms
from vendor_client import VendorClient, approve_next_sign_in, posit_keyring

from ppmproxy.auth.secret import Secret
from ppmproxy.credentials.token_file import TokenFile

pytestmark = [pytest.mark.real, MAY_DOWNLOAD]

OTHER = "https://other.example.com"


@pytest.fixture
async def server(package_manager):
    return await package_manager(base_path="/rspm", device_interval=1)


@pytest.fixture
def vendor(server, tmp_path):
    return VendorClient(posit_keyring(), server, tmp_path)


@pytest.fixture
def store(vendor):
    return TokenFile(vendor.token_file)


async def vendor_signs_in(vendor):
    _, (token, _) = await asyncio.gather(approve_next_sign_in(vendor.package_manager), vendor.token())
    return Secret(token)


async def login(vendor, ca_file):
    environ = plain_environment(
        vendor.home, PPMPROXY_UPSTREAM=vendor.package_manager.url, PPMPROXY_CA_FILE=str(ca_file)
    )
    command = [sys.executable, "-m", "ppmproxy", "login"]
    _, done = await asyncio.gather(
        approve_next_sign_in(vendor.package_manager), run_program(command, environ, vendor.home)
    )
    assert done.code == 0, done.output
    return done


async def test_a_token_that_posit_keyring_got_is_found(vendor, store):
    token = await vendor_signs_in(vendor)

    assert store.find(vendor.package_manager.url) == token
    assert store.posit_keyring_warning() == ""


async def test_posit_keyring_finds_the_token_of_a_login(vendor, store, ca_file):
    done = await login(vendor, ca_file)
    token = store.find(vendor.package_manager.url).reveal()

    found, _ = await vendor.token()

    assert found == token
    assert len(vendor.package_manager.sign_in.flows) == 1
    assert leaked_forms(token, done.output) == []


async def test_a_file_with_both_survives_writes_from_both(vendor, store, ca_file):
    url = vendor.package_manager.url
    store.save(OTHER, Secret('ours, with "quotes" and \\'))
    first = await vendor_signs_in(vendor)
    assert store.find(OTHER) == Secret('ours, with "quotes" and \\')

    store.save(OTHER, Secret("ours, renewed"))
    assert await vendor.token() == (first.reveal(), "")
    vendor.package_manager.revoke(first.reveal())
    second = await vendor_signs_in(vendor)

    assert vendor.connections() == [
        {"address": OTHER, "token": "ours, renewed", "auth_type": "sso"},
        {"address": url, "token": second.reveal(), "auth_type": "sso"},
    ]
    store.remove(OTHER)
    assert store.find(url) == second
    assert await vendor.token() == (second.reveal(), "")


async def test_a_logout_makes_posit_keyring_sign_in_again_and_start_an_entry_of_its_own(vendor, store, ca_file):
    await login(vendor, ca_file)
    store.remove(vendor.package_manager.url)
    assert vendor.token_file.read_text() == ""

    token = await vendor_signs_in(vendor)

    assert vendor.connections() == [
        {"address": vendor.package_manager.url, "token": token.reveal(), "auth_type": "sso"}
    ]


async def test_the_warning_is_about_entries_for_which_posit_keyring_drops_all(vendor, store):
    store.save(OTHER, Secret("ours"))
    vendor.token_file.write_text(vendor.token_file.read_text() + 'note = "mine"\n')
    assert "line 1" in store.posit_keyring_warning()

    await vendor_signs_in(vendor)

    assert store.find(OTHER) is None
    assert store.posit_keyring_warning() == ""
