"""Any index page says through the proxy what it says directly, to two readers that share no code with it."""

import asyncio
import gzip
import html
import json
import re
import zlib
from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import quote, urljoin, urlsplit

from hypothesis import event, given, settings
from hypothesis import strategies as st

from ppmproxy.auth.origin import Origin
from ppmproxy.config.model import Upstream
from ppmproxy.errors import PpmProxyError, UpstreamUnexpectedError
from ppmproxy.index.codings import codings_of
from ppmproxy.index.link_map import LONGEST_TARGET, LinkMap
from ppmproxy.index.page import PageRequest, buffer, rewritten
from ppmproxy.index.rewriter import PageFormat
from ppmproxy.index.routing import Target, target_of

FILES = Origin("https", "files.example.com", 443)
UPSTREAM = Upstream(url="https://pm.example.com/rspm", configured=True, file_hosts=(FILES,))
PAGE = "/pypi/latest/simple/idna/"
PAGE_URL = UPSTREAM.url + PAGE
LOCAL = "http://127.0.0.1:7760"
SAFE = "".join(map(chr, range(0x21, 0x7F)))
EXAMPLES = settings(max_examples=200, deadline=None)


@dataclass(frozen=True)
class Served:
    """An index page as a server sends it."""

    page_format: PageFormat
    body: bytes
    codings: list[str]  # lines of Content-Encoding


# --- pages with the peculiarities of real servers --------------------------------------------------------------------

HEADS = st.sampled_from(
    [
        *("https://pm.example.com/rspm/", "http://pm.example.com/rspm/", "HTTPS://PM.example.com:443/rspm/"),
        *(
            "//pm.example.com/rspm/",
            "/rspm/",
            "../../",
            "../../../../",
            "",
            "./",
            "https://me:secret@pm.example.com/rspm/",
        ),
        *("https://files.example.com/", "https://files.example.org/", "/elsewhere/", "https://pm.example.com/rspm-2/"),
    ]
)
NAMES = st.sampled_from(
    [
        *(
            "idna-3.7-py3-none-any.whl",
            "torch-2.1.0%2Bcpu.whl",
            "torch-2.1.0+cpu.whl",
            "idna-3.7.tar.gz",
            "x%21~%7E.zip",
        ),
        *("packages//idna-3.7.whl", "p/../idna-3.7.whl", "_/idna-3.7.whl", ".hidden/idna.whl", "idna.whl.metadata"),
        *("\u00e9-1.0.whl", "a b.whl", "packages/1/", "help", "x;y/idna.whl", "x:y.whl"),
        *("a%2Fidna-3.7.whl", "a%5cidna-3.7.whl", "%2e%2e/idna-3.7.whl", "__api__/idna-3.7.whl", "-/idna-3.7.whl"),
    ]
)
TAILS = st.sampled_from(
    [
        *("", "#sha256=0f", "?", "?#a", "?a=1&b=%2F%2e%2e", "?sig=a+b%3D&copy=2#sha256=0f", "#egg=a/../b"),
        *("?a=" + "x" * 5000, "?a=" + "x" * LONGEST_TARGET),
    ]
)
LINKS = st.one_of(
    st.builds("{}{}{}".format, HEADS, NAMES, TAILS),
    st.sampled_from(["", "#top", "mailto:a@example.com", "https:x.whl"]),
)
EXTRAS = st.sampled_from(
    [
        *("", ' data-requires-python="&gt;=3.9"', " data-yanked", " data-yanked='a > b'", ' title="<a href=x>"'),
        *(' data-provenance="https://pm.example.com/rspm/x.provenance"', " data-provenance=x", " hreflang=en"),
    ]
)
FILLINGS = st.sampled_from(
    ["<br />\n", "text &amp; <b>more</b>", "<!-- <a href='/rspm/x.whl'> -->", "<script>'<a>'</script>", "1 < 2 ", ""]
)
BASES = st.sampled_from(
    ["", "", "", '<base href="/rspm/p/">', "<base target=_top>", "<BASE HREF='https://files.example.com/'>"]
)
ENDS = st.sampled_from(["", "", "</body>", "<p", "</ht", '<a href="/rspm/cut.whl', "<a href='x.whl' ", "<!-- x"])


def quoted(link, quote):
    if quote or not link or set(link) & set(" '\"<>`="):
        return (quote or '"') + html.escape(link) + (quote or '"')
    return link.replace("&", "&amp;")


