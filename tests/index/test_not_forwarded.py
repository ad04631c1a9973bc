"""Claims about what routing never forwards: most of the API, uploads unless switched on, the proxy's own pages."""

import pytest
from routed_targets import PM, kind_of

from ppmproxy.auth.origin import Origin
from ppmproxy.config.model import ApiAccess, Upstream
from ppmproxy.errors import (
    BadTargetError,
    MethodNotAllowedError,
    NotForwardedError,
    UploadsOffError,
)
from ppmproxy.index.routing import OwnPage, ResourceKind, Target, target_of

FILES = Origin("https", "files.example.com", 443)


STORE = Origin("http", "store.example.com", 8080)


BELOW = Upstream(url="https://pm.example.com/rspm", mount="/", configured=True, file_hosts=(FILES, STORE))


OTHER = Upstream(name="other", url="https://other.example.com/base", mount="/other", configured=True)


NESTED = Upstream(name="nested", url="https://nested.example.com", mount="/other/nested", configured=True)


ALL = (BELOW, OTHER, NESTED)


# --- the API ----------------------------------------------------------------------------------------------------------


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
