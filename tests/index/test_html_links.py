"""The links of an HTML index page are found, and no other byte of it changes."""

import re
import tracemalloc
from functools import partial
from html import escape
from html.parser import HTMLParser
from itertools import pairwise
from urllib.parse import urljoin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rewritten_pages import LINKS as LINK_MAP
from rewritten_pages import LOCAL, PAGE, UPSTREAM, localize
from rewritten_pages import rewritten as page_rewritten

from ppmproxy.index.html_links import markup_at
from ppmproxy.index.link_resolver import LONGEST_BASE
from ppmproxy.index.rewriter import BrokenPage, PageFormat, PageRewriter

PATIENT = settings(deadline=None)  # a busy machine is no failure

rewritten = partial(page_rewritten, PageFormat.HTML)
U = UPSTREAM

# What changes, and to what.
CHANGED = [
    (f'<a href="{U}/x">x</a>', '<a href="/x">x</a>'),
    (f"<A  HREF = '{U}/x' >x</A>", "<A  HREF = '/x' >x</A>"),
    (f"<a href={U}/x>x</a>", '<a href="/x">x</a>'),
    (f"<a href={U}/x/>x</a>", '<a href="/x/">x</a>'),
    (f"<a href={U}/x\tclass=y>x</a>", '<a href="/x"\tclass=y>x</a>'),
    (f'<a\nhref="{U}/x"\n>x</a>', '<a\nhref="/x"\n>x</a>'),
    (f'<a/href="{U}/x"/>x</a>', '<a/href="/x"/>x</a>'),
    (f'<a data-yanked href="{U}/x">', '<a data-yanked href="/x">'),
    (f'<a title="a > b" href="{U}/x">', '<a title="a > b" href="/x">'),
    (f'<a title=\'"\' href="{U}/x">', '<a title=\'"\' href="/x">'),
    (f'<a x=y"z href="{U}/x">', '<a x=y"z href="/x">'),
    (f'<a =x href="{U}/x">', '<a =x href="/x">'),
    (f'<a x=""href="{U}/x"y>', '<a x=""href="/x"y>'),
    (f'<a href="{U}/x?a=1&amp;b=2">', '<a href="/x?a=1&amp;b=2">'),
    (f'<a href="{U}/x?a=1&#38;b=2&#x26;c">', '<a href="/x?a=1&amp;b=2&amp;c">'),
    (f'<a href="{U}/x?a=1&b=2&copy=3&para4">', '<a href="/x?a=1&amp;b=2&amp;copy=3&amp;para4">'),
    (f'<a href="{U}/x?&copy;&copy">', '<a href="/x?©©">'),
    (f'<a href="{U.replace("/", "&#47;")}/x">', '<a href="/x">'),
    (f'<a href=" {U}/x ">', '<a href="/x">'),
    (f'<a href="{U}/&quot;&apos;&lt;">', '<a href="/&quot;&#x27;&lt;">'),
    (f"<a href={U}/'x'>", '<a href="/&#x27;x&#x27;">'),
    (f'<a href="{U}/é">', '<a href="/é">'),
    (f'<a href="{U}/\udce9">', '<a href="/\udce9">'),
    (f'<a href="{U}/x" href="{U}/y">', '<a href="/x" href="/y">'),
    (f'<a href="{U}/x" data-provenance="{U}/x.p">', f'<a href="/x" data-provenance="{U}/x.p">'),
    (f'<a href="{U}/x" a="1" data-provenance="/rspm/p" b="2">', '<a href="/x" a="1" data-provenance="/rspm/p" b="2">'),
    (f"<a Data-Provenance={U}/p href=/rspm/x>", f'<a Data-Provenance={U}/p href="/x">'),
    (f'<!-- <a href="{U}/x"> --><a href="{U}/y">', f'<!-- <a href="{U}/x"> --><a href="/y">'),
    (f'<!--><a href="{U}/y">', '<!--><a href="/y">'),
    (f'<!---><a href="{U}/y">', '<!---><a href="/y">'),
    (f'<!-- > --!><a href="{U}/y">', '<!-- > --!><a href="/y">'),
    (f'<!DOCTYPE html><a href="{U}/y">', '<!DOCTYPE html><a href="/y">'),
    (f'<?xml version="1.0"?><a href="{U}/y">', '<?xml version="1.0"?><a href="/y">'),
    (f'</ ><a href="{U}/y">', '</ ><a href="/y">'),
    (f'</><a href="{U}/y">', '</><a href="/y">'),
    (f'1 < 2 <3 << <a href="{U}/y">', '1 < 2 <3 << <a href="/y">'),
    (f'<p title="</a>"><a href="{U}/y">', '<p title="</a>"><a href="/y">'),
    (f'<script>"<a href={U}/x>"</script ><a href="{U}/y">', f'<script>"<a href={U}/x>"</script ><a href="/y">'),
    (f'<TITLE><b></titles></Title><a href="{U}/y">', '<TITLE><b></titles></Title><a href="/y">'),
    (f'<style>a</style><a href="{U}/y">', '<style>a</style><a href="/y">'),
    (f'<textarea></textarea/><a href="{U}/y">', '<textarea></textarea/><a href="/y">'),
    (f'\ufeff<a href="{U}/y">', '\ufeff<a href="/y">'),
]

