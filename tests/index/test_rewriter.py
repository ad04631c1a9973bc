"""Claims about index pages as a whole: their formats, what is one, and where each link leads."""

import time
import tracemalloc
from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppmproxy.index.link_resolver import LinkResolver, Reference, resolved
from ppmproxy.index.rewriter import LONGEST_TOKEN, BrokenPage, PageFormat, PageRewriter, is_index, page_format

UPSTREAM = "https://ppm.example.com/rspm"
PAGE = "/pypi/latest/simple/idna/"
LOCAL = "http://127.0.0.1:7760"
PATIENT = settings(deadline=None)  # a busy machine is no failure


def localize(url):
    return url[len(UPSTREAM) :] if url.startswith(f"{UPSTREAM}/") else url


def replacement(link, page_url=UPSTREAM + PAGE, local_path=PAGE, localize=localize):
    return LinkResolver(page_url, local_path, localize).replacement(link)


# --- formats ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("text/html", PageFormat.HTML),
        ("Text/HTML; charset=utf-8", PageFormat.HTML),
        ("application/vnd.pypi.simple.v1+html", PageFormat.HTML),
        ("application/vnd.pypi.simple.latest+html", PageFormat.HTML),
        ("application/vnd.pypi.simple.v1+json", PageFormat.JSON),
        (" application/vnd.pypi.simple.latest+json ;q=1", PageFormat.JSON),
        ("application/json", PageFormat.JSON),
        ("application/vnd.pypi.simple.v2+json", None),
        ("text/plain", None),
        ("application/octet-stream", None),
        ("", None),
        (None, None),
    ],
)
def test_the_format_is_what_the_content_type_promises(content_type, expected):
    assert page_format(content_type) is expected


@pytest.mark.parametrize(
    "page",
    [
        b"",
        b"<!DOCTYPE html><html><head><title>Links for idna</title></head><body><h1>Links for idna</h1></body></html>",
        b'<a href="idna/">idna</a>',
        b'<meta name="pypi:repository-version" content="1.3"><a href="idna-1.tar.gz">idna</a>',
        b'<script src="search.js"></script><a href="../../packages/1/idna-1-py3-none-any.whl#sha256=1">idna</a>',
        b"<form><input></form><A HREF='idna-1.ZIP?token=1'>idna</A>",
        b'<!-- <form action="login"> -->',
        b'<p title="<form >">',
        b"<title><script ></title>",
        b"<formula></formula>",
        b'<title>Simple index</title><script src="/a.js"></script><a href="/pypi/latest/simple/a/">a</a>',
        b"<title>root/pypi: links for flask-login</title><h1>root/pypi: links for flask-login</h1><script></script>",
        b"<h1>flask-login</h1>",
        b"<title>Package Index</title><p>python-sso, login_helper and sso.py</p>",
        b"<p>Nothing is logged in this place.</p>",
        b"<title>Links for sso-login</title><h1>Links for sso-login</h1><script></script>",
        b"<h1>Index of /simple/login/</h1><a href='../'>../</a>",
        b"<!-- sign in -->",
        b"<p>nothing here</p>",
    ],
)
def test_a_page_of_links_is_an_index_even_without_any(page):
    assert is_index(PageFormat.HTML, page)


