"""Claims about the names on index pages: which URL has which hash."""

import contextlib
import json

import pytest

from ppmproxy.cache.page_names import NoIndexPageError, canonical_url, names_on
from ppmproxy.config.model import Upstream
from ppmproxy.index.rewriter import PageFormat

UPSTREAM = Upstream(url="https://pm.example.com/rspm", configured=True)
PAGE = "https://pm.example.com/rspm/pypi/latest/simple/hello/"
A, B = "a" * 64, "b" * 64
FILE = "https://pm.example.com/rspm/pypi/latest/packages/1/hello-1.0.whl"


def html(*anchors):
    return names_on("".join(anchors).encode(), PageFormat.HTML, PAGE, UPSTREAM)


def of_json(*files, **more):
    return names_on(json.dumps({"files": files, **more}).encode(), PageFormat.JSON, PAGE, UPSTREAM)


@pytest.mark.parametrize(
    "link",
    [
        FILE,
        "/rspm/pypi/latest/packages/1/hello-1.0.whl",
        "../../packages/1/hello-1.0.whl",
        "//pm.example.com/rspm/pypi/latest/packages/1/hello-1.0.whl",
        "http://pm.example.com/rspm/pypi/latest/packages/1/hello-1.0.whl",
        "/rspm//pypi/latest/packages/1/hello-1.0.whl",
    ],
)
def test_every_spelling_of_a_link_names_the_same_file(link):
    assert html(f'<a href="{link}#sha256={A}">x</a>') == {FILE: A}
    assert of_json({"url": link, "hashes": {"sha256": A}}) == {FILE: A}


def test_metadata_has_a_hash_of_its_own():
    anchor = f'<a href="{FILE}#sha256={A}" data-core-metadata="sha256={B}">x</a>'
    older = f'<a href="{FILE}#sha256={A}" data-dist-info-metadata="sha256={B}">x</a>'
    file = {"url": FILE, "hashes": {"sha256": A}, "core-metadata": {"sha256": B}}

    assert html(anchor) == html(older) == of_json(file) == {FILE: A, f"{FILE}.metadata": B}


@pytest.mark.parametrize("fragment", ["", "#md5=abc", "#sha256=abc", f"#sha256={A}0", "#egg=x"])
def test_a_link_without_a_whole_sha256_names_nothing(fragment):
    assert html(f'<a href="{FILE}{fragment}">x</a>') == {}


@pytest.mark.parametrize(
    "hashes",
    [
        *(None, {}, {"sha256": 1}, {"sha256": "abc"}, {"md5": A}, True),
        *({"sha256": f"{A}\n"}, {"sha256": f"{A}&/../../../x"}, {"sha256": f"{A}&"}),
    ],
)
def test_a_file_without_a_whole_sha256_names_nothing(hashes):
    assert of_json({"url": FILE, "hashes": hashes, "core-metadata": True}) == {}


def test_a_file_that_is_named_twice_with_different_hashes_has_none():
    assert html(f'<a href="{FILE}#sha256={A}">x</a>', f'<a href="{FILE}#sha256={B}">x</a>') == {}


def test_a_page_with_a_base_names_nothing():
    assert html('<base href="https://elsewhere.example.com/">', f'<a href="x.whl#sha256={A}">x</a>') == {}


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"files": 1}', b'{"files": [{}]}', b'{"files": [1]}', b"{" * 9999]
)
def test_what_is_no_json_index_is_an_error(body):
    with pytest.raises(NoIndexPageError):
        names_on(body, PageFormat.JSON, PAGE, UPSTREAM)


@pytest.mark.parametrize("odd", [f"&#{'9' * 5000};", f'<a href="&#{"9" * 5000};">', "<![foo x]>"])
def test_markup_that_this_python_cannot_read_is_no_index_page(odd):
    with contextlib.suppress(NoIndexPageError):  # later Pythons read it
        assert html(f'<a href="{FILE}#sha256={A}">x</a>{odd}') == {FILE: A}


def test_the_list_of_all_projects_names_no_file():
    assert names_on(b'{"projects": [{"name": "hello"}]}', PageFormat.JSON, PAGE, UPSTREAM) == {}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://a/x%2B1.whl", "https://a/x+1.whl", True),
        ("https://a/x%7Ey", "https://a/x~y", True),
        ("https://a/x?a=%2B", "https://a/x?a=+", False),
        ("https://a/x?a", "https://a/x?b", False),
        ("https://a/x%3Fa", "https://a/x?a", False),
        ("https://a/x%23a", "https://a/x#a", False),
        ("https://a/x%2541", "https://a/xA", False),
        ("https://a/x%2580", "https://a/x%80", False),
    ],
)
def test_clients_spell_one_path_in_several_ways(one, other, same):
    assert (canonical_url(one) == canonical_url(other)) is same


@pytest.mark.parametrize("path", ["a%253Fb", "a%3Fb", "a%23", "a%2541", "a%80", "%C3%A9%2B"])
def test_a_canonical_url_is_its_own(path):
    canonical = canonical_url(f"https://a/{path}")

    assert canonical_url(canonical) == canonical


@pytest.mark.parametrize("name", ["a%ff", "a?b\udcff", "a\ud800", "é%ff", "a%ed%a0%80"])
def test_a_url_that_is_not_utf_8_can_be_kept(name):
    assert canonical_url(f"https://a/{name}").encode()
    assert canonical_url("https://a/é%ff") == "https://a/é%FF"


@pytest.mark.parametrize(
    "name", ["x-1.0+cpu.whl", "x%2B1.whl", "é.whl", "a b.whl", "..", "", "x.whl?a=%2B", "a//b.whl"]
)
def test_a_name_on_a_page_is_spelled_as_a_request_for_it_is(name):
    link = f"https://pm.example.com/rspm/pypi/latest/packages/1/{name}"

    (url,) = of_json({"url": link, "hashes": {"sha256": A}})

    assert url == canonical_url(url)
    if name != "..":
        assert url == canonical_url(link)
