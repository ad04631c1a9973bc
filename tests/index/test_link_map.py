"""The local paths that links to the upstream become, and that these lead back to where the links led."""

from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppmproxy.auth.origin import Origin
from ppmproxy.auth.paths import is_plain_path
from ppmproxy.config.model import Upstream
from ppmproxy.errors import PpmProxyError
from ppmproxy.index.link_map import LONGEST_TARGET, LinkMap, RealLinks
from ppmproxy.index.link_resolver import REST, BrokenPage, has_encoded
from ppmproxy.index.routing import target_of

FILES = Origin("https", "files.example.com", 443)
STORE = Origin("http", "store.example.com", 8080)

PM = Upstream(url="https://pm.example.com", configured=True)
BELOW = Upstream(url="https://pm.example.com/rspm", mount="/", configured=True, file_hosts=(FILES, STORE))
OTHER = Upstream(name="other", url="https://other.example.com/base", mount="/other", configured=True)
NESTED = Upstream(name="nested", url="https://nested.example.com", mount="/other/nested", configured=True)
ALL = (BELOW, OTHER, NESTED)


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("https://pm.example.com/rspm/pypi/x.whl#sha256=ab", "/pypi/x.whl#sha256=ab"),
        ("https://pm.example.com:443/rspm/x?a=%2F../b&c#d", "/x?a=%2F../b&c#d"),
        ("HTTPS://PM.Example.com/rspm/x", "/x"),
        ("https://pm.example.com/rspm", "/"),
        ("https://pm.example.com/rspm/", "/"),
        ("https://pm.example.com/rspm?q", "/?q"),
        ("https://pm.example.com/rspm/x?", "/x?"),
        ("https://pm.example.com/rspm/x#", "/x#"),
        ("https://pm.example.com/rspm/x?#", "/x?#"),
        ("https://pm.example.com/rspm/%7Ea+b%2Bc/\u00e9", "/%7Ea+b%2Bc/\u00e9"),
        ("https://__token__:s3cret@pm.example.com/rspm/x", "/x"),
        ("http://pm.example.com/rspm/x", "/x"),
        ("http://pm.example.com:443/rspm/x", "/x"),
        ("https://pm.example.com./rspm/x", "/x"),
        ("https://PM.example%2Ecom:443/rspm/x?a#b", "/x?a#b"),
        ("https://\uff50\uff4d.example\u3002com/rspm/x", "/x"),
        ("https://p\u00adm.example.com:0443/rspm/x", "/x"),
        ("https://us\u00e9r:p@pm.example.com/rspm/x", "/x"),
        ("https://pm.example.com//rspm//pypi///x.whl", "/pypi/x.whl"),
        ("https://pm.example.com//rspm", "/"),
        ("https://files.example.com./a.whl", "/-/files/default/files.example.com/a.whl"),
        ("https://files.example.com/a.whl?sig=%2F#h", "/-/files/default/files.example.com/a.whl?sig=%2F#h"),
        ("https://files.example.com", "/-/files/default/files.example.com/"),
        ("http://store.example.com:8080/a", "/-/files/default/http+store.example.com:8080/a"),
    ],
)
def test_a_link_to_the_upstream_or_a_file_host_becomes_local(url, local):
    assert LinkMap(BELOW).local(url) == local


