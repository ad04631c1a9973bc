"""The links of a JSON index page are found, and no other byte of it changes."""

import json
from contextlib import suppress
from functools import partial
from itertools import pairwise
from urllib.parse import urljoin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rewritten_pages import LINKS as LINK_MAP
from rewritten_pages import LOCAL, PAGE, UPSTREAM, localize
from rewritten_pages import rewritten as page_rewritten

from ppmproxy.index.rewriter import BrokenPage, PageFormat, PageRewriter

PATIENT = settings(deadline=None)  # a busy machine is no failure
U = UPSTREAM


rewritten = partial(page_rewritten, PageFormat.JSON)


def files(*members):
    """A page with one file for each of these, and a link in its metadata that is none."""
    return f'{{"name":"idna","files":[{{{"},{".join(members)}}}],"meta":{{"url":"{U}/x"}}}}'


# What changes, and to what: members of files.
CHANGED = [
    (f'"url":"{U}/x"', '"url":"/x"'),
    (f'"url" : "{U}/x" ', '"url" : "/x" '),
    (f'\n  "url"\t:\r\n"{U}/x"\n', '\n  "url"\t:\r\n"/x"\n'),
    (f'"provenance":null,"url":"{U}/x"', '"provenance":null,"url":"/x"'),
    (f'"provenance":"{U}/p","url":"{U}/x"', f'"provenance":"{U}/p","url":"/x"'),
    (f'"url":"{U}/x","provenance":"../{U}/p"', f'"url":"/x","provenance":"../{U}/p"'),
    (f'"url":"{U}/x","url":"{U}/y"', '"url":"/x","url":"/y"'),
    (f'"url":null,"url":{{"url":"{U}/n"}},"url":"{U}/y"', f'"url":null,"url":{{"url":"{U}/n"}},"url":"/y"'),
    (f'"url":"{U}/x?a=1&b=%2F#sha256=1"', '"url":"/x?a=1&b=%2F#sha256=1"'),
    ('"url":"/rspm/x"', '"url":"/x"'),
    (f'"url":"{U.replace("/", chr(92) + "/")}\\/x"', '"url":"/x"'),
    (f'"url":"{U}/x?a=1\\u0026b"', '"url":"/x?a=1&b"'),
    (f'"url":"{U}/\\"?\\\\"', '"url":"/\\"?\\\\"'),
    (f'"url":"{U}/é"', '"url":"/\\u00e9"'),
    (f'"url":"{U}/\\ud83d\\ude00\\ud83d"', '"url":"/\\ud83d\\ude00\\ud83d"'),
    (f'"\\u0075rl":"{U}/x"', '"\\u0075rl":"/x"'),
    (f'"u\\u0072l":"{U}/x","a":"\\n","url":"{U}/y"', '"u\\u0072l":"/x","a":"\\n","url":"/y"'),
    (f'"requires-python":"\\u003e=3.9","url":"{U}/x"', '"requires-python":"\\u003e=3.9","url":"/x"'),
    (f'"a\\"url":"{U}/x","url": "{U}/x"', f'"a\\"url":"{U}/x","url": "/x"'),
    (f'"hashes":{{"a":"\\u003e"}},"url":"{U}/x"', '"hashes":{"a":"\\u003e"},"url":"/x"'),
    (f'"size":["url","provenance"],"url":"{U}/x"', '"size":["url","provenance"],"url":"/x"'),
    (f'"url":"{U}/-/x","url":"{U}/x"', '"url":"/-/x","url":"/x"'),
    (f'"yanked":"url","url":"{U}/x"', '"yanked":"url","url":"/x"'),
    (f'"yanked":"provenance","url":"{U}/x"', '"yanked":"provenance","url":"/x"'),
    (f'"yanked":"}}],[{{","url":"{U}/x"', '"yanked":"}],[{","url":"/x"'),
    (f'"yanked":"\\"}},{{\\"url\\":\\"{U}/x\\"","url":"{U}/x"', f'"yanked":"\\"}},{{\\"url\\":\\"{U}/x\\"","url":"/x"'),
    (f'"hashes":{{"url":"{U}/n"}},"url":"{U}/x"', f'"hashes":{{"url":"{U}/n"}},"url":"/x"'),
    (f'"a":{{"b":{{"url":"{U}/n"}}}},"url":"{U}/x"', f'"a":{{"b":{{"url":"{U}/n"}}}},"url":"/x"'),
    (f'"a":["url","{U}/n",{{"url":"{U}/n"}}],"url":"{U}/x"', f'"a":["url","{U}/n",{{"url":"{U}/n"}}],"url":"/x"'),
    (
        f'"a":[[],{{}},[[1]]],"size":12e400,"url":"{U}/x","b":-0.0',
        '"a":[[],{},[[1]]],"size":12e400,"url":"/x","b":-0.0',
    ),
]