@pytest.mark.parametrize(
    "page",
    [
        b'<html><body><form action="/login"><input name="user"></form></body></html>',
        b'<!DOCTYPE html><div id="root"></div><script src="/app.js"></script>',
        b'<META HTTP-EQUIV="Refresh" content="0; url=/login">',
        b"<iframe src=/login></iframe>",
        b'<input\ntype="password">',
        b'<a href="/sign-in">Sign in</a><script>var page = "<a href=idna-1.whl>";</script>',
        b'<script>var page = "<a href=idna-1.whl>";',
        b'<a href="/help">help</a><form action="/login"><p title="cut',
        b'<html><head><title>Sign in</title></head><body><h1>Sign in</h1><a href="/sso">SSO</a></body></html>',
        b'<html><body><p>Please <a href="/login">log in</a></p></body></html>',
        b"<html>Login required</html>",
        b"<h1>Access denied</h1>",
        b'<form method="post"><input type=PassWord></form><a href="forgot/">forgot?</a>',
        b'<form><input type=password></form><a href="/dl/client-setup.exe">client</a>',
        b'<form action=/saml method=post><button>Sign in with SSO</button></form><a href="privacy/">privacy</a>',
        b'<script src=/app.js></script><noscript><a href="help/">help</a>',
        b'<meta http-equiv=refresh content="0;url=login/"><a href="login/">login</a>',
        b"<title>Index of Acme</title><form><input name=user></form>",
        b"<p>Logging in is needed: signing on, too.</p>",
    ],
)
def test_a_page_for_people_is_no_index(page):
    assert not is_index(PageFormat.HTML, page)


@pytest.mark.parametrize(
    "page",
    [
        b'<form action="/search"><input name="q"></form><a href="a/">a</a><a href="django-login/">django-login</a>',
        b'<a href="/frob/">frob</a><a href="/flask-login/">flask-login</a>',
        b'<a href="flask-login">Flask_Login</a><p>log in to see more</p>',
        b'<a href="simple/A.b/">a-b/</a><script></script>',
    ],
)
def test_the_root_is_an_index_when_its_links_are_named_by_their_text(page):
    assert is_index(PageFormat.HTML, page, is_root=True)


@pytest.mark.parametrize(
    "page", [b'<a href="/sso">Go on</a><p>Please sign in</p>', b"<form><input type=password></form>"]
)
def test_a_page_for_people_is_no_root_either(page):
    assert not is_index(PageFormat.HTML, page, is_root=True)


@pytest.mark.parametrize(
    "part",
    [
        b'<a href="x/">x</a>',
        b"<a>",
        b"<p",
        b"<!--",
        b"<title>",
        b"sign ",
        b"<h1>" + b"x" * 300,
        b"-login",
        b"<a href='x'",
    ],
)
@pytest.mark.parametrize("end", [b"", b"<form>", b"<script></script>"])
def test_a_page_is_judged_in_one_pass(part, end):
    page = (part * (1 << 16))[: 1 << 16] + end

    began = time.process_time()
    is_index(PageFormat.HTML, page, is_root=True)

    assert time.process_time() - began < 1.5  # twice over it would be ten times as much


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (b'{"files": []}', True),
        (b" \r\n\t{", True),
        (b"\xef\xbb\xbf{}", True),
        (b"[]", False),
        (b"<p>", False),
        (b"", False),
    ],
)
def test_a_json_index_begins_with_an_object(page, expected):
    assert is_index(PageFormat.JSON, page) is expected


# --- links -----------------------------------------------------------------------------------------------------------


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
        f"{UPSTREAM}/a\\b",
        "\\\\ppm.example.com\\rspm\\x",
    ],
)
def test_a_link_that_leads_elsewhere_or_nowhere_is_left_as_it_is(link):
    assert replacement(link) is None


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

    meant = normal(urljoin(page_url, link))
    seen = normal(urljoin(LOCAL + local_place, link if local is None else local))

    assert seen == urljoin(LOCAL, localize(meant))
    assert local is None or normal(urljoin(LOCAL + local_place, link)) != seen


# --- pages -----------------------------------------------------------------------------------------------------------

HTML_PAGE = f'<h1>idna</h1>\n<a href="{UPSTREAM}/p/idna-1.whl#sha256=1" data-yanked="">idna-1.whl</a><br />\n'.encode()
JSON_PAGE = f'{{"files": [{{"url": "{UPSTREAM}/p/idna-1.whl", "provenance": null}}], "name": "idna"}}'.encode()


