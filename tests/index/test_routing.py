"""Raw request targets are refused where two parsers may differ, and else go upstream byte for byte."""

import re
from unicodedata import normalize
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ppmproxy.auth.origin import Origin
from ppmproxy.auth.policy import may_carry_token
from ppmproxy.config.model import ApiAccess, Upstream
from ppmproxy.errors import (
    BadTargetError,
    MethodNotAllowedError,
    NotForwardedError,
    PpmProxyError,
    UploadsOffError,
)
from ppmproxy.index.routing import OwnPage, ResourceKind, Target, is_project_list, target_of

FILES = Origin("https", "files.example.com", 443)
STORE = Origin("http", "store.example.com", 8080)

PM = Upstream(url="https://pm.example.com", configured=True)
BELOW = Upstream(url="https://pm.example.com/rspm", mount="/", configured=True, file_hosts=(FILES, STORE))
OTHER = Upstream(name="other", url="https://other.example.com/base", mount="/other", configured=True)
NESTED = Upstream(name="nested", url="https://nested.example.com", mount="/other/nested", configured=True)
ALL = (BELOW, OTHER, NESTED)


def url_of(raw_target, upstreams=(PM,), method="GET"):
    target = target_of(method, raw_target, upstreams)
    assert isinstance(target, Target)
    return target.url


def kind_of(raw_target, method="GET", upstream=PM):
    return target_of(method, raw_target, (upstream,)).kind


# --- what goes upstream, byte for byte --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw_target",
    [
        "/",
        "/pypi/latest/simple/idna/",
        "/pypi/2024-01-01/packages/ab/cd/torch-2.1.0%2Bcpu-cp311.whl",
        "/pypi/latest/packages/torch-2.1.0+cpu.whl.metadata",
        "/cran/__linux__/jammy/latest/src/contrib/PACKAGES.gz",
        "/x/%7Ename/~name/%41%zz%/%25/a%20b;v=1/@scope/!$&'()*,:=",
        "/x/\u00e9\u4e2d%C3%A9%e4%b8%ad%f0%9f%98%80%e0%a4%a4",
        "/x/...",
        "/x/..a/a../.well-known/-/.%20a",
        "/x/%ff%fe",
        "/x?",
        "/x?a=../..&b=%2F%2e%2e%5c%00&c=//evil&sig=a+b%2Bc/?d",
        "/x?X-Amz-Signature=0%2F1&X-Amz-Credential=AK%2F2024%2Fs3",
        "/?x",
        "/__ping__",
    ],
)
def test_an_honest_target_goes_upstream_byte_for_byte(raw_target):
    assert url_of(raw_target) == "https://pm.example.com" + raw_target


@pytest.mark.parametrize(
    ("raw_target", "url"),
    [
        ("//", "https://pm.example.com/"),
        ("/pypi//simple///idna//", "https://pm.example.com/pypi/simple/idna/"),
        ("//evil.com/pypi", "https://pm.example.com/evil.com/pypi"),
        ("///evil.com", "https://pm.example.com/evil.com"),
        ("/@evil.com/x", "https://pm.example.com/@evil.com/x"),
        ("/:8080/x", "https://pm.example.com/:8080/x"),
        ("/http://evil.com/x", "https://pm.example.com/http:/evil.com/x"),
        ("/x?u=http://evil.com//x", "https://pm.example.com/x?u=http://evil.com//x"),
    ],
)
def test_slashes_are_collapsed_in_the_path_and_never_name_a_host(raw_target, url):
    assert url_of(raw_target) == url
    assert Origin.of(url_of(raw_target)) == PM.origin