# Whole pages in which nothing is a link to be changed.
UNCHANGED = [
    "{}",
    " \n{ } \r\n\t",
    "\ufeff{}",
    files(),
    files('"url":"x.whl"', '"url":"../../p/x.whl#a"', '"url":""', '"url":"https://files.example.org/x\\/y"'),
    files(f'"url":["{U}/x"]', f'"url":{{"url":"{U}/x"}}', '"url":1', f'"core-metadata":"{U}/x"', f'"urls":"{U}/x"'),
    files('"url":"/rspm/x":1,"url" : "/rspm/x" :2'),  # names, to be exact, if of no object there could be
    files(f'"provenance":"{U}/x"', '"provenance":"/rspm/x"', '"provenance" : "x.whl.provenance"'),
    files(f'"URL":"{U}/x"', f'"\\u0055rl":"{U}/x"', f'"url ":"{U}/x"', '"url":"https:\\x"'),
    f'{{"url":"{U}/x","provenance":"{U}/x","files":null,"versions":["{U}/x"]}}',
    f'{{"files":{{"url":"{U}/x"}},"projects":[{{"name":"a","url":"{U}/x"}}]}}',
    f'{{"files":[[{{"url":"{U}/x"}}],"url","{U}/x",[["url"]]],"alternate-locations":["{U}/x"]}}',
    f'{{"meta":{{"files":[{{"url":"{U}/x"}}]}},"x":[{{"files":[{{"url":"{U}/x"}}]}}]}}',
    f'{{"files":[{{"url":"x"}}],"y":[{{"url":"{U}/x"}}]}}',
    f'{{"files":"x","y":[{{"url":"{U}/x"}}]}}',
    f'{{"Files":[{{"url":"{U}/x"}}],"files ":[{{"url":"{U}/x"}}]}}',
]


@pytest.mark.parametrize(("member", "expected"), CHANGED)
def test_links_of_files_change_and_nothing_else(member, expected):
    assert rewritten(files(member)) == files(expected)
    assert rewritten(files('"size":1', member, '"url":"x"', member)) == files(
        '"size":1', expected, '"url":"x"', expected
    )


@pytest.mark.parametrize("page", UNCHANGED)
def test_what_is_no_link_of_a_file_stays_byte_for_byte(page):
    assert rewritten(page) == page


@pytest.mark.parametrize("name", ["files", "f\\u0069les"])
def test_every_array_of_files_counts_wherever_it_stands(name):
    page = f'{{"a":{{"files":1}},"{name}":[{{"url":"{U}/x"}}],"b":[],"files": [ {{"url":"{U}/y"}}, null ]}}'

    assert rewritten(page) == page.replace(U, "")


@pytest.mark.parametrize("page", [*(files(member, member) for member, _ in CHANGED), *UNCHANGED])
def test_where_a_page_is_cut_into_chunks_makes_no_difference(page):
    whole = rewritten(page)
    raw = page.encode("utf-8", "surrogateescape")

    assert rewritten(page, chunks=[raw[at : at + 1] for at in range(len(raw))]) == whole
    for at in range(len(raw)):
        assert rewritten(page, chunks=[raw[:at], raw[at:]]) == whole