@pytest.mark.parametrize(("form", "page"), [(PageFormat.HTML, HTML_PAGE), (PageFormat.JSON, JSON_PAGE)])
def test_a_page_says_whether_it_had_to_be_changed(form, page):
    changed = PageRewriter(form, UPSTREAM + PAGE, PAGE, localize)
    unchanged = PageRewriter(form, UPSTREAM + PAGE, PAGE, localize)
    relative = page.replace(UPSTREAM.encode(), b"../../../..")

    assert changed.feed(page) + changed.close() == page.replace(UPSTREAM.encode(), b"")
    assert unchanged.feed(relative) + unchanged.close() == relative
    assert changed.changed
    assert not unchanged.changed


@pytest.mark.parametrize("form", PageFormat)
def test_nothing_fed_is_nothing_given(form):
    assert PageRewriter(form, UPSTREAM + PAGE, PAGE, localize).feed(b"") == b""


UNFINISHED = [(PageFormat.HTML, b'<a href="'), (PageFormat.HTML, b"<!--"), (PageFormat.JSON, b'{"')]


@pytest.mark.parametrize(("form", "beginning"), UNFINISHED)
@pytest.mark.parametrize("size", [1, 1000, LONGEST_TOKEN * 2])
def test_a_tag_or_string_without_end_breaks_the_page_before_it_fills_the_memory(form, beginning, size):
    rewriter = PageRewriter(form, UPSTREAM + PAGE, PAGE, localize)
    rewriter.feed(beginning)
    chunks = [b"x" * size] * (2 * LONGEST_TOKEN // size)

    with pytest.raises(BrokenPage, match="no end"):
        list(map(rewriter.feed, chunks))


@pytest.mark.parametrize(
    ("form", "before", "after"), [(PageFormat.HTML, b'<a href="', b'">'), (PageFormat.JSON, b'{"', b'":1}')]
)
@pytest.mark.parametrize("size", [1000, 65536, 3 * LONGEST_TOKEN])
@pytest.mark.parametrize(("length", "breaks"), [(LONGEST_TOKEN - 100, False), (LONGEST_TOKEN + 1, True)])
def test_how_long_a_token_may_be_does_not_depend_on_the_chunks(form, before, after, size, length, breaks):
    page = before + b"x" * length + after
    rewriter = PageRewriter(form, UPSTREAM + PAGE, PAGE, lambda url: url)
    page = page.replace(b"x", b"https://a/", 1)

    def run():
        return b"".join(rewriter.feed(page[at : at + size]) for at in range(0, len(page), size)) + rewriter.close()

    if breaks:
        with pytest.raises(BrokenPage):
            run()
    else:
        assert run() == page


def root_index(form, projects):
    if form is PageFormat.HTML:
        yield b"<!DOCTYPE html><html><body>\n"
        yield from (b'<a href="/rspm/pypi/latest/simple/p-%d/">p-%d</a><br>\n' % (i, i) for i in range(projects))
        yield b"</body></html>"
    else:
        yield b'{"meta": {"api-version": "1.0"}, "projects": [{"name": "first"}'
        yield from (b', {"name": "p-%d", "_last-serial": %d}' % (i, i) for i in range(projects))
        yield b"]}"


@pytest.mark.parametrize("form", PageFormat)
def test_a_root_index_passes_in_little_memory(form):
    rewriter = PageRewriter(form, f"{UPSTREAM}/pypi/latest/simple/", "/pypi/latest/simple/", localize)
    size = 0
    tracemalloc.start()
    try:
        for line in root_index(form, 5_000):
            size += len(rewriter.feed(line * 8 if line.startswith((b"<a", b", ")) else line))
        size += len(rewriter.close())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert size > 1_000_000
    assert peak < 300_000


def best_time(run, *, of):
    times = []
    for _ in range(of):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


def project_page(form, files):
    names = [f"idna-{i}.{i % 7}-cp3{i % 14}-manylinux_2_17_x86_64.whl" for i in range(files)]
    digest = "0123456789abcdef" * 4
    if form is PageFormat.HTML:
        anchor = (
            '<a href="{0}/packages/{1}/{2}#sha256={1}" data-requires-python="&gt;=3.8" '
            'data-core-metadata="sha256={1}">{2}</a><br />\n'
        )
        return "".join(anchor.format(UPSTREAM, digest, name) for name in names).encode()
    file = (
        '{{"core-metadata":{{"sha256":"{1}"}},"data-dist-info-metadata":{{"sha256":"{1}"}},"filename":"{2}","hashes":'
        '{{"sha256":"{1}"}},"provenance":null,"requires-python":">=3.8","size":12345,"upload-time":'
        '"2024-03-01T12:00:00.123456Z","url":"{0}/packages/{1}/{2}","yanked":false}}'
    )
    return f'{{"files":[{",".join(file.format(UPSTREAM, digest, name) for name in names)}]}}'.encode()


@pytest.mark.parametrize("form", PageFormat)
def test_a_page_of_three_thousand_files_takes_some_milliseconds(form):
    page = project_page(form, 3000)
    chunks = [page[at : at + 65536] for at in range(0, len(page), 65536)]

    def run():
        rewriter = PageRewriter(form, UPSTREAM + PAGE, PAGE, localize)
        result = b"".join([*map(rewriter.feed, chunks), rewriter.close()])
        assert result == page.replace(UPSTREAM.encode(), b"")

    assert best_time(run, of=5) < 0.1  # measured: a tenth of it


HOSTILE = {
    "open quotes": (PageFormat.HTML, b'<a href="x" b="', b"y "),
    "attributes": (PageFormat.HTML, b'<a href="x"', b" y"),
    "attributes with provenance": (PageFormat.HTML, b'<a href="x"', b' y data-provenance="z"'),
    "blanks in a tag": (PageFormat.HTML, b"<a ", b"\n"),
    "slashes in a tag": (PageFormat.HTML, b"<a ", b"/"),
    "less-than signs": (PageFormat.HTML, b"", b"<"),
    "tags": (PageFormat.HTML, b"", b"<p>"),
    "end tags in a script": (PageFormat.HTML, b"<script>", b"</script"),
    "dashes in a comment": (PageFormat.HTML, b"<!--", b"--"),
    "open brackets": (PageFormat.JSON, b"{", b'"a":{'),
    "flat objects": (PageFormat.JSON, b'{"x":[', b'{"a":1},'),
    "objects that are not flat": (PageFormat.JSON, b'{"files":[{', b'"a":{"b":{"url":"c"}},'),
    "backslashes": (PageFormat.JSON, b'{"files":[{"a":"', b"\\\\"),
    "escaped names": (PageFormat.JSON, b'{"files":[{', b'"\\u0075rl":"c",'),
    "names without links": (PageFormat.JSON, b'{"files":[{', b'"provenance":null,"url":1,'),
    "blanks before a colon": (PageFormat.JSON, b'{"files":[{"url"', b" "),
    "strings": (PageFormat.JSON, b'{"files":[{"a":[', b'"b",'),
    "arrays that never close": (PageFormat.JSON, b'{"files":[{"a":[', b'[1,"b",'),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("chunk_size", [1, 65536])
def test_a_hostile_page_takes_time_in_proportion_to_its_size(name, chunk_size):
    form, beginning, repeated = HOSTILE[name]
    page = beginning + repeated * (100_000 // len(repeated))

    def run():
        rewriter = PageRewriter(form, UPSTREAM + PAGE, PAGE, localize)
        try:
            for at in range(0, len(page), chunk_size):
                rewriter.feed(page[at : at + chunk_size])
            rewriter.close()
        except BrokenPage:
            pass

    assert best_time(run, of=1) < 2  # what is quadratic would take minutes