@pytest.mark.parametrize(
    ("raw_target", "url"),
    [
        ("/", "https://pm.example.com/rspm/"),
        ("/x", "https://pm.example.com/rspm/x"),
        ("/others/x", "https://pm.example.com/rspm/others/x"),
        ("/%6fther/x", "https://pm.example.com/rspm/%6fther/x"),
        ("/Other/x", "https://pm.example.com/rspm/Other/x"),
        ("/other", "https://other.example.com/base/"),
        ("/other?q", "https://other.example.com/base/?q"),
        ("/other/", "https://other.example.com/base/"),
        ("/other/x", "https://other.example.com/base/x"),
        ("//other//x", "https://other.example.com/base/x"),
        ("/other/nestedx", "https://other.example.com/base/nestedx"),
        ("/other/nested/x", "https://nested.example.com/x"),
    ],
)
def test_the_longest_mount_that_holds_the_path_decides_by_whole_segments(raw_target, url):
    assert url_of(raw_target, ALL) == url


def test_a_path_below_no_mount_is_no_missing_package_and_the_mounts_are_named():
    with pytest.raises(NotForwardedError, match=r"no upstream is mounted at /x") as caught:
        target_of("GET", "/x", (OTHER, NESTED))

    assert caught.value.status == 403
    assert "/other, /other/nested" in caught.value.hint


@pytest.mark.parametrize(
    ("raw_target", "repo"),
    [
        ("/", ""),
        ("/pypi", "pypi"),
        ("/pypi/latest/simple/", "pypi"),
        ("/%70ypi/latest/", "pypi"),
        ("/other/cran/x", "cran"),
    ],
)
def test_the_repository_is_the_first_segment_below_the_mount(raw_target, repo):
    assert target_of("GET", raw_target, ALL).repo == repo


def test_the_local_name_of_a_target_is_its_path_with_slashes_collapsed():
    assert target_of("GET", "//other//x//?a//b", ALL).local == "/other/x/?a//b"


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "CONNECT", "\x00"])
def test_a_bad_target_is_refused_as_such_whatever_the_method(method):
    with pytest.raises(BadTargetError):
        target_of(method, "/x/../y", (PM,))


# --- methods and kinds ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", ""]
)
@pytest.mark.parametrize(
    "raw_target", ["/pypi/latest/simple/", "/x.whl", "/", "/other/x", "/-/files/default/files.example.com/x"]
)
def test_only_get_and_head_are_forwarded(method, raw_target):
    with pytest.raises(MethodNotAllowedError) as caught:
        target_of(method, raw_target, ALL)

    assert (caught.value.status, caught.value.code) == (405, "not-forwarded")


@pytest.mark.parametrize(
    ("raw_target", "kind"),
    [
        ("/pypi/latest/simple/", ResourceKind.INDEX_PAGE),
        ("/pypi/latest/simple", ResourceKind.INDEX_PAGE),
        ("/pypi/latest/simple/idna/", ResourceKind.INDEX_PAGE),
        ("/pypi/latest/simple/idna", ResourceKind.INDEX_PAGE),
        ("/pypi/latest/%73imple/idna/", ResourceKind.INDEX_PAGE),
        ("/pypi/latest/simple/idna/?x=y.whl", ResourceKind.INDEX_PAGE),
        ("/pypi/latest/simple/backports.zip/", ResourceKind.INDEX_PAGE),
        ("/team/pypi/+simple/idna/", ResourceKind.INDEX_PAGE),
        ("/pypi/latest/packages/1/idna-3.4-py3-none-any.whl", ResourceKind.FILE),
        ("/pypi/latest/packages/1/IDNA.WHL", ResourceKind.FILE),
        ("/pypi/latest/packages/1/idna%2ewhl?sig=a/b", ResourceKind.FILE),
        ("/pypi/latest/packages/1/idna-3.4-py3-none-any.whl.metadata", ResourceKind.FILE),
        ("/pypi/latest/packages/1/idna-3.4.tar.gz", ResourceKind.FILE),
        ("/simple/idna-3.4.tar.gz", ResourceKind.FILE),
        ("/cran/latest/src/contrib/PACKAGES.gz", ResourceKind.FILE),
        ("/cran/latest/src/contrib/PACKAGES.rds", ResourceKind.FILE),
        ("/cran/latest/src/contrib/PACKAGES", ResourceKind.OTHER),
        ("/cran/latest/src/contrib/x_1.0.tar.gz", ResourceKind.FILE),
        ("/pypi/latest/simple/a/b/c", ResourceKind.OTHER),
        ("/__ping__", ResourceKind.OTHER),
        ("/", ResourceKind.OTHER),
        ("/upload/pypi/local", ResourceKind.UPLOAD),
        ("/uploads/pypi/local", ResourceKind.OTHER),
        ("/__api__/status", ResourceKind.API),
    ],
)
def test_the_path_says_what_kind_of_thing_it_names(raw_target, kind):
    assert kind_of(raw_target) is kind


