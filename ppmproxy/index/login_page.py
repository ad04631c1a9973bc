"""Detection of sign-in pages, which come with status 200 in place of what was asked for.

Clients find "no versions" on such a page, or take it for a package. Only the content decides, because servers label
files as ``text/html``, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from ppmproxy.index.html_links import TEXT_ELEMENTS, TEXT_END, Markup, markup_at
from ppmproxy.index.possessive import repeats
from ppmproxy.index.project_names import normalized

_ENOUGH: Final = 512  # bytes
_BLANKS: Final = b" \t\n\f\r\xef\xbb\xbf"
# Elements with which web pages begin: those of the WHATWG MIME sniffing standard (section 7.1), the blocks of the HTML
# standard (section 15.3), what stands in a head, and those of text. No package, metadata or signature begins with "<".
_ELEMENTS: Final = (
    b"html head body script iframe h1 div font table a style title b br p meta form"
    b" address article aside blockquote center dd details dialog dir dl dt fieldset figcaption figure footer frameset"
    b" h2 h3 h4 h5 h6 header hgroup hr legend li listing main menu nav ol pre search section summary ul xmp"
    b" base link noscript template"
    b" big code em i img input noframes small span strong svg tt u"
)
_WEB_PAGE: Final = re.compile(
    rb"[\s\xef\xbb\xbf]*(?:<\?xml[^<>]*>\s*)?<(?:!--|!doctype\s+html|(?:%b)[\s>/])" % b"|".join(_ELEMENTS.split()),
    re.IGNORECASE,
)
# Elements of pages for people, or for browsers; of <meta>, only http-equiv="refresh".
_MARKERS: Final = (b"form", b"input", b"script", b"iframe", b"meta")
# Text, declarations, titles and tags without attributes, which decide nothing here; many are passed at once.
_IRRELEVANT: Final = re.compile(
    repeats(
        rb"[^<]*+(?:(?:</?+(?!(?:%b)\b)[a-z][a-z0-9]*+|<!doctype\b[^>]*+|<title>[^<]*+</title)>[^<]*+)*"
        % b"|".join((*_MARKERS, *TEXT_ELEMENTS))
    ),
    re.IGNORECASE,
)
_DISTRIBUTION: Final = re.compile(
    r"[^?#]*\.(?:whl|egg|zip|exe|msi|rpm|deb|tar(?:\.(?:gz|bz2|xz|z|lz|lzma|zst))?|tgz|tbz|txz|tlz)(?:[?#]|\Z)",
    re.IGNORECASE | re.DOTALL,
)
LONGEST_PROJECT_NAME: Final = 256
_INDEX_TITLE: Final = re.compile(
    rb"<(?:title|h1)\b[^<>]*>[^<]{0,256}?\b(?:links for|simple (?:index|list)|index of /)", re.IGNORECASE
)
_NO_TEXT: Final = re.compile(rb"<!--.*?(?:-->|\Z)|<[^<>]*>", re.DOTALL)
# Not within a project's name, such as flask-login.
_SIGN_IN: Final = re.compile(
    rb"(?<![\w.-])(?:(?:sign(?:ing)?|log(?:ging)?)[ -]?(?:in|on)|single sign-on|sso|un-?authori[sz]ed|not authori[sz]ed"
    rb"|authentication (?:is )?(?:required|needed)|access denied)(?![\w.-]*[\w-])",
    re.IGNORECASE,
)


def is_too_short_to_judge(start: bytes) -> bool:
    """Whether more of a body is needed to know if it is a web page."""
    return len(start) < _ENOUGH and start.lstrip(_BLANKS)[:1] in {b"", b"<"}


def is_web_page(start: bytes) -> bool:
    """Whether a body that begins so is a web page."""
    return _WEB_PAGE.match(start[:_ENOUGH]) is not None


def is_login_page(page: bytes, *, is_root: bool = False) -> bool:
    """Whether a page is made for a person or a browser, and is no index.

    An index has an anchor that links to a distribution file, or says in its title what it is. The root, which lists all
    projects, has an anchor whose text is the end of its link. A page that asks for a password before that is no index.
    """
    has_marker = asks_password = lists_projects = False
    for tag in _tags(page):
        if tag.name != b"a" and tag.name not in _MARKERS:
            continue
        values = {attribute.name: attribute.value for attribute in reversed(tag.attributes)}
        if tag.name == b"a":
            link = values.get(b"href", "")
            if _DISTRIBUTION.match(link):
                return asks_password
            lists_projects = lists_projects or (is_root and _is_named_by(link, page, tag.end))
        else:
            has_marker |= tag.name != b"meta" or values.get(b"http-equiv", "").strip().lower() == "refresh"
            asks_password |= tag.name == b"input" and values.get(b"type", "").strip().lower() == "password"
    if asks_password:
        return True
    is_index = lists_projects or _INDEX_TITLE.search(page) is not None
    return not is_index and (has_marker or _SIGN_IN.search(_NO_TEXT.sub(b" ", page)) is not None)


def _is_named_by(link: str, page: bytes, at: int) -> bool:
    """Whether a link ends with the text of its anchor, which begins at `at`, as on the list of all projects."""
    text = page[at : at + LONGEST_PROJECT_NAME].partition(b"<")[0].decode("utf-8", "replace")
    name = link.rstrip("/").rpartition("/")[2]
    return bool(name) and normalized(text.strip().rstrip("/")) == normalized(name)


def _tags(page: bytes) -> Iterator[Markup]:
    at = _after_irrelevant(page, 0)
    while at < len(page) and (markup := markup_at(page, at)):
        yield markup
        at = markup.end
        if markup.name in TEXT_ELEMENTS:
            end = TEXT_END[markup.name].search(page, at)
            at = end.start() if end else len(page)
        at = _after_irrelevant(page, at)


def _after_irrelevant(page: bytes, at: int) -> int:
    """Where the next tag begins that may decide something."""
    found = _IRRELEVANT.match(page, at)
    return found.end() if found else at
