"""Each link leads through the proxy to where it led, and changes only if it has to."""

from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rewritten_pages import LINKS as LINK_MAP
from rewritten_pages import LOCAL, PAGE, UPSTREAM, localize

from ppmproxy.config.model import Upstream
from ppmproxy.index.link_map import LinkMap
from ppmproxy.index.link_resolver import BrokenPage, LinkResolver, Reference, resolved

PATIENT = settings(deadline=None)  # a busy machine is no failure


def replacement(link, page_url=UPSTREAM + PAGE, local_path=PAGE, localize=localize):
    return LinkResolver(page_url, local_path, localize).replacement(link)


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        (f"{UPSTREAM}/packages/1/idna-1.whl", "/packages/1/idna-1.whl"),
        (f"{UPSTREAM}/packages/1/idna-1.whl#sha256=1", "/packages/1/idna-1.whl#sha256=1"),
        (f"{UPSTREAM}/p/a%7Eb+c%2Bd.whl?X-Sig=%2F%3d&b=+#x%20y", "/p/a%7Eb+c%2Bd.whl?X-Sig=%2F%3d&b=+#x%20y"),
        (f"{UPSTREAM}/p/x?next=/../y", "/p/x?next=/../y"),
        (f"{UPSTREAM}/p/x?#", "/p/x?#"),
        (f"{UPSTREAM}/p//x", "/p//x"),
        (f"{UPSTREAM}/p/../q/./x.whl", "/q/x.whl"),
        (f"HTTPS{UPSTREAM[5:]}/p/x.whl", "/p/x.whl"),
        (f" {UPSTREAM}/p/x.whl\n", "/p/x.whl"),
        (f"{UPSTREAM}/p/\tx\n.whl", "/p/x.whl"),
        (f"{UPSTREAM[6:]}/p/x.whl", "/p/x.whl"),
        (f"{UPSTREAM}/p/\u00e9.whl", "/p/\u00e9.whl"),
        (f"https:\\\\{UPSTREAM[8:]}/p/x.whl?\\", "/p/x.whl?\\"),
        (f"https:/{UPSTREAM[8:]}/p/x.whl", "/p/x.whl"),
        (f"https:{UPSTREAM[8:]}/p/x.whl#a", "/p/x.whl#a"),
        (f"hTTps:///{UPSTREAM[8:]}/p/x.whl", "/p/x.whl"),
        (f"https:/\\/{UPSTREAM[8:]}/p/x.whl", "/p/x.whl"),
        (f"https://{UPSTREAM[8:]}\\p\\x.whl", "/p/x.whl"),
        (f"///{UPSTREAM[8:]}/p/x.whl", "/p/x.whl"),
        (f"/\\{UPSTREAM[8:]}/p/x.whl", "/p/x.whl"),
        (f"\\\\{UPSTREAM[8:]}\\p\\x.whl", "/p/x.whl"),
        ("\\rspm\\p\\x.whl", "/p/x.whl"),
        ("https://ppm.example.com\\rspm\\q\\..\\p\\@x.whl", "/p/@x.whl"),
        ("/rspm/p/x.whl", "/p/x.whl"),
        ("../../../../../../rspm/p/x.whl", "/p/x.whl"),
    ],
)
def test_a_link_to_the_upstream_becomes_root_relative(link, expected):
    assert replacement(link) == expected


@pytest.mark.parametrize(
    "link",
    [
        "idna-1.whl",
        "./idna-1.whl",
        "../../packages/1/idna-1.whl#sha256=1",
        "../../packages/./1/../idna-1.whl",
        "../../../../idna-1.whl",
        "..",
        ".hidden",
        "1:2/x.whl",
        "?page=2",
        "a//b",
        "a?next=/../b",
    ],
)
def test_a_relative_link_that_stays_right_is_left_as_it_is(link):
    assert replacement(link) is None