# --- the API ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "is_list"),
    [
        ("/pypi/latest/simple/", True),
        ("https://pm.example.com/pypi/latest/simple?a=simple/b", True),
        ("/root/pypi/+simple/", True),
        ("/pypi/latest/simple/hello/", False),
        ("/pypi/latest/simple/simple/", False),
        ("/pypi/latest/simple/is-simple/", False),
        ("/pypi/latest/simple/hello/?a=/simple/", False),
    ],
)
def test_the_list_of_all_projects_is_told_from_the_page_of_a_project(url, is_list):
    assert is_project_list(url) is is_list


@pytest.mark.parametrize(
    ("method", "raw_target"),
    [
        ("GET", "/__api__/status"),
        ("HEAD", "/__api__/status"),
        ("GET", "/__api__/status?x"),
        ("GET", "//__api__//status"),
        ("GET", "/__api__/repos"),
        ("GET", "/__api__/repos/"),
        ("GET", "/__api__/repos/1/packages/idna?snapshot=latest"),
        ("POST", "/__api__/filter/packages"),
    ],
)
def test_the_read_only_part_of_the_api_is_forwarded(method, raw_target):
    assert kind_of(raw_target, method) is ResourceKind.API

    with pytest.raises(NotForwardedError):
        target_of(method, raw_target, (Upstream(url=PM.url, api=ApiAccess.NONE),))


@pytest.mark.parametrize(
    ("method", "raw_target"),
    [
        ("GET", "/__api__"),
        ("GET", "/__api__/"),
        ("GET", "/__api__/tokens"),
        ("GET", "/__api__/statusx"),
        ("GET", "/__api__/status/x"),
        ("GET", "/__api__/reposx"),
        ("GET", "/__api__/filter/packages"),
        ("POST", "/__api__/status"),
        ("POST", "/__api__/repos"),
        ("PUT", "/__api__/repos/1"),
        ("DELETE", "/__api__/repos/1"),
        ("POST", "/__api__/filter/packages/x"),
        ("POST", "/__api__/filter"),
        ("POST", "/__api__/token"),
        ("POST", "/__api__/device"),
        ("PATCH", "/__api__/filter/packages"),
    ],
)
def test_the_rest_of_the_api_is_not(method, raw_target):
    with pytest.raises(NotForwardedError) as caught:
        target_of(method, raw_target, (PM,))

    assert (caught.value.status, caught.value.code) == (403, "not-forwarded")