# What does not change, though it looks like a link to the upstream.
UNCHANGED = [
    "",
    "plain text",
    f'<p title="<a href="{U}/x"">',
    f"<p title='<a href={U}/x>'>",
    f'<a href="y" data-provenance="{U}/p"><a data-provenance=p>',
    f'<abbr href="{U}/x"><link href="{U}/x"><area href="{U}/x"></a href="{U}/x">',
    f'<a data-href="{U}/x" hrefs="{U}/x" title="{U}/x">',
    f'<a title=x"href={U}/x>',
    f'<!-- <a href="{U}/x">',
    f'<script><a href="{U}/x"></script',
    f'<title><a href="{U}/x"></titl></title>',
    f'<textarea><a href="{U}/x">',
    f'<!a <a href="{U}/x">',
    "<a href><a href=><a href=''><a href='#x'><a href=mailto:x>",
    '<a href="https://files.example.org/x?a&b=&copy;">',
    "<a href='x.whl' data-requires-python='&gt;=3.8'>",
    "<base><base target=x>",
]


@pytest.mark.parametrize(("page", "expected"), CHANGED)
def test_links_to_the_upstream_change_and_nothing_else(page, expected):
    assert rewritten(page) == expected


@pytest.mark.parametrize("page", UNCHANGED)
def test_what_is_no_link_to_the_upstream_stays_byte_for_byte(page):
    assert rewritten(page) == page


@pytest.mark.parametrize("page", [*(page for page, _ in CHANGED), *UNCHANGED])
def test_where_a_page_is_cut_into_chunks_makes_no_difference(page):
    whole = rewritten(page)
    raw = page.encode("utf-8", "surrogateescape")

    assert rewritten(page, chunks=[raw[at : at + 1] for at in range(len(raw))]) == whole
    for at in range(len(raw)):
        assert rewritten(page, chunks=[raw[:at], raw[at:]]) == whole


@pytest.mark.parametrize("place", [U, "../../../..", "/rspm", "https://files.example.org"])
def test_simple_links_are_rewritten_without_being_resolved_one_by_one(place):
    page = "".join(f'<a href="{place}/packages/{number}/x%2B1.whl#a">x</a>\n' for number in range(5))
    resolved = []
    rewriter = PageRewriter(
        PageFormat.HTML, U + PAGE, PAGE, lambda url: resolved.append(url) or url, LINK_MAP.local_prefix
    )

    rewriter.feed(page.encode())
    rewriter.close()

    assert resolved == []


# --- <base> ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (f'<base href="{U}{PAGE}"><a href="x">', '<base><a href="x">'),
        (f'<base href="{U}/p/"><a href="x">', '<base><a href="/p/x">'),
        ('<base href="../../p/"><a href="x">', '<base><a href="/pypi/latest/p/x">'),
        ('<base href="/rspm/p/y?z#f"><a href="?x">', '<base><a href="/p/y?x">'),
        ("<BASE HREF=/rspm/p/ target=_top><a href=x>", '<BASE target=_top><a href="/p/x">'),
        ('<base target="_top" href="/rspm/p/"/><a href="x">', '<base target="_top" /><a href="/p/x">'),
        ('<base a="b"href="/rspm/p/"c><a href="x">', '<base a="b"c><a href="/p/x">'),
        ('<base target="_top"/href="/rspm/p/"><a href="x">', '<base target="_top"/><a href="/p/x">'),
        ('<base href="/rspm/p/" href="y"><a href="x">', '<base><a href="/p/x">'),
        ('<base href="/rspm/p/"><base href="/rspm/q/"><a href="x">', '<base><base><a href="/p/x">'),
        ('<base target=x><base href="/rspm/p/"><a href="x">', '<base target=x><base><a href="/p/x">'),
        ('<base href="https://cdn.example.org/p/"><a href="x">', '<base><a href="https://cdn.example.org/p/x">'),
        ('<base href="//cdn.example.org/p/"><a href="x">', '<base><a href="https://cdn.example.org/p/x">'),
        ('<base href="mailto:x"><a href="x">', '<base><a href="x">'),
        ('<base href=""><a href="x"><a href="../y">', '<base><a href="x"><a href="../y">'),
        ("<base href><a href=x>", "<base><a href=x>"),
        (f'<base href="{U}/a&amp;b/"><a href="x">', '<base><a href="/a&amp;b/x">'),
        (
            f'<a href="{U}/x"><a href="#y"><base href="/rspm/p/"><a href="x">',
            '<a href="/x"><a href="#y"><base><a href="/p/x">',
        ),
        (f'<a href="x"><base href="{U}{PAGE}"><a href="x">', '<a href="x"><base><a href="x">'),
        ('<script><base href="/y/"></script><a href="x">', '<script><base href="/y/"></script><a href="x">'),
    ],
)
def test_a_base_is_taken_for_all_links_and_removed(page, expected):
    assert rewritten(page) == expected


