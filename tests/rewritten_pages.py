"""Index pages with their links made local, as the tests of both formats do it."""

from ppmproxy.config.model import Upstream
from ppmproxy.index.link_map import LinkMap
from ppmproxy.index.rewriter import BrokenPage, PageRewriter

UPSTREAM = "https://ppm.example.com/rspm"
PAGE = "/pypi/latest/simple/idna/"
LOCAL = "http://127.0.0.1:7760"
LINKS = LinkMap(Upstream(url=UPSTREAM))


def localize(url):
    return url[len(UPSTREAM) :] if url.startswith(f"{UPSTREAM}/") else url


def rewritten(page_format, page, *, chunks=None, page_url=UPSTREAM + PAGE, local_path=PAGE):
    """A page with its links resolved one by one, and rewritten by their prefixes: it must be the same."""
    raw = page.encode("utf-8", "surrogateescape")

    def outcome(*localize_prefix):
        rewriter = PageRewriter(page_format, page_url, local_path, localize, *localize_prefix)
        try:
            return b"".join([*map(rewriter.feed, chunks or [raw]), rewriter.close()]), rewriter.has_changed
        except BrokenPage as error:
            return error

    one_by_one, by_prefix = outcome(), outcome(LINKS.local_prefix)
    assert str(by_prefix) == str(one_by_one)
    if isinstance(one_by_one, BrokenPage):
        raise one_by_one
    return one_by_one[0].decode("utf-8", "surrogateescape")