@pytest.mark.parametrize(
    "url",
    [
        "https://pypi.example.org/rspm/x.whl",
        "https://pm.example.com/",
        "https://pm.example.com/rspm-evil/x",
        "https://pm.example.com/RSPM/x",
        "https://pm.example.com:8443/rspm/x",
        "http://pm.example.com:8080/rspm/x",
        "https://pm.example.com..evil.com/rspm/x",
        "https://pm.example.com.evil.com/rspm/x",
        "https://xpm.example.com/rspm/x",
        "https://pm%2fexample.com/rspm/x",
        "https://pm.example.com/%2e%2e/rspm-evil/x.whl",
        "https://pm.example.com@evil.com/rspm/x",
        "http://files.example.com/a",
        "https://store.example.com:8080/a",
        "https://pm.example.com/rspm/../x",
        "https://pm.example.com/rspm/a%2fb",
        "https://pm.example.com/rspm/..;/x",
        "https://pm.example.com/rspm/a\tb?c",
        "https://pm.example.com/rspm/a\nb",
        "https://pm.example.com:port/rspm/x",
        "https://[pm/rspm/x",
        "/rspm/x",
        "x.whl",
        "mailto:a@pm.example.com",
        "",
    ],
)
def test_every_other_link_is_left_alone(url):
    assert LinkMap(BELOW).local(url) == url


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("https://pm.example.com//evil.com/x.whl", "/evil.com/x.whl"),
        ("https://pm.example.com///x//y", "/x/y"),
        ("https://pm.example.com//", "/"),
    ],
)
def test_a_local_link_never_begins_with_two_slashes_which_would_name_a_host(url, local):
    assert LinkMap(PM).local(url) == local
    assert urlsplit(urljoin("http://127.0.0.1:7760/pypi/", LinkMap(PM).local(url))).netloc == "127.0.0.1:7760"


@pytest.mark.parametrize(
    "url", ["https://pm.example.com/rspm/-/live", "https://pm.example.com/rspm//-/files/default/x"]
)
def test_a_link_is_left_alone_where_the_proxy_has_a_page_of_its_own(url):
    assert LinkMap(BELOW).local(url) == url


@pytest.mark.parametrize(
    ("upstream", "url", "local"),
    [
        (BELOW, "https://pm.example.com/rspm/other/x", None),
        (BELOW, "https://pm.example.com/rspm/other", None),
        (BELOW, "https://pm.example.com/rspm/others/x", "/others/x"),
        (OTHER, "https://other.example.com/base/nested/x", None),
        (OTHER, "https://other.example.com/base/x", "/other/x"),
        (NESTED, "https://nested.example.com/x", "/other/nested/x"),
    ],
)
def test_a_link_is_left_alone_where_another_upstream_is_mounted(upstream, url, local):
    for others in (ALL, tuple(other for other in ALL if other is not upstream)):
        assert LinkMap(upstream, others).local(url) == (url if local is None else local)


ADDRESSES = [
    *("127.0.0.1", "127.0.0.1.", "127.1", "0177.0.0.1", "0x7f.0.0.1", "2130706433", "0x7F000001", "127%2e0.0.1"),
    *("\uff11\uff12\uff17.0.0.1", "127\u30020.0.1", "[::ffff:127.0.0.1]", "127.0.000.1"),
]


@pytest.mark.parametrize("host", ADDRESSES)
@pytest.mark.parametrize("place", ["", "pypi/"])
def test_an_address_may_be_spelled_in_any_way(host, place):
    links = LinkMap(Upstream(url="http://127.0.0.1:8080/rspm", configured=True))
    url = f"http://{host}:8080/rspm/{place}"

    assert links.local(f"{url}x.whl") == f"/{place}x.whl"
    assert links.local_prefix(url) == (url, f"/{place}")


@pytest.mark.parametrize(
    "host", ["127.0.0.2", "127.2", "1.0.0.127", "128.1", "localhost", "[::1]", "127.0.0.1.1", "4294967296"]
)
def test_another_address_is_left_alone(host):
    links = LinkMap(Upstream(url="http://127.0.0.1:8080/rspm", configured=True))

    assert links.local(f"http://{host}:8080/rspm/x.whl") == f"http://{host}:8080/rspm/x.whl"


