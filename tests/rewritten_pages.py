"""Index pages with their links made local, as the tests of both formats have it done.

To change what is compared while a page is rewritten, open this file.
"""

from ppmproxy.config.model import Upstream
from ppmproxy.index.rewriter import BrokenPage, PageRewriter
from ppmproxy.index.routing import LinkMap

UPSTREAM = "https://ppm.example.com/rspm"
PAGE = "/pypi/latest/simple/idna/"
LOCAL = "http://127.0.0.1:7760"
STRAIGHT = LinkMap(Upstream(url=UPSTREAM)).straight


def localize(url):
    return url[len(UPSTREAM) :] if url.startswith(f"{UPSTREAM}/") else url


def rewritten(page_format, page, *, chunks=None, page_url=UPSTREAM + PAGE, local_path=PAGE):
    """A page with straight links taken one by one, and as many at a time as follow each other: it must be the same."""
    raw = page.encode("utf-8", "surrogateescape")

    def outcome(straight):
        rewriter = PageRewriter(page_format, page_url, local_path, localize, straight=straight)
        try:
            return b"".join([*map(rewriter.feed, chunks or [raw]), rewriter.close()]), rewriter.changed
        except BrokenPage as error:
            return error

    plain, fast = outcome(None), outcome(STRAIGHT)
    assert str(fast) == str(plain)
    if isinstance(plain, BrokenPage):
        raise plain
    return plain[0].decode("utf-8", "surrogateescape")
