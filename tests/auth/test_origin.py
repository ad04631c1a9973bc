import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppmproxy.auth.origin import Origin

PM = Origin("https", "pm.example.com", 443)


@pytest.mark.parametrize(
    "url",
    [
        "https://pm.example.com",
        "https://pm.example.com/",
        "https://pm.example.com:443",
        "https://pm.example.com:0443/x",
        "https://pm.example.com:",
        "HTTPS://PM.Example.COM/rspm?q#f",
        "https://user:password@pm.example.com/",
        "https://other.example.com@pm.example.com/",
    ],
)
def test_spellings_of_one_server_have_one_origin(url):
    assert Origin.of(url) == PM


@pytest.mark.parametrize(
    "url",
    [
        "http://pm.example.com",
        "http://pm.example.com:443",
        "https://pm.example.com:80",
        "https://pm.example.com:8443",
        "https://pm.example.com.",
        "https://pm.example.com.evil.com",
        "https://evil-pm.example.com",
        "https://pm.example.com@evil.com",
        "https://pm.example.com:443@evil.com",
        "https://pm.example.com%2e",
        "https://pm%2eexample.com",
    ],
)
def test_another_scheme_host_or_port_is_another_origin(url):
    assert Origin.of(url) != PM


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/pypi/latest/simple/",
        "//pm.example.com/",
        "pm.example.com",
        "pm.example.com:443",
        "https:pm.example.com",
        "https:/pm.example.com",
        "https://",
        "https://:443",
        "https://user@:443",
        "ftp://pm.example.com",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "https://pm.example.com:port",
        "https://pm.example.com:-1",
        "https://pm.example.com:65536",
        "https://pm.example.com:\u0664\u0664\u0663",
        "https://[::1",
        "https://p\u212ag.example.com",
        "https://pm.example.com\uff0fevil",
    ],
)
def test_only_absolute_http_urls_have_an_origin(url):
    with pytest.raises(ValueError):
        Origin.of(url)


def test_a_letter_that_lower_cases_to_ascii_does_not_make_a_host_the_same():
    kelvin = "https://pac\u212aage.example.com"

    assert kelvin.lower() == "https://package.example.com"
    with pytest.raises(ValueError):
        Origin.of(kelvin)


@pytest.mark.parametrize(
    ("url", "origin", "written"),
    [
        ("https://[::1]/", Origin("https", "::1", 443), "https://[::1]"),
        ("http://[2001:DB8::1]:8080/", Origin("http", "2001:db8::1", 8080), "http://[2001:db8::1]:8080"),
        ("http://127.0.0.1:80/", Origin("http", "127.0.0.1", 80), "http://127.0.0.1"),
        ("http://h:443/", Origin("http", "h", 443), "http://h:443"),
    ],
)
def test_an_origin_is_written_without_its_default_port_and_ipv6_in_brackets(url, origin, written):
    assert Origin.of(url) == origin
    assert str(origin) == written


@given(
    scheme=st.sampled_from(["http", "https"]),
    host=st.one_of(
        st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?", fullmatch=True),
        st.ip_addresses(v=6).map(str),
    ),
    port=st.integers(0, 65535),
)
def test_an_origin_reads_back_as_it_was_written(scheme, host, port):
    origin = Origin(scheme, host, port)

    assert Origin.of(str(origin)) == origin
    assert Origin.of(f"{origin}/path?query") == origin


@given(st.text(max_size=60))
def test_any_text_has_an_origin_or_is_refused(text):
    try:
        origin = Origin.of(text)
    except ValueError:
        return

    assert origin.host.isascii()
    assert origin.host == origin.host.lower()
