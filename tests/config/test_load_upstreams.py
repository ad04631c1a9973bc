"""Claims about the settings of one upstream and of several."""

import pytest
from loaded_settings import loaded, mistake, only_upstream, settings_of, shown

from ppmproxy.config.model import PUBLIC_URL, LogLevel

URL = "https://pm.example.com/rspm"


TWO = f'[upstream.default]\nurl = "{URL}"\n[upstream.lab]\nurl = "https://lab.example.com"\n'


@pytest.mark.parametrize(
    ("text", "environ", "flags"),
    [
        (f'upstream = "{URL}"', {}, {}),
        (f'url = "{URL}"', {}, {}),
        (f'[upstream.default]\nurl = "{URL}"', {}, {}),
        (f'upstream.default = {{ url = "{URL}" }}', {}, {}),
        (None, {"PPMPROXY_UPSTREAM": URL}, {}),
        (None, {"PPMPROXY_URL": URL}, {}),
        (None, {"PACKAGEMANAGER_ADDRESS": URL}, {}),
        (None, {}, {"upstream": URL}),
        (None, {}, {"url": URL}),
        ('upstream = "https://other.example.com"', {}, {"url": URL}),
        ('[upstream.default]\nurl = "https://other.example.com"', {"PPMPROXY_UPSTREAM": URL}, {}),
        (f'url = "{URL}"', {"PACKAGEMANAGER_ADDRESS": "https://other.example.com"}, {}),
        ("", {"PPMPROXY_URL": URL, "PACKAGEMANAGER_ADDRESS": "https://other.example.com"}, {}),
        (None, {"PACKAGEMANAGER_ADDRESS": "not a URL"}, {"url": URL}),
    ],
)
def test_one_upstream_can_be_named_in_each_of_these_ways(text, environ, flags):
    upstream = only_upstream(text, environ, flags)

    assert (upstream.name, upstream.url, upstream.mount, upstream.configured) == ("default", URL, "/", True)


def test_the_vendors_variable_comes_last_and_is_named_as_the_source():
    found = loaded('scheme = "basic"', {"PACKAGEMANAGER_ADDRESS": URL})

    assert shown(found, "upstream.default.url") == (f'"{URL}"', "environment PACKAGEMANAGER_ADDRESS")


def test_the_vendors_variable_also_serves_a_table_without_url():
    assert only_upstream("[upstream.work]", {"PACKAGEMANAGER_ADDRESS": URL}).url == URL


def test_an_empty_vendors_variable_is_ignored():
    assert only_upstream(environ={"PACKAGEMANAGER_ADDRESS": ""}).configured is False


def test_the_vendors_variable_is_named_when_it_is_wrong():
    assert mistake(environ={"PACKAGEMANAGER_ADDRESS": "pm.example.com"}).startswith("PACKAGEMANAGER_ADDRESS is ")


def test_other_keys_do_not_make_the_public_default_a_configured_upstream():
    upstream = only_upstream('scheme = "basic"', {"PPMPROXY_READ_TIMEOUT": "5s"})

    assert (upstream.url, upstream.configured, upstream.read_timeout) == (PUBLIC_URL, False, 5.0)


def test_the_public_upstream_is_given_no_credential_even_when_somebody_names_it():
    assert not only_upstream(f'url = "{PUBLIC_URL}"').configured


def test_credentials_may_stand_at_the_top_with_one_upstream():
    upstream = only_upstream(f'url = "{URL}"\n[[credentials]]\nfrom = "netrc"\n')

    assert [credential.source for credential in upstream.credentials] == ["netrc"]


def test_credentials_without_an_upstream_are_refused():
    assert "has no upstream" in mistake('[[credentials]]\nfrom = "netrc"')


def test_an_empty_list_of_credentials_is_the_standard_chain():
    assert only_upstream("credentials = []").credentials is None


@pytest.mark.parametrize(
    ("names", "mounts"),
    [
        (["default"], ["/"]),
        (["work"], ["/"]),
        (["default", "lab"], ["/", "/lab"]),
        (["lab", "default"], ["/lab", "/"]),
        (["work", "lab"], ["/work", "/lab"]),
    ],
)
def test_mounts_follow_from_the_names(names, mounts):
    text = "".join(f'[upstream.{name}]\nurl = "https://{name}.example.com"\n' for name in names)

    upstreams = settings_of(text).upstreams

    assert [upstream.name for upstream in upstreams] == names
    assert [upstream.mount for upstream in upstreams] == mounts


def test_a_mount_may_lie_below_another():
    text = TWO + 'mount = "/pypi/lab"'

    assert [upstream.mount for upstream in settings_of(text).upstreams] == ["/", "/pypi/lab"]


@pytest.mark.parametrize("mount", ["/", "/lab/"])
def test_two_equal_mounts_are_an_error(mount):
    text = TWO + f'[upstream.third]\nurl = "https://third.example.com"\nmount = "{mount}"\n'

    message = mistake(text)

    assert "line 7: upstream.third.mount" in message
    assert "the mount of" in message


@pytest.mark.parametrize(
    ("text", "environ", "flags"),
    [
        ('scheme = "basic"\n' + TWO, {}, {}),
        ('credentials = [{ from = "none" }]\n' + TWO, {}, {}),
        (TWO, {"PPMPROXY_SCHEME": "basic"}, {}),
        (TWO, {"PPMPROXY_UPSTREAM": URL}, {}),
        (TWO, {}, {"sign_in": "never"}),
    ],
)
def test_with_several_upstreams_a_key_outside_their_tables_is_an_error_that_says_so(text, environ, flags):
    message = mistake(text, environ, flags)

    assert "does not name one of the 2 upstreams" in message
    assert "[upstream.default], [upstream.lab]" in message


def test_the_cache_s_keys_at_the_top_are_for_every_upstream_that_has_not_its_own():
    text = "cache_recheck = 5\n" + TWO + "\ncache_recheck = 7\n"

    in_file = settings_of(text).upstreams
    overruled = settings_of(text, {"PPMPROXY_CACHE_RECHECK": "9s"}).upstreams

    assert [upstream.cache_recheck for upstream in in_file] == [5, 7]
    assert [upstream.cache_recheck for upstream in overruled] == [9, 9]


def test_with_several_upstreams_keys_of_the_daemon_may_come_from_anywhere():
    assert settings_of(TWO, {"PPMPROXY_LOG_LEVEL": "error"}).log_level is LogLevel.ERROR


@pytest.mark.parametrize("text", ["[upstream.default]", "[upstream.lab]", TWO + "[upstream.third]"])
def test_an_upstream_without_url_is_an_error(text):
    assert "has no url" in mistake(text)


@pytest.mark.parametrize(
    ("text", "environ", "flags"),
    [
        (f'url = "{URL}"\n[upstream.default]\nurl = "{URL}"', {}, {}),
        (f'scheme = "basic"\n[upstream.default]\nurl = "{URL}"\nscheme = "basic"', {}, {}),
        (f'upstream = "{URL}"\nurl = "{URL}"', {}, {}),
        (None, {"PPMPROXY_URL": URL, "PPMPROXY_UPSTREAM": URL}, {}),
        (None, {}, {"url": URL, "upstream": URL}),
    ],
)
def test_two_keys_for_one_setting_in_one_layer_are_an_error(text, environ, flags):
    assert "repeats " in mistake(text, environ, flags)