@pytest.mark.parametrize("url", [f"{U}/{'x/' * (LONGEST_BASE // 2)}", f"https://{'x' * LONGEST_BASE}/"])
@pytest.mark.parametrize("link", ["x", "../x", "./x", "?x"])
def test_links_below_an_endless_base_break_the_page(url, link):
    """Each of them would be as long as the base, and a page has room for thousands of both."""
    base = f'<base href="{url}">'

    with pytest.raises(BrokenPage, match="relative to a URL of more than"):
        rewritten(f'{base}<a href="{link}">')
    assert rewritten(f'{base}<a href="{U}/x">') == '<base><a href="/x">'


def test_links_that_climb_without_end_leave_nothing_behind():
    """What a climb leads to is remembered, and an endless page could have a new one in each of its links."""
    rewriter = PageRewriter(PageFormat.HTML, UPSTREAM + PAGE, PAGE, localize)
    climbs = [b'<a href="%bx">' % (b"../" * steps) for steps in range(1000, 1100)]

    tracemalloc.start()
    for climb in climbs:
        assert rewriter.feed(climb) == b'<a href="https://ppm.example.com/x">'
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert kept < sum(map(len, climbs)) / 4


@pytest.mark.parametrize("link", ["x", "/rspm/x", "../x.whl", "//ppm.example.com/rspm/x", "?x"])
def test_a_base_after_links_that_depend_on_it_breaks_the_page(link):
    with pytest.raises(BrokenPage, match="base"):
        rewritten(f'<a href="{link}">x</a><base href="/rspm/p/">')


# --- ends ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "end",
    [
        "<",
        "</",
        "<a",
        "<a ",
        '<a href="x',
        '<a href="x"',
        "<a href=x",
        f'<a\nhref="{U}/x"',
        "<BASE href=x",
        "</a",
        "<!",
        "<!-",
        "<!DOCTYPE html",
        "<?xml",
        "</ x",
    ],
)
def test_a_page_that_ends_inside_a_tag_passes_without_the_link_that_is_cut(end):
    page = f'<a href="{U}/x">idna</a>'

    assert rewritten(page + end) == '<a href="/x">idna</a>' + ("" if re.match(r"<(?:a|BASE)\s", end) else end)


@pytest.mark.parametrize("nothing", ["<", "< ", "<>", "<1 x", "<!>", "<!-x>", "<?x>", "</>", "</1 x>x"])
def test_what_is_no_tag_is_passed_at_one_go(nothing):
    """One by one they would cost a second and more for each megabyte."""
    text = (nothing * 1000 + '<a href="x">').encode()

    assert markup_at(text, 0).end == text.index(b"<a")


@pytest.mark.parametrize("end", ["<!-- x", "<!--", "<script>x</script", "<title><", "x > y", "<p", "-->"])
def test_a_page_may_end_inside_a_comment_or_a_script(end):
    page = f"<p>idna</p>{end}" if end != "<p" else "<p>idna</p><p>"

    assert rewritten(page) == page


# --- any page --------------------------------------------------------------------------------------------------------

LINKS = st.sampled_from(
    [
        *(
            f"{U}/x.whl",
            f"{U}/x~%7E.whl?a=1&b=%2F#sha256=1",
            "/rspm/y.whl",
            "../../p/y.whl#md5=1",
            "x.whl",
            "?a",
            "#a",
            "",
        ),
        *(
            "https://files.example.org/z.whl?a=1&b",
            "../../../../../q.whl",
            f"{U}/é 'x' \"y\"",
            "//ppm.example.com/rspm/x",
        ),
    ]
)
QUOTES = st.sampled_from(['"', "'", ""])