@pytest.mark.parametrize(
    "link",
    [
        "https://files.example.org/idna-1.whl",
        "https://files.example.org/a/../idna-1.whl",
        "https://ppm.example.com/elsewhere/x",
        f"{UPSTREAM}-internal/x",
        "",
        "  ",
        "#top",
        "mailto:admin@example.com",
        "javascript:alert(1)",
        "data:text/plain,https://ppm.example.com/rspm/x",
        "https:x",
        "https:/x",
        "https:///x",
        "a\\..\\b",
        "https:\\\\files.example.org\\idna-1.whl",
        "https:/files.example.org/idna-1.whl",
        "https:////rspm/p/x.whl",
        "ftp:\\\\ppm.example.com\\rspm\\p\\x.whl",
        "idna-1.whl?\\",
    ],
)
def test_a_link_that_leads_elsewhere_or_nowhere_is_left_as_it_is(link):
    assert replacement(link) is None


@pytest.mark.parametrize(
    "link",
    ["https://evil.example.com\\@ppm.example.com/rspm/x.whl", "//evil.example.com\\@ppm.example.com/rspm/x.whl"],
)
def test_a_link_that_one_client_reads_as_the_upstreams_and_another_as_somebody_elses_is_refused(link):
    with pytest.raises(BrokenPage, match=r"clients read the link .* in different ways"):
        LinkResolver(UPSTREAM + PAGE, PAGE, LinkMap(Upstream(url=UPSTREAM, configured=True)).local).replacement(link)


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        (f"https:\\\\{UPSTREAM[8:]}\\p\\", "/p/x.whl"),
        (f"https:/{UPSTREAM[8:]}/p/", "/p/x.whl"),
        ("\\rspm\\p\\", "/p/x.whl"),
    ],
)
def test_a_base_is_read_as_a_link(base, expected):
    links = LinkResolver(UPSTREAM + PAGE, PAGE, localize)

    links.set_base(base)

    assert links.replacement("x.whl") == expected


def test_a_link_that_climbs_out_of_the_base_path_leads_there_all_the_same():
    assert replacement("../../../../../other/x.whl") == "https://ppm.example.com/other/x.whl"
    assert replacement("/other/x.whl") == "https://ppm.example.com/other/x.whl"


def test_a_link_without_a_scheme_keeps_the_upstreams():
    assert replacement("//files.example.org/x.whl") == "https://files.example.org/x.whl"
    assert replacement("//files.example.org/x.whl", "http://ppm.example.com/") is None


def test_links_of_a_redirected_page_are_resolved_against_where_it_came_from():
    redirected = f"{UPSTREAM}/pypi/2024-01-01/simple/idna/"

    assert replacement("idna-1.whl", redirected) == "/pypi/2024-01-01/simple/idna/idna-1.whl"
    assert replacement("../../packages/1/x.whl#a=1", redirected) == "/pypi/2024-01-01/packages/1/x.whl#a=1"
    assert replacement("../../../../x.whl", redirected) is None
    assert replacement("idna-1.whl", "https://cdn.example.org/pages/idna") == "https://cdn.example.org/pages/idna-1.whl"
    assert replacement("?page=2", "https://cdn.example.org/i?page=1") == "https://cdn.example.org/i?page=2"


def test_links_below_a_mount_are_told_apart_from_those_at_the_root():
    def mounted(url):
        return f"/internal{localize(url)}" if url.startswith(f"{UPSTREAM}/") else url

    assert replacement("../../x.whl", local_path=f"/internal{PAGE}", localize=mounted) is None
    assert replacement("/rspm/x.whl", local_path=f"/internal{PAGE}", localize=mounted) == "/internal/x.whl"
    assert replacement(f"{UPSTREAM}/x.whl", local_path=f"/internal{PAGE}", localize=mounted) == "/internal/x.whl"


def test_a_path_with_two_slashes_in_front_does_not_become_a_host():
    assert replacement(f"{UPSTREAM}//evil.example.org/x.whl") == "/evil.example.org/x.whl"