REFUSED = {
    "dots before the base": ("https://pm.example.com/x/%2e%2e/rspm/idna-1.zip", "'.' or '..'"),
    "two slashes and an encoded one": ("https://pm.example.com//rspm//a%2Fidna-1.whl", "encoded slash"),
    "another spelling of the host": ("https://pm.example.com./rspm/a%2Fidna-1.whl", "encoded slash"),
    "an encoded slash": ("https://pm.example.com/rspm/a%2Fidna-1.whl", "encoded slash"),
    "one encoded twice": ("https://pm.example.com/rspm/a%252fidna-1.whl#sha256=1", "encoded slash"),
    "one before the base ends": ("https://pm.example.com/rspm%2fidna-1.whl", "encoded slash"),
    "a backslash": ("https://pm.example.com/rspm/a%5cidna-1.tar.gz?a=b", "backslash"),
    "dots": ("https://pm.example.com/rspm/x/%2e%2e/idna-1.zip", "'.' or '..'"),
    "a control byte": ("https://pm.example.com/rspm/a%0aidna-1.whl", "control byte"),
    "too many bytes": ("https://pm.example.com/rspm/idna-1.whl?" + "a" * 8190, "characters"),
    "too many bytes once encoded": ("https://pm.example.com/rspm/" + "\u4e2d" * 1000 + ".whl", "characters"),
    "the API": ("https://pm.example.com/rspm/__api__/files/idna-1.whl", "API"),
    "a look-alike of the API": ("https://pm.example.com/rspm/__api__\uff0fidna-1.whl", "API"),
    "a page of the proxy": ("https://pm.example.com/rspm/-/idna-1.whl", "page of its own"),
    "another mount": ("https://pm.example.com/rspm/other/idna-1.whl", "another upstream"),
    "a file host": ("https://files.example.com/o/a%2Fidna-1.whl?alt=media", "encoded slash"),
    "plain http": ("http://pm.example.com/rspm/a%2Fidna-1.whl", "encoded slash"),
}


@pytest.mark.parametrize("why", REFUSED)
def test_a_file_that_the_proxy_would_not_take_is_refused_with_the_reason(why):
    url, reason = REFUSED[why]

    with pytest.raises(BrokenPage, match=f"{reason}.*, so ppmproxy cannot serve the link"):
        LinkMap(BELOW, ALL).local(url)


@pytest.mark.parametrize(
    "url", ["https://pm.example.com/other/a%2Fidna-1.whl", "https://files.example.org/" + "a" * 9000 + ".whl"]
)
def test_a_file_of_somebody_else_is_left_alone_whatever_its_address(url):
    assert LinkMap(BELOW, ALL).local(url) == url


@pytest.mark.parametrize("size", [LONGEST_TARGET - 100, LONGEST_TARGET, LONGEST_TARGET + 1])
def test_a_local_path_is_as_long_as_the_proxy_takes(size):
    url = "https://pm.example.com/rspm/x.whl?" + "a" * (size - len("/x.whl?"))

    if size > LONGEST_TARGET:
        with pytest.raises(BrokenPage):
            LinkMap(BELOW).local(url)
    else:
        assert len(LinkMap(BELOW).local(url + "#fragment")) == size + len("#fragment")


@pytest.mark.parametrize(
    ("url", "real"),
    [
        ("https://pm.example.com/rspm/x?", "https://pm.example.com/rspm/x?"),
        ("https://files.example.com./x", "https://files.example.com./x"),
        ("http://pm.example.com/rspm/x?", "https://pm.example.com/rspm/x?"),
        ("https://pm.example.com./rspm/x", "https://pm.example.com/rspm/x"),
        ("https://p%6D.example.com:443/rspm/x#a", "https://pm.example.com/rspm/x#a"),
        ("http://pm.example.com:8080/x", "http://pm.example.com:8080/x"),
    ],
)
def test_for_a_client_that_knows_real_urls_a_link_names_the_host_that_is_intercepted(url, real):
    assert RealLinks(BELOW).local(url) == real


# --- what comes from outside, generated -------------------------------------------------------------------------------