HIDDEN_API = [
    "/%5f%5fapi%5f%5f/{}",
    "/__%61pi__/{}",
    "/%255f_api__/{}",
    "/__API__/{}",
    "/__Api__/{}",
    "/__%41PI__/{}",
    "//__API__//{}",
    "/__api__;v=1/{}",
    "/__api__%3bv/{}",
    "/__api__./{}",
    "/__api__%20/{}",
    "/__api__%c2%a0/{}",
    "/__api__%3fx/{}",
    "/__api__%23/{}",
    "/%ef%bc%bf%ef%bc%bfapi%ef%bc%bf%ef%bc%bf/{}",
    "/__ap%c4%b1__/{}",
    "/%20__api__/{}",
    "/__api__%ef%bc%8f{}",
    "/%ef%bc%8f__api__%EF%BC%8F{}",
    "/__api__%ef%bc%bc{}",
    "/pypi/%ef%bc%8e%ef%bc%8e%ef%bc%8f__api__/{}",
    "/__api__%e2%81%84{}",
    "/__api__%e2%88%95{}",
    "/__api__%25ef%25bc%258f{}",
    "/%ef%bc%855f%ef%bc%855fapi__/{}",
    "/__\uff41pi__\uff0f{}",
    "/__%f0%9d%90%9a%f0%9d%90%a9%f0%9d%90%a2__/{}",
    "/__api%e2%80%8b__/{}",
    "/__%c2%adapi__/{}",
    "/%ef%b8%b3%ef%b9%8dapi__/{}",
    "/__api__%EF%B8%8F/{}",
    "/__a%CD%8Fpi__/{}",
    "/__api__%E1%85%9F/{}",
    "/__api__%E3%85%A4/{}",
    "/__api__%E1%A0%8B/{}",
    "/__api__%F3%A0%84%80/{}",
    "/pypi/__api__/{}",
    "/pypi/latest/simple/__api__/{}",
    "/pypi/latest/packages/__api__/{}/x.whl",
    "/upload/__api__/{}",
    "/upload/pypi/%5F_api__/{}",
    "/__api__/__api__/{}",
]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("rest", ["tokens", "status", "repos/1", "filter/packages"])
@pytest.mark.parametrize("hidden", HIDDEN_API)
def test_no_way_of_writing_the_api_leads_around_its_list(hidden, rest, method):
    upstream = Upstream(url=PM.url, uploads=True, configured=True)

    with pytest.raises(NotForwardedError):
        target_of(method, hidden.format(rest), (upstream,))


@pytest.mark.parametrize(
    "rest",
    [
        *("repos/..", "repos/../tokens", "repos/..;/tokens", "repos/%2e%2e/tokens", "repos%2f..", "repos/..%5ctokens"),
        *("repos/%EF%BC%8E%EF%BC%8E/tokens", "repos/%E2%80%A5/tokens", "repos/.%EF%BC%8E/tokens"),
        *("repos/.%CD%8F./tokens", "repos/%EF%B8%B0/tokens", "repos/..%E2%81%84tokens"),
    ],
)
def test_no_way_leads_from_the_list_to_the_rest_of_the_api(rest):
    with pytest.raises(BadTargetError):
        target_of("GET", f"/__api__/{rest}", (PM,))


@pytest.mark.parametrize(
    "raw_target", ["/pypi/latest/simple/api/", "/__apis__/x", "/x__api__/y", "/pypi?__api__/tokens"]
)
def test_what_only_looks_like_the_api_is_forwarded(raw_target):
    assert kind_of(raw_target) is not ResourceKind.API


# --- uploads ----------------------------------------------------------------------------------------------------------


def test_an_upload_is_refused_until_it_is_switched_on():
    with pytest.raises(UploadsOffError) as caught:
        target_of("POST", "/upload/pypi/local", (PM,))

    assert (caught.value.status, caught.value.code) == (403, "uploads-off")
    assert "uploads = true" in caught.value.hint


@pytest.mark.parametrize(
    ("raw_target", "allowed"),
    [
        ("/upload/pypi/local", True),
        ("/upload/pypi/local/", True),
        ("/upload", True),
        ("/%75pload/pypi/local", True),
        ("/UPLOAD/pypi/local", False),
        ("/upload;x/pypi/local", False),
        ("/pypi/upload/local", False),
        ("/pypi/latest/simple/", False),
    ],
)
def test_switched_on_uploads_are_posted_below_upload_and_nowhere_else(raw_target, allowed):
    upstream = Upstream(url=PM.url, uploads=True, configured=True)

    if allowed:
        assert target_of("POST", raw_target, (upstream,)).kind is ResourceKind.UPLOAD
    else:
        with pytest.raises(MethodNotAllowedError):
            target_of("POST", raw_target, (upstream,))


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_nothing_else_is_done_to_an_upload(method):
    upstream = Upstream(url=PM.url, uploads=True, configured=True)

    with pytest.raises(MethodNotAllowedError):
        target_of(method, "/upload/pypi/local", (upstream,))