def test_a_link_that_cannot_be_parsed_is_left_as_it_is():
    def strict(url):
        return localize(f"{url}{urlsplit(url).port or ''}")

    assert replacement("https://ppm.example.com:port/x", localize=strict) is None
    assert replacement("//[::1/x", localize=strict) is None


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        # RFC 3986 section 5.4.1
        *(("g:h", "g:h"), ("g", "/b/c/g"), ("./g", "/b/c/g"), ("g/", "/b/c/g/"), ("/g", "/g"), ("//g", "http://g")),
        *(
            ("?y", "/b/c/d;p?y"),
            ("g?y", "/b/c/g?y"),
            ("#s", "/b/c/d;p?q#s"),
            ("g#s", "/b/c/g#s"),
            ("g?y#s", "/b/c/g?y#s"),
        ),
        *((";x", "/b/c/;x"), ("g;x", "/b/c/g;x"), ("g;x?y#s", "/b/c/g;x?y#s"), ("", "/b/c/d;p?q"), (".", "/b/c/")),
        *(
            ("./", "/b/c/"),
            ("..", "/b/"),
            ("../", "/b/"),
            ("../g", "/b/g"),
            ("../..", "/"),
            ("../../", "/"),
            ("../../g", "/g"),
        ),
        # section 5.4.2
        *(
            ("../../../g", "/g"),
            ("../../../../g", "/g"),
            ("/./g", "/g"),
            ("/../g", "/g"),
            ("g.", "/b/c/g."),
            (".g", "/b/c/.g"),
        ),
        *(("g..", "/b/c/g.."), ("..g", "/b/c/..g"), ("./../g", "/b/g"), ("./g/.", "/b/c/g/"), ("g/./h", "/b/c/g/h")),
        *(("g/../h", "/b/c/h"), ("g;x=1/./y", "/b/c/g;x=1/y"), ("g;x=1/../y", "/b/c/y"), ("g?y/./x", "/b/c/g?y/./x")),
        *(("g#s/../x", "/b/c/g#s/../x"), ("http:g", "http:g")),
    ],
)
def test_references_are_resolved_as_rfc_3986_shows(reference, expected):
    base = Reference.of("http://a/b/c/d;p?q")

    assert str(resolved(Reference.of(reference), base)) == (f"http://a{expected}" if expected[0] == "/" else expected)


SEGMENTS = st.lists(
    st.sampled_from(["..", ".", "a", "b~%7E", "c+d", "idna-1.whl", "x:y", "..."]), min_size=1, max_size=6
)
TAILS = st.sampled_from(["", "#sha256=1", "?a=1&b=%2F", "?a=/../b#c", "?x=https://ppm.example.com/rspm/"])
STARTS = st.sampled_from(["", "/", "/rspm/", f"{UPSTREAM}/", "https://files.example.org/", "//ppm.example.com/rspm/"])
LINKS = st.builds(lambda start, segments, tail: start + "/".join(segments) + tail, STARTS, SEGMENTS, TAILS)
PLACES = st.sampled_from([PAGE, "/pypi/latest/simple/", "/", "/x/y", "/pypi/2024-01-01/simple/idna/?a=b/c"])


def normal(url):
    """A URL as clients ask for it: `urljoin` leaves the dots in absolute ones."""
    return str(resolved(Reference.of(url), Reference()))


@PATIENT
@given(LINKS, PLACES, PLACES)
def test_through_the_proxy_every_link_leads_where_it_led(link, upstream_place, local_place):
    page_url = UPSTREAM + upstream_place
    local = LinkResolver(page_url, local_place, localize).replacement(link)
    by_prefix = LinkResolver(page_url, local_place, localize, LINK_MAP.local_prefix).replacement(link)

    target = normal(urljoin(page_url, link))
    as_seen = normal(urljoin(LOCAL + local_place, link if local is None else local))

    assert as_seen == urljoin(LOCAL, localize(target))
    assert local is None or normal(urljoin(LOCAL + local_place, link)) != as_seen
    assert by_prefix == local
