"""The page for people as a client without a browser reads it: headers of a browser, numbers, rows, events."""

import asyncio
import contextlib
import json
import re
from html.parser import HTMLParser

from proxy_client import DEADLINE

TYPED = {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
OWN = {"Sec-Fetch-Site": "same-origin"}
PAGE = "/-/"
EVENTS = "/-/page/events"


class PageReader(HTMLParser):
    """Tags with their attributes, and the text of each element with an identifier."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.tags, self.rows, self._open = [], [], []
        self.by_id, self.text = {}, ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.tags.append((tag, given))
        if tag == "tr" and given.get("id", "").startswith("request-"):
            self.rows.append([])
        if tag == "td" and self.rows:
            self.rows[-1].append("")
        if tag not in {"meta", "link", "input", "rect", "circle", "polyline", "path", "img"}:
            self._open.append((tag, given.get("id")))

    def handle_endtag(self, tag):
        while self._open:
            if self._open.pop()[0] == tag:
                return

    def handle_data(self, data):
        self.text += data
        for tag, name in self._open:
            if name:
                self.by_id[name] = self.by_id.get(name, "") + data
            if tag == "td" and self.rows:
                self.rows[-1][-1] += data

    @property
    def numbers(self):
        """The numbers of the parts on requests and on the cache, by their names."""
        prefix = "requests-"
        found = {given["id"]: given["data-number"] for _, given in self.tags if "data-number" in given}
        return {name.removeprefix(prefix): int(number) for name, number in found.items()}


async def read_page(running, path=PAGE, headers=TYPED):
    reply = await running.get(path, headers)
    assert reply.status == 200, reply.text()
    return PageReader(reply.text())


def page_token(page):
    """The token of a page that may act; None for any other."""
    found = re.search(r'<meta name="ppmproxy-page-token" content="([0-9a-f]{64})">', page)
    return found and found[1]


async def acting_headers(running, **changed):
    """What the script of a page that was just loaded sends with a click."""
    token = page_token((await running.get(PAGE, TYPED)).text())
    headers = {**OWN, "Origin": running.url, "X-Ppmproxy-Page-Token": token, **changed}
    return {name: value for name, value in headers.items() if value is not None}


@contextlib.asynccontextmanager
async def live_window(running, headers=OWN):
    """The messages that an open window receives: an async function that returns the next one."""
    async with running.session.get(running.url + EVENTS, headers=headers) as response:
        assert response.status == 200

        async def next_message():
            while True:
                line = await asyncio.wait_for(response.content.readline(), DEADLINE)
                if not line:
                    return None
                if line.startswith(b"data: "):
                    return json.loads(line.removeprefix(b"data: "))

        yield next_message