def quoted(value, quote):
    if quote or not value or set(value) & set(" '\"<>`"):
        quote = quote or '"'
        return quote + escape(value) + quote
    return value.replace("&", "&amp;")


ATTRIBUTES = st.sampled_from(
    ["", " data-yanked", ' data-requires-python="&gt;=3.8"', " title='>'", "\nrel=internal", ' title="<a>"']
)
ANCHORS = st.builds(
    lambda before, name, link, quote, after, provenance: (
        f"<a{before} {name}={quoted(link, quote)}{after}"
        + (f" data-provenance={quoted(provenance, quote)}" if provenance else "")
        + f"{after}>x</a>"
    ),
    *(ATTRIBUTES, st.sampled_from(["href", "HREF"]), LINKS, QUOTES, ATTRIBUTES, LINKS),
)
FILLINGS = st.sampled_from(
    [
        "<br />\n",
        "<p>",
        "</p>",
        "text &amp; more",
        "<!-- <a href='x'> -->",
        "<br/>",
        '<p title="<a href=x>">',
        "<script>'<a>'</script>",
        "a < b",
    ]
)
PAGES = st.builds(
    lambda base, parts: base + "".join(parts),
    st.sampled_from(["", "<!DOCTYPE html>", f'<base href="{U}/p/">', "<base target=x href='/rspm/r/s'>"]),
    st.lists(ANCHORS | FILLINGS, max_size=8),
)
PAGE_URLS = st.sampled_from([U + PAGE, f"{U}/pypi/2024/simple/idna/", "https://cdn.example.org/i?x=/y"])


class Reader(HTMLParser):
    """What pip makes of a page: the links of its anchors, resolved against the first base or else the page."""

    def __init__(self, page, url):
        super().__init__()
        self.base = None
        self.anchors = []
        self.everything_else = []
        self.feed(page)
        self.close()
        base = urljoin(url, self.base or "")
        self.links = [[urljoin(base, link) for link in links if link and link[0] != "#"] for links in self.anchors]

    def handle_starttag(self, tag, attrs):
        if tag == "base" and self.base is None:
            self.base = dict(attrs).get("href")
        elif tag == "a":
            self.anchors.append([value for name, value in attrs if name == "href"])
        self.everything_else.append((tag, [attribute for attribute in attrs if attribute[0] != "href"]))

    def handle_data(self, data):
        self.everything_else.append(data)

    def handle_comment(self, data):
        self.everything_else.append(data)


@PATIENT
@given(PAGES, PAGE_URLS)
def test_pip_finds_through_the_proxy_what_it_would_find_upstream(page, page_url):
    upstream = Reader(page, page_url)
    local = Reader(rewritten(page, page_url=page_url), LOCAL + PAGE)

    assert local.base is None
    assert local.links == [[urljoin(LOCAL, localize(link)) for link in links] for links in upstream.links]
    assert local.everything_else == upstream.everything_else


@PATIENT
@given(PAGES)
def test_a_page_whose_links_are_right_stays_byte_for_byte(page):
    result = rewritten(page).encode()
    again = PageRewriter(PageFormat.HTML, LOCAL + PAGE, PAGE, lambda url: url.removeprefix(LOCAL))

    assert again.feed(result) + again.close() == result
    assert not again.has_changed


@PATIENT
@given(st.binary() | st.lists(st.sampled_from([*b"<>a/!-='\" h", *range(256)]), max_size=60).map(bytes), st.data())
def test_any_bytes_in_any_chunks_give_the_same(raw, data):
    def outcome(chunks):
        rewriter = PageRewriter(PageFormat.HTML, UPSTREAM + PAGE, PAGE, localize)
        try:
            return b"".join([*map(rewriter.feed, chunks), rewriter.close()])
        except BrokenPage as error:
            return str(error)

    at = data.draw(st.integers(0, len(raw)))

    assert outcome([raw[:at], raw[at:]]) == outcome([raw])
    assert outcome([raw[i : i + 1] for i in range(len(raw))]) == outcome([raw])


@PATIENT
@given(PAGES, st.lists(st.integers(0, 400), max_size=5))
def test_any_page_in_any_chunks_gives_the_same(page, cuts):
    raw = page.encode()
    edges = [0, *sorted(cuts), len(raw)]
    chunks = [raw[start:end] for start, end in pairwise(edges)]

    assert rewritten(page, chunks=chunks) == rewritten(page)
