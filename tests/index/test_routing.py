"""Claims about the URL that a local target stands for, byte for byte, and what kind of thing it names."""

import pytest
from routed_targets import PM, kind_of

from ppmproxy.auth.origin import Origin
from ppmproxy.auth.policy import may_carry_token
from ppmproxy.config.model import Upstream
from ppmproxy.errors import (
    BadTargetError,
    MethodNotAllowedError,
    NotForwardedError,
)
from ppmproxy.index.routing import ResourceKind, Target, is_project_list, target_of

FILES = Origin("https", "files.example.com", 443)


STORE = Origin("http", "store.example.com", 8080)


BELOW = Upstream(url="https://pm.example.com/rspm", mount="/", configured=True, file_hosts=(FILES, STORE))


OTHER = Upstream(name="other", url="https://other.example.com/base", mount="/other", configured=True)


NESTED = Upstream(name="nested", url="https://nested.example.com", mount="/other/nested", configured=True)


ALL = (BELOW, OTHER, NESTED)


def url_of(raw_target, upstreams=(PM,), method="GET"):
    target = target_of(method, raw_target, upstreams)
    assert isinstance(target, Target)
    return target.url


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


@pytest.mark.parametrize(
    ("url", "is_list"),
    [
        ("/pypi/latest/simple/", True),
        ("https://pm.example.com/pypi/latest/simple?a=simple/b", True),
        ("/team/dev/+simple/", True),
        ("/pypi/latest/simple/hello/", False),
        ("/pypi/latest/simple/simple/", False),
        ("/pypi/latest/simple/is-simple/", False),
        ("/pypi/latest/simple/hello/?a=/simple/", False),
    ],
)
def test_the_list_of_all_projects_is_told_from_the_page_of_a_project(url, is_list):
    assert is_project_list(url) is is_list
