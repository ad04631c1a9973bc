"""Claims about generated targets: none is accepted that any reader takes for something else."""

import re
from unicodedata import normalize
from urllib.parse import unquote, urlsplit

from hypothesis import example, given, settings
from hypothesis import strategies as st
from routed_targets import PM

from ppmproxy.auth.origin import Origin
from ppmproxy.auth.policy import may_carry_token
from ppmproxy.config.model import Upstream
from ppmproxy.errors import (
    PpmProxyError,
)
from ppmproxy.index.routing import Target, target_of

FILES = Origin("https", "files.example.com", 443)


STORE = Origin("http", "store.example.com", 8080)


BELOW = Upstream(url="https://pm.example.com/rspm", mount="/", configured=True, file_hosts=(FILES, STORE))


OTHER = Upstream(name="other", url="https://other.example.com/base", mount="/other", configured=True)


NESTED = Upstream(name="nested", url="https://nested.example.com", mount="/other/nested", configured=True)


ALL = (BELOW, OTHER, NESTED)


FRAGMENTS = [
    "/", "//", ".", "..", "%2e", "%2E", "%252e", "%2f", "%2F", "%5c", "%00", "%", "%25", ";", "?", "#", "@", ":", "\\",
    "other", "nested", "__api__", "__API__", "%5f", "status", "repos", "-", "files", "default", "files.example.com",
    "rspm", "simple", "x.whl", "a", "+", "%2B", "%7E", " ", "\t", "\u00e9", "%c0%ae", "http://evil.com", "upload",
    "%EF%BC%8E", "\uff0e", "%E2%80%A5", "%EF%BC%8F", "\uff3c", "%CD%8F", "\u3164", "%EF%B8%8F", "%EF%BC%85", "\ufe33",
]  # fmt: skip


RAW_TARGETS = st.one_of(
    st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join).map("/".__add__),
    st.lists(st.sampled_from(FRAGMENTS), max_size=6).map("".join),
    st.text(max_size=30).map("/".__add__),
)


METHODS = st.sampled_from(["GET", "HEAD", "POST", "PUT"])


def accepted(method, raw_target, upstreams):
    """The target, where there is one; the only other ways out are the errors that a person is told about."""
    try:
        target = target_of(method, raw_target, upstreams)
    except PpmProxyError as error:
        status = error.status
    else:
        return target if isinstance(target, Target) else None
    assert status in {400, 403, 404, 405}
    return None


NOT_SHOWN = re.compile("[\u00ad\u034f\u1160\u200b-\u200f\ufe00-\ufe0f]")


def every_reading(path):
    """The path, and what it becomes when decoding goes on and on, with and without normalisation."""
    seen = []
    for normalised in (False, True):
        reading = path
        while reading not in seen:
            seen.append(reading)
            reading = unquote(reading, errors="replace")
            if normalised:
                reading = normalize("NFKC", NOT_SHOWN.sub("", normalize("NFKC", reading)))
    return seen


@settings(max_examples=400)
@given(METHODS, RAW_TARGETS)
@example("GET", "//evil.com/x")
@example("GET", "/other/..;/x")
def test_whatever_is_accepted_lies_below_its_upstream_or_on_a_file_host_to_every_reader(method, raw_target):
    target = accepted(method, raw_target, ALL)

    if target is not None:
        parts, base = urlsplit(target.url), urlsplit(target.upstream.url)
        assert target.url.isprintable() or not target.url.isascii()
        assert "#" not in target.url
        if Origin.of(target.url) in target.upstream.file_hosts:
            assert not may_carry_token(target.url, target.upstream.url)
        else:
            assert Origin.of(target.url) == target.upstream.origin
            assert target.url.startswith(target.upstream.url + "/")
            assert may_carry_token(target.url, target.upstream.url)
        for reading in every_reading(parts.path.removeprefix(base.path)):
            assert reading.count("/") == parts.path.removeprefix(base.path).count("/")
            assert not {"..", "."} & set(re.split(r"[/\\]", reading))


@settings(max_examples=400)
@given(METHODS, RAW_TARGETS)
def test_whatever_is_accepted_below_the_api_is_on_its_list(method, raw_target):
    target = accepted(method, raw_target, (PM,))

    if target is not None and any(
        "__api__" in reading.lower().split("/") for reading in every_reading(urlsplit(target.url).path)
    ):
        path = urlsplit(target.url).path
        reads = path == "/__api__/status" or re.match(r"/__api__/repos(/|$)", path)
        assert (reads and method in {"GET", "HEAD"}) or (path == "/__api__/filter/packages" and method == "POST")


@settings(max_examples=200)
@given(RAW_TARGETS)
def test_whatever_is_accepted_goes_upstream_as_it_came(raw_target):
    target = accepted("GET", raw_target, (PM,))

    if target is not None:
        path, mark, query = raw_target.partition("?")
        assert target.url == PM.url + re.sub("/{2,}", "/", path) + mark + query