ANCHORS = st.builds(
    lambda before, name, link, quote, after: f"<a{before} {name}={quoted(link, quote)}{after}>x</a>",
    *(EXTRAS, st.sampled_from(["href", "HREF"]), LINKS, st.sampled_from(['"', '"', "'", ""]), EXTRAS),
)
ALIKE = st.builds(
    lambda head, names: "".join(f'<a href="{head}{name}#sha256=1">{name}</a><br/>\n' for name in names),
    *(HEADS, st.lists(NAMES, min_size=2, max_size=4)),
)
HTML_PAGES = st.builds(
    lambda base, parts, end: f"<!DOCTYPE html><title>Links for idna</title>{base}{''.join(parts)}{end}",
    *(BASES, st.lists(ANCHORS | FILLINGS | ALIKE, max_size=6), ENDS),
)
NO_LINK = "/rspm/no-link.whl"
MEMBERS = st.fixed_dictionaries(
    {"filename": st.just("idna-3.7.whl"), "url": LINKS},
    optional={
        "hashes": st.just({"sha256": "0f"}),
        "yanked": st.sampled_from([False, 'a "quoted" url', "url", "}, {"]),
        "provenance": st.sampled_from([None, "https://pm.example.com/rspm/x.provenance", "x.provenance"]),
        "core-metadata": st.sampled_from([True, {"sha256": "0f", "url": NO_LINK}]),
        "requires-python": st.just(">=3.9"),
        "x-later": st.just([{"url": NO_LINK}]),
    },
)
JSON_PAGES = st.builds(
    lambda files, ascii_only, separators, mark: (
        mark
        + json.dumps(
            {"meta": {"api-version": "1.1"}, "name": "idna", "files": files},
            ensure_ascii=ascii_only,
            separators=separators,
        )
    ),
    *(
        st.lists(MEMBERS, max_size=5),
        st.booleans(),
        st.sampled_from([(",", ":"), (", ", ": ")]),
        st.sampled_from(["", " ", "\ufeff"]),
    ),
)
CODED = {
    "": lambda body: body,
    "identity": lambda body: body,
    "UTF-8": lambda body: body,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
}


def coded(page, lines, padding):
    body = page.encode()
    for name in ",".join(lines).split(","):
        body = CODED[name.strip()](body)
    return body + (bytes(padding) if lines[-1:] == ["gzip"] else b"")


SERVED = st.one_of(
    *(st.tuples(st.just(form), pages) for form, pages in ((PageFormat.HTML, HTML_PAGES), (PageFormat.JSON, JSON_PAGES)))
).flatmap(
    lambda page: st.builds(
        lambda lines, padding: Served(page[0], coded(page[1], lines, padding), lines),
        *(
            st.lists(st.sampled_from([*CODED, "gzip, gzip", "deflate,gzip"]), max_size=2),
            st.sampled_from([0, 0, 1, 512]),
        ),
    )
)


# --- two readers -----------------------------------------------------------------------------------------------------


def decoded(served):
    body = served.body
    for name in reversed(",".join(served.codings).split(",")):
        body = {"gzip": gzip.decompress, "deflate": zlib.decompress}.get(name.strip(), bytes)(body)
    return body.decode()


class Anchors(HTMLParser):
    """What pip reads: the first link and the other attributes of every anchor, and the first base."""

    def __init__(self, page):
        super().__init__()
        self.base, self.found = None, []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        if tag == "base" and self.base is None:
            self.base = dict(attrs).get("href")
        elif tag == "a":
            others = [(name, value) for name, value in attrs if name != "href"]
            self.found.append((dict(attrs).get("href"), others))


def read_by_parser(page_format, page, url):
    """Each link, resolved, with all that is said of its file."""
    if page_format is PageFormat.JSON:
        files = json.loads(page.lstrip("\ufeff \n"))["files"]
        return [(followed(url, file["url"]), {**file, "url": None}) for file in files if is_followed(file["url"])]
    anchors = Anchors(page)
    base = urljoin(url, anchors.base or "")
    return [(followed(base, link.strip()), others) for link, others in anchors.found if link and is_followed(link)]


PIECES = re.compile(
    r"<!--.*?(?:-->|\Z)|<script>.*?</script>|<(?P<tag>a|base)(?P<attributes>(?:\s+[\w-]+(?:=(?:\"[^\"]*\"|'[^']*'|[^\s\"'>]*))?)*)\s*/?>|<[a-zA-Z/!][^>]*>",
    re.DOTALL | re.IGNORECASE,
)
FILE = re.compile(r"\.(?:whl|zip|tar\.gz|metadata)$")
HREF = re.compile(r"\s([\w-]+)(?:=(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]*)))?")
URL = re.compile(r'"url":\s?("(?:[^"\\]|\\.)*")')