# --- ends ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("page", "why"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ('{"files":[', "before its last bracket"),
        ('{"files":[]', "before its last bracket"),
        ('{"files":[{"url":"x"}', "before its last bracket"),
        ('{"files":[{"url":"x', "inside a string"),
        ('{"files":[{"url":"x\\', "inside a string"),
        ('{"files":[{"url":"x\\"', "inside a string"),
        ('{"name', "inside a string"),
        ('{"files":[}]', "do not match"),
        ('{"files":]}', "do not match"),
        ("{}}", "after its last bracket"),
        ("{}{}", "after its last bracket"),
        ("{} x", "after its last bracket"),
        ('{}"', "after its last bracket"),
        ("[]", "not a JSON object"),
        ('"x"', "not a JSON object"),
        ("<!DOCTYPE html>", "not a JSON object"),
        ("null", "not a JSON object"),
        ('{"x":' + "[" * 1500 + "]" * 1500 + "}", "nested too deeply"),
    ],
)
@pytest.mark.parametrize("chunk_size", [1, 5, 65536])
def test_a_page_that_was_cut_or_is_no_object_is_broken(page, why, chunk_size):
    chunks = [page[at : at + chunk_size].encode() for at in range(0, len(page), chunk_size)]

    with pytest.raises(BrokenPage, match=why):
        rewritten(page, chunks=chunks)


# --- any page --------------------------------------------------------------------------------------------------------

LINKS = [
    *(f"{U}/x.whl", f"{U}/x~%7E.whl?a=1&b=%2F#sha256=1", "/rspm/y.whl", "../../p/y.whl#md5=1", "x.whl", "?a", "#a", ""),
    *("https://files.example.org/z.whl?a=1&b", "../../../../../q.whl", f"{U}/é 'x' \"y\"", "//ppm.example.com/rspm/x"),
]
NAMES = ["url", "provenance", "files", "name", "hashes", "yanked", "meta", 'a"b', 'a"url', "\\", "é", ""]
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
STRINGS = st.text(max_size=8) | st.sampled_from([*LINKS, *NAMES, '"', "{", "]", '","url":"', "\\u0022"])
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | STRINGS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)
NO_LINKS = st.none() | st.lists(st.sampled_from(LINKS)) | st.fixed_dictionaries({"url": st.sampled_from(LINKS)})
MEMBERS = st.fixed_dictionaries(
    {},
    optional={
        "url": st.sampled_from(LINKS) | NO_LINKS,
        "provenance": st.sampled_from(LINKS) | NO_LINKS,
        "filename": STRINGS,
        "hashes": st.just({"sha256": "1"}) | VALUES,
        "yanked": st.booleans() | STRINGS,
        'a"b': VALUES,
        'a"url': st.sampled_from(LINKS),
    },
)
FILES = MEMBERS.flatmap(lambda members: st.permutations(list(members.items()))).map(dict)
OTHERS = st.dictionaries(st.sampled_from([name for name in NAMES if name != "files"]), VALUES, max_size=3)
DOCUMENTS = st.builds(
    lambda before, files, after: {**before, **files, **after},
    OTHERS,
    st.fixed_dictionaries({}, optional={"files": st.lists(FILES | st.lists(VALUES, max_size=2), max_size=5)}),
    OTHERS,
)
RESTYLED = [
    lambda page: page,
    lambda page: page.replace("/", "\\/"),
    lambda page: page.replace('"url"', '"\\u0075rl"').replace('"files"', '"fil\\u0065s"'),
    lambda page: f"\ufeff {page}\n",
]
PAGES = st.builds(
    lambda document, ascii_only, separators, indent, restyled: restyled(
        json.dumps(document, ensure_ascii=ascii_only, separators=separators, indent=indent)
    ),
    *(DOCUMENTS, st.booleans(), st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " : ")])),
    *(st.sampled_from([None, None, 2]), st.sampled_from(RESTYLED)),
)
PAGE_URLS = st.sampled_from([U + PAGE, f"{U}/pypi/2024/simple/idna/", "https://cdn.example.org/i?x=/y"])


def understood(page, resolve):
    """What a client makes of a page: the links of its files resolved, all else as it is."""
    document = json.loads(page.encode())
    for file in document.get("files", ()):
        if isinstance(file, dict) and isinstance(file.get("url"), str) and file["url"] not in {"", "#a"}:
            file["url"] = resolve(file["url"])
    return document


@PATIENT
@given(PAGES, PAGE_URLS)
def test_clients_find_through_the_proxy_what_they_would_find_upstream(page, page_url):
    result = rewritten(page, page_url=page_url)

    seen = understood(result, lambda link: urljoin(LOCAL + PAGE, link))
    assert seen == understood(page, lambda link: urljoin(LOCAL, localize(urljoin(page_url, link))))


