"""The page's part on the cache: what it did since the start, how much it holds, and what it was good for."""

from __future__ import annotations

from ppmproxy.config.sizes import size_text
from ppmproxy.server.admin.markup import Html, joined, markup
from ppmproxy.server.admin.view import CacheView, View, clock_time, tile

_SECTION = """<h2>Cache</h2><dl class="facts tiles">{tiles}</dl>
<p class="quiet">Requests since {since}; files, size and saved bytes since the cache was emptied.</p>"""
_ALWAYS = {"hit": "hits", "revalidated": "revalidated", "miss": "misses"}
_IF_ANY = {
    "shared": "from the shared cache",
    "stale": "sent during an outage",
    "offline": "sent offline",
    "bypass": "bypassed",
}


def cache_section(view: View, cache: CacheView) -> Html:
    """Numbers of requests, and of what is kept."""
    counts, totals = view.state.by_cache, cache.totals
    shown = {**_ALWAYS, **{result: words for result, words in _IF_ANY.items() if counts.get(result)}}
    tiles = [tile(f"cache-{result}", words, str(counts.get(result, 0))) for result, words in shown.items()]
    if totals is not None:
        tiles += [
            tile("cache-saved", "not fetched again", size_text(totals.saved_bytes), str(totals.saved_bytes)),
            tile("cache-files", "files", str(totals.files)),
            tile("cache-size", f"in use, of {size_text(cache.max_size)}", size_text(totals.size), str(totals.size)),
        ]
    return markup(_SECTION, tiles=joined(tiles), since=clock_time(view.state.started_at))
