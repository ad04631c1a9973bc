"""A redirect leads where clients would go, percent-encoded, and never from https to plain http."""

import pytest

from ppmproxy.config.model import Upstream
from ppmproxy.errors import UpstreamUnexpectedError
from ppmproxy.upstream.messages import UpstreamRequest
from ppmproxy.upstream.redirects import next_hop

UPSTREAM = Upstream(url="https://pm.example.com/rspm", configured=True)
URL = "https://pm.example.com/rspm/pypi/latest/x.whl?a=b"


def hop(location, url=URL):
    return next_hop(UpstreamRequest("GET", url, []), UPSTREAM, url, location)


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("y.whl", "https://pm.example.com/rspm/pypi/latest/y.whl"),
        ("/rspm/y.whl", "https://pm.example.com/rspm/y.whl"),
        ("../../p//y.whl", "https://pm.example.com/rspm/p//y.whl"),
        ("?c", "https://pm.example.com/rspm/pypi/latest/x.whl?c"),
        ("//cdn.example.org/y.whl", "https://cdn.example.org/y.whl"),
        ("https://cdn.example.org/a/../y.whl#f", "https://cdn.example.org/y.whl"),
        ("HTTPS://cdn.example.org", "https://cdn.example.org"),
        # An empty query is one.
        ("y.whl?", "https://pm.example.com/rspm/pypi/latest/y.whl?"),
        ("https://cdn.example.org/y.whl?#f", "https://cdn.example.org/y.whl?"),
        ("https://me:secret@cdn.example.org/y.whl?", "https://cdn.example.org/y.whl?"),
        # Bytes that are not ASCII, as aiohttp passes them on.
        ("/rspm/\u00e9.whl?\u4e2d", "https://pm.example.com/rspm/%C3%A9.whl?%E4%B8%AD"),
        ("/rspm/\udce9.whl", "https://pm.example.com/rspm/%E9.whl"),
        ("/rspm/a b%20c%2B.whl", "https://pm.example.com/rspm/a%20b%20c%2B.whl"),
        ("/rspm/\u202e.whl", "https://pm.example.com/rspm/%E2%80%AE.whl"),
        # A server behind a TLS terminator that does not know it.
        ("http://pm.example.com/rspm/y.whl?", "https://pm.example.com/rspm/y.whl?"),
        ("http://PM.example.com:80/rspm/y.whl", "https://pm.example.com/rspm/y.whl"),
        ("http://pm.example.com:443/rspm/y.whl", "https://pm.example.com/rspm/y.whl"),
        ("http://pm.example.com/elsewhere/y.whl", "https://pm.example.com/elsewhere/y.whl"),
    ],
)
def test_a_redirect_leads_to(location, target):
    assert hop(location) == target


@pytest.mark.parametrize(
    ("location", "why"),
    [
        ("http://cdn.example.org/y.whl", "from https to plain http"),
        ("http://pm.example.com:8080/rspm/y.whl", "from https to plain http"),
        ("ftp://pm.example.com/rspm/y.whl", "an address that is not http"),
        ("https:y.whl", "an address that is not http"),
        ("https://[::1", "an address that is not http"),
        ("https://\u00e9.example.org/y.whl", "an address that is not http"),
        ("/rspm/a\tb", "an address that is not http"),
        ("/rspm/a\x7f", "an address that is not http"),
        ("http://pm.example.com/rspm/__api__/tokens", "does not forward"),
        ("/rspm/__api__\uff0ftokens", "does not forward"),
    ],
)
def test_a_redirect_is_not_followed_to(location, why):
    with pytest.raises(UpstreamUnexpectedError, match=why):
        hop(location)