@PATIENT
@given(PAGES)
def test_a_page_whose_links_are_right_stays_byte_for_byte(page):
    result = rewritten(page).encode()
    again = PageRewriter(PageFormat.JSON, LOCAL + PAGE, PAGE, lambda url: url.removeprefix(LOCAL))

    assert again.feed(result) + again.close() == result
    assert not again.has_changed


@PATIENT
@given(PAGES, st.lists(st.integers(0, 400), max_size=5))
def test_any_page_in_any_chunks_gives_the_same(page, cuts):
    raw = page.encode()
    edges = [0, *sorted(cuts), len(raw)]
    chunks = [raw[start:end] for start, end in pairwise(edges)]

    assert rewritten(page, chunks=chunks) == rewritten(page)
    assert rewritten(page, chunks=[raw[at : at + 1] for at in range(len(raw))]) == rewritten(page)


@PATIENT
@given(
    st.lists(
        st.sampled_from([*b'{}[]":, \\u', b'{"files":[{', b'"url"', b'"provenance"', b'"/rspm/x"', b"}]}"]), max_size=30
    )
)
def test_any_bytes_in_any_chunks_give_the_same(pieces):
    raw = b'{"files":[{' + b"".join(piece if isinstance(piece, bytes) else bytes([piece]) for piece in pieces)

    def outcome(chunks):
        rewriter = PageRewriter(PageFormat.JSON, UPSTREAM + PAGE, PAGE, localize)
        try:
            return b"".join([*map(rewriter.feed, chunks), rewriter.close()])
        except BrokenPage:
            return None

    assert outcome([raw[i : i + 1] for i in range(len(raw))]) == outcome([raw])


DAMAGE = [
    *('"', ":", "{", "}", "[", "]", ",", "},{", "]}", "\0", " ", "\\", "null", '"url"', '"provenance"', '"rl"'),
    *('"a":[', '"hashes":{', '"a":"{"', '"files":[{', f'"{U}/x"', f'"url":"{U}/../x"', '"url":null'),
]
ORDINARY = [
    *('"a":"b"', '"size":1', '"yanked":false', '"hashes":{"a":"b"}', '"x":[]', '"x":["a"]', '"x":{}', '"x":"url"'),
    *(f'"url":"{U}/x"', f'"url": "{U}/x"', f'"provenance":"{U}/p"', '"provenance":null', '"x":"\\u003e=3"'),
]


@PATIENT
@given(
    st.lists(st.lists(st.sampled_from(ORDINARY), max_size=5).map(",".join), min_size=1, max_size=5),
    st.sampled_from(["},{", "}, {", "},\n  {"]),
    st.lists(st.tuples(st.integers(0, 300), st.sampled_from(DAMAGE), st.sampled_from([0, 0, 0, 1, 10])), max_size=4),
)
def test_many_simple_links_at_a_time_become_what_each_would(files, between, damages):
    page = between.join(files)
    for at, damage, lost in damages:
        page = page[:at] + damage + page[at + lost :]

    with suppress(BrokenPage):
        rewritten(f'{{"files":[{{{page}}}],"meta":{{"url":"{U}/x"}}}}')


@PATIENT
@given(PAGES, st.data())
def test_a_page_that_was_cut_anywhere_is_broken(page, data):
    page = page.strip("\ufeff \n")

    with pytest.raises(BrokenPage):
        rewritten(page[: data.draw(st.integers(0, len(page) - 1))])


@pytest.mark.parametrize("place", [U, "../../../..", "/rspm", "https://files.example.org"])
def test_simple_links_are_rewritten_without_being_resolved_one_by_one(place):
    page = ", ".join(f'{{"filename": "x", "url": "{place}/packages/{number}/x%2B1.whl#a"}}' for number in range(5))
    resolved = []
    rewriter = PageRewriter(
        PageFormat.JSON, U + PAGE, PAGE, lambda url: resolved.append(url) or url, LINK_MAP.local_prefix
    )

    rewriter.feed(f'{{"files": [{page}]}}'.encode())
    rewriter.close()

    assert resolved == []