# --- the proxy's own pages --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("raw_target", "path"), [("/-/live", "/-/live"), ("//-//live?x", "/-/live"), ("/-/", "/-/")])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_is_below_the_own_prefix_is_a_page_of_the_proxy(method, raw_target, path):
    assert target_of(method, raw_target, ALL) == OwnPage(path)


@pytest.mark.parametrize("raw_target", ["/-", "/-x/live", "/%2d/live", "/other/-/live", "/x/-/live"])
def test_what_only_looks_like_it_goes_upstream(raw_target):
    assert isinstance(target_of("GET", raw_target, ALL), Target)


# --- other hosts that links may lead to -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw_target", "url"),
    [
        ("/-/files/default/files.example.com/a/b.whl", "https://files.example.com/a/b.whl"),
        ("/-/files/default/files.example.com/a%2Bb.whl?s=%2F..", "https://files.example.com/a%2Bb.whl?s=%2F.."),
        ("/-/files/default/files.example.com//a//b.whl", "https://files.example.com/a/b.whl"),
        ("/-/files/default/files.example.com/", "https://files.example.com/"),
        ("/-/files/default/files.example.com/__api__/tokens", "https://files.example.com/__api__/tokens"),
        ("/-/files/default/http+store.example.com:8080/b.whl", "http://store.example.com:8080/b.whl"),
    ],
)
def test_a_file_host_is_asked_through_the_proxy_and_never_with_the_token(raw_target, url):
    target = target_of("GET", raw_target, ALL)

    assert (target.url, target.kind, target.upstream) == (url, ResourceKind.FILE, BELOW)
    assert not may_carry_token(target.url, target.upstream.url)


@pytest.mark.parametrize(
    "rest",
    [
        "",
        "default",
        "default/",
        "default/evil.com/x",
        "default/FILES.example.com/x",
        "default/files.example.com.evil.com/x",
        "default/files.example.com@evil.com/x",
        "default/evil.com@files.example.com/x",
        "default/files.example.com:443/x",
        "default/http+files.example.com/x",
        "default/store.example.com:8080/x",
        "default/pm.example.com/rspm/x",
        "other/files.example.com/x",
        "DEFAULT/files.example.com/x",
        "/evil.com/x",
        "default/files%2eexample.com/x",
    ],
)
def test_no_host_is_asked_that_the_settings_do_not_name(rest):
    with pytest.raises(NotForwardedError):
        target_of("GET", "/-/files/" + rest, ALL)


@pytest.mark.parametrize("path", ["rspm", "rspm/", "rspm/pypi/x.whl", "rspm/__api__/tokens", "/rspm/%5f_api__/tokens"])
def test_a_file_host_that_is_the_upstream_s_own_is_no_way_around_what_is_not_forwarded(path):
    upstream = Upstream(url="https://pm.example.com/rspm", configured=True, file_hosts=(PM.origin,))

    with pytest.raises(NotForwardedError):
        target_of("GET", f"/-/files/default/pm.example.com/{path}", (upstream,))


def test_a_file_host_that_is_the_upstream_s_own_is_asked_beside_its_base_without_the_token():
    upstream = Upstream(url="https://pm.example.com/rspm", configured=True, file_hosts=(PM.origin,))

    target = target_of("GET", "/-/files/default/pm.example.com/rspm-files/x.whl", (upstream,))

    assert target.url == "https://pm.example.com/rspm-files/x.whl"
    assert not may_carry_token(target.url, upstream.url)


# --- what comes from outside, generated -------------------------------------------------------------------------------

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
