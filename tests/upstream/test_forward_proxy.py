import os

import pytest

from ppmproxy.errors import UpstreamUnreachableError
from ppmproxy.upstream.forward_proxy import proxy_for

PM = "https://pm.example.com/pypi/"
PROXY = "http://proxy.example.com:3128"


@pytest.fixture
def environ(monkeypatch):
    """Sets the variables given, and no others that name a proxy."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)

    def set_to(variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_to


@pytest.mark.parametrize(
    ("variables", "url", "proxy"),
    [
        ({}, PM, None),
        ({"HTTPS_PROXY": PROXY}, PM, PROXY),
        ({"https_proxy": PROXY}, PM, PROXY),
        ({"https_proxy": "http://lower:1", "HTTPS_PROXY": "http://upper:1"}, PM, "http://lower:1"),
        ({"HTTPS_PROXY": "proxy.example.com:3128"}, PM, PROXY),
        ({"HTTPS_PROXY": "https://proxy.example.com"}, PM, "https://proxy.example.com"),
        ({"HTTPS_PROXY": "http://user:pass@proxy:1"}, PM, "http://user:pass@proxy:1"),
        ({"HTTPS_PROXY": ""}, PM, None),
        ({"HTTP_PROXY": PROXY}, PM, None),
        ({"http_proxy": PROXY}, "http://files.example.com/x", PROXY),
        ({"HTTPS_PROXY": PROXY}, "http://files.example.com/x", None),
        ({"ALL_PROXY": PROXY}, PM, PROXY),
        ({"all_proxy": "http://all:1", "https_proxy": PROXY}, PM, PROXY),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "pm.example.com"}, PM, None),
        ({"HTTPS_PROXY": PROXY, "no_proxy": "example.com"}, PM, None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": ".example.com"}, PM, None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "other.com, pm.example.com"}, PM, None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "*"}, PM, None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "ample.com"}, PM, PROXY),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "localhost,127.0.0.1"}, PM, PROXY),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "pm.example.com:8443"}, "https://pm.example.com:8443/x", None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "pm.example.com:8443"}, "https://pm.example.com:9443/x", PROXY),
    ],
)
def test_the_environment_is_read_as_everyone_reads_it(environ, variables, url, proxy):
    environ(variables)

    assert proxy_for(url, "environment") == proxy


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "[::1]", "localhost:8080", "[::1]:8080"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_upstream_on_this_machine_is_not_asked_through_a_proxy_of_the_environment(environ, scheme, host):
    environ({"HTTP_PROXY": PROXY, "HTTPS_PROXY": PROXY, "ALL_PROXY": PROXY})

    assert proxy_for(f"{scheme}://{host}/x", "environment") is None


@pytest.mark.parametrize("url", [PM, "http://localhost:8080/x"])
def test_what_the_settings_say_overrules_the_environment(environ, url):
    environ({"HTTP_PROXY": PROXY, "HTTPS_PROXY": PROXY, "NO_PROXY": "*"})

    assert proxy_for(url, "none") is None
    assert proxy_for(url, "http://other:3128") == "http://other:3128"


@pytest.mark.parametrize("proxy", ["socks5://proxy:1080", "socks5h://user:s3cret@proxy:1080", "SOCKS4://proxy"])
def test_a_proxy_that_cannot_be_used_is_named_by_its_kind_and_never_by_its_address(environ, proxy):
    environ({"ALL_PROXY": proxy})

    with pytest.raises(UpstreamUnreachableError, match=r"names a socks\w+ proxy for pm\.example\.com") as caught:
        proxy_for(PM, "environment")

    assert "s3cret" not in caught.value.detail
    assert "HTTPS_PROXY" in caught.value.hint