def read_by_pattern(page_format, page, url):
    """Each link, resolved: found by a regular expression."""
    if page_format is PageFormat.JSON:
        links = [json.loads(link) for link in URL.findall(page)]
        return [followed(url, link) for link in links if is_followed(link) and link != NO_LINK]
    base, links = None, []
    for piece in PIECES.finditer(page):
        if piece["tag"]:
            values = {
                found[1].lower(): next(filter(None, found.groups()[1:]), "")
                for found in HREF.finditer(piece["attributes"])
            }
            if piece["tag"].lower() == "base" and base is None:
                base = values.get("href")
            elif piece["tag"].lower() == "a":
                links.append(html.unescape(values.get("href", "")))
    return [followed(urljoin(url, base or ""), link.strip()) for link in links if link and is_followed(link)]


def followed(base, link):
    """Where a link leads; `urljoin` keeps an empty query in some places and drops it in others."""
    return re.sub(r"\?(?=#|$)", "", urljoin(base, link))


def is_followed(link):
    return link not in {"", "#top"} and not link.startswith(("mailto:", "https:x"))


# --- the claim -------------------------------------------------------------------------------------------------------


async def proxied(served):
    """The page as a client gets it; None if it is refused for a link."""

    async def chunks():
        for at in range(0, len(served.body), 1000):
            yield served.body[at : at + 1000]

    page = PageRequest(served.page_format, PAGE_URL, PAGE, codings_of(served.codings), LinkMap(UPSTREAM))
    arriving = chunks()
    try:
        buffered = await buffer(page, arriving)
    except UpstreamUnexpectedError as error:
        if "ppmproxy cannot serve the link" in str(error):
            return None
        raise
    if buffered.is_whole and not buffered.has_changed:
        return served
    body = b"".join([piece async for piece in rewritten(page, buffered, arriving)])
    return Served(served.page_format, body, [])


def is_file_of_ours(url):
    """Whether a URL is a file's that clients must ask the proxy for."""
    parts = urlsplit(url)
    is_own = parts.hostname == "pm.example.com" and re.match(r"/+rspm(?:/|%2f)", parts.path, re.IGNORECASE)
    return bool(is_own or parts.hostname == "files.example.com") and bool(FILE.search(parts.path))


def local_path(url):
    """The path and query by which a URL of ours would be asked for."""
    parts = urlsplit(url)
    below = (
        re.sub(r"^/+rspm/?", "/", parts.path)
        if parts.hostname == "pm.example.com"
        else f"/-/files/default/files.example.com{parts.path}"
    )
    return re.sub("/{2,}", "/", below) + (f"?{parts.query}" if parts.query else "")


def asked_for(url):
    """The upstream URL that a client's request for a URL of the proxy leads to; None if the proxy refuses it."""
    target_path = url.removeprefix(LOCAL).partition("#")[0].replace(" ", "%20")
    try:
        target = target_of("GET", target_path, (UPSTREAM,))
    except PpmProxyError:
        return None
    return target.url if isinstance(target, Target) and len(quote(target_path, safe=SAFE)) <= LONGEST_TARGET else None


def plain(url):
    """A URL without what a link may have and a request has not: a user, another spelling, empty segments, dots."""
    parts = urlsplit(url.partition("#")[0].replace(" ", "%20"))
    netloc = parts.netloc.rpartition("@")[2].lower().removesuffix(":443")
    scheme = "https" if netloc == "pm.example.com" else parts.scheme.lower()
    path = urlsplit(urljoin("https://x/", re.sub("^/*", "/", re.sub("/{2,}", "/", parts.path)))).path
    mark = "?" if "?" in url.partition("#")[0] else ""
    return f"{scheme}://{netloc}{path}{mark}{parts.query}"


@EXAMPLES
@given(SERVED)
def test_both_readers_find_through_the_proxy_what_they_find_directly(served):
    text = decoded(served)
    direct = read_by_parser(served.page_format, text, PAGE_URL)
    assert [link for link, _ in direct] == read_by_pattern(served.page_format, text, PAGE_URL)

    outcome = asyncio.run(proxied(served))
    if outcome is None:
        event("refused")
        assert any(is_file_of_ours(link) and asked_for(LOCAL + local_path(link)) is None for link, _ in direct)
        return
    result = decoded(outcome)
    seen = read_by_parser(served.page_format, result, LOCAL + PAGE)

    assert [link for link, _ in seen] == read_by_pattern(served.page_format, result, LOCAL + PAGE)
    assert [said for _, said in seen] == [said for _, said in direct]
    for (direct_link, _), (local_link, _) in zip(direct, seen, strict=True):
        check(direct_link, local_link)


def check(direct, local):
    """A link of ours leads back to where it led, and every other stays."""
    event("local" if local.startswith(LOCAL + "/") else "left alone")
    if local.startswith(LOCAL + "/"):
        if is_file_of_ours(direct) or asked_for(local):
            assert plain(asked_for(local)) == plain(direct)
        assert local.partition("#")[2] == direct.partition("#")[2]
    else:
        assert plain(local) == plain(direct)
        assert not is_file_of_ours(direct)