PLAIN = st.text("ab.+~-_;@%&=\u00e9", min_size=1, max_size=6)
PATHS = (
    st.lists(PLAIN, max_size=4)
    .map("/".join)
    .filter(lambda path: is_plain_path("/" + path) and not path.startswith("-/"))
)
QUERIES = st.one_of(st.just(""), st.text("ab/.%&=?+", max_size=8).map("?".__add__))


@settings(max_examples=300)
@given(upstream=st.sampled_from(ALL), path=PATHS, query=QUERIES)
def test_a_link_made_local_leads_back_to_where_it_came_from(upstream, path, query):
    url = f"{upstream.url}/{path}{query}"

    local = LinkMap(upstream, ALL).local(url)

    assert local.startswith("/")
    assert target_of("GET", local, ALL).url == url
    assert target_of("GET", local, ALL).upstream == upstream


@settings(max_examples=200)
@given(host=st.sampled_from([FILES, STORE]), path=PATHS, query=QUERIES)
def test_a_link_to_a_file_host_leads_back_to_where_it_came_from(host, path, query):
    url = f"{host}/{path}{query}"

    assert target_of("GET", LinkMap(BELOW, ALL).local(url), ALL).url == url


@settings(max_examples=200)
@given(path=PATHS, query=QUERIES, upstream=st.sampled_from(ALL))
def test_what_a_client_asked_for_is_what_a_link_to_it_becomes(path, query, upstream):
    try:
        target = target_of("GET", f"{upstream.mount.rstrip('/')}/{path}{query}", ALL)
    except PpmProxyError:
        return

    assert LinkMap(target.upstream, ALL).local(target.url) == target.local


DIRECTORIES = st.sampled_from(
    [
        *("https://pm.example.com/", "https://pm.example.com/rspm/", "https://pm.example.com/rspm/pypi/"),
        *(
            "https://pm.example.com/rs/",
            "https://pm.example.com/rspm/-/",
            "https://pm.example.com//",
            "https://x:port/",
            "https://[pm/",
        ),
        *("http://pm.example.com/", "https://PM.example.com:443/rspm/", "https://pm.example.com/rspm/a%2fb/"),
        *("https://files.example.com/", "https://files.example.org/a/", "https://pm.example.com/rspm//x/"),
        *("https://other.example.com/", "https://other.example.com/base/", "https://other.example.com/base/nested/"),
    ]
)
RESTS = st.from_regex(REST, fullmatch=True).filter(lambda rest: not has_encoded(rest.encode()))


@settings(max_examples=300)
@given(
    directory=DIRECTORIES,
    rest=RESTS
    | st.sampled_from(["rspm/a", "base/nested/x", "nested", "base", "a%2B%21/x%7E.whl", "rspm/a%20%28%29%3b.x"]),
    upstream=st.sampled_from([PM, BELOW, OTHER]),
    others=st.sampled_from([(), ALL]),
)
def test_simple_links_in_one_directory_become_local_alike(directory, rest, upstream, others):
    links = LinkMap(upstream, others)
    prefix = links.local_prefix(directory)

    if prefix is not None and (directory + rest).startswith(prefix[0]):
        assert links.local(directory + rest) == prefix[1] + (directory + rest).removeprefix(prefix[0])


PARTS = [*("/", "//", "..", "%2e", "%2f", "?", "#", "@", ":", "\\", " "), "other", "-", "rspm", "\u00e9"]
PATHS_OF_ANY_KIND = st.lists(st.sampled_from(PARTS), max_size=12).map("".join)
PLACES = st.sampled_from(["https://pm.example.com", "https://pm.example.com/rspm", "https://files.example.com", "//"])


@settings(max_examples=300)
@given(st.one_of(st.text(max_size=40), st.tuples(PLACES, PATHS_OF_ANY_KIND).map("".join)))
def test_a_link_becomes_a_path_or_stays_as_it_is(url):
    local = LinkMap(BELOW, ALL).local(url)

    assert local == url or (local.startswith("/") and not local.startswith("//"))
