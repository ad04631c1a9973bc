"""Pages are rewritten while they stream, in bounded memory and time, byte for byte except their links."""

import time
import tracemalloc

import pytest
from hypothesis import settings
from rewritten_pages import PAGE, UPSTREAM, localize

from ppmproxy.index.json_links import is_object
from ppmproxy.index.rewriter import LONGEST_TOKEN, BrokenPage, PageFormat, PageRewriter, page_format

PATIENT = settings(deadline=None)  # a busy machine is no failure

# --- formats ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("text/html", PageFormat.HTML),
        ("Text/HTML; charset=utf-8", PageFormat.HTML),
        ("application/vnd.pypi.simple.v1+html", PageFormat.HTML),
        ("application/vnd.pypi.simple.latest+html", PageFormat.HTML),
        ("application/vnd.pypi.simple.v1+json", PageFormat.JSON),
        (" application/vnd.pypi.simple.latest+json ;q=1", PageFormat.JSON),
        ("application/json", PageFormat.JSON),
        ("application/vnd.pypi.simple.v2+json", None),
        ("text/plain", None),
        ("application/octet-stream", None),
        ("", None),
        (None, None),
    ],
)
def test_the_format_is_what_the_content_type_promises(content_type, expected):
    assert page_format(content_type) is expected


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (b'{"files": []}', True),
        (b" \r\n\t{", True),
        (b"\xef\xbb\xbf{}", True),
        (b"[]", False),
        (b"<p>", False),
        (b"", False),
    ],
)
def test_a_json_index_begins_with_an_object(page, expected):
    assert is_object(page) is expected


# --- pages -----------------------------------------------------------------------------------------------------------

HTML_PAGE = f'<h1>idna</h1>\n<a href="{UPSTREAM}/p/idna-1.whl#sha256=1" data-yanked="">idna-1.whl</a><br />\n'.encode()
JSON_PAGE = f'{{"files": [{{"url": "{UPSTREAM}/p/idna-1.whl", "provenance": null}}], "name": "idna"}}'.encode()


@pytest.mark.parametrize(("form", "page"), [(PageFormat.HTML, HTML_PAGE), (PageFormat.JSON, JSON_PAGE)])
def test_a_page_says_whether_it_had_to_be_changed(form, page):
    changed = PageRewriter(form, UPSTREAM + PAGE, PAGE, localize)
    unchanged = PageRewriter(form, UPSTREAM + PAGE, PAGE, localize)
    relative = page.replace(UPSTREAM.encode(), b"../../../..")

    assert changed.feed(page) + changed.close() == page.replace(UPSTREAM.encode(), b"")
    assert unchanged.feed(relative) + unchanged.close() == relative
    assert changed.has_changed
    assert not unchanged.has_changed


@pytest.mark.parametrize("form", PageFormat)
def test_nothing_fed_is_nothing_given(form):
    assert PageRewriter(form, UPSTREAM + PAGE, PAGE, localize).feed(b"") == b""


UNFINISHED = [(PageFormat.HTML, b'<a href="'), (PageFormat.HTML, b"<!--"), (PageFormat.JSON, b'{"')]


@pytest.mark.parametrize(("form", "beginning"), UNFINISHED)
@pytest.mark.parametrize("size", [1, 1000, LONGEST_TOKEN * 2])
def test_a_tag_or_string_without_end_breaks_the_page_before_it_fills_the_memory(form, beginning, size):
    rewriter = PageRewriter(form, UPSTREAM + PAGE, PAGE, localize)
    rewriter.feed(beginning)
    chunks = [b"x" * size] * (2 * LONGEST_TOKEN // size)

    with pytest.raises(BrokenPage, match="no end"):
        list(map(rewriter.feed, chunks))


@pytest.mark.parametrize(
    ("form", "before", "after"), [(PageFormat.HTML, b'<a href="', b'">'), (PageFormat.JSON, b'{"', b'":1}')]
)
@pytest.mark.parametrize("size", [1000, 65536, 3 * LONGEST_TOKEN])
@pytest.mark.parametrize(("length", "breaks"), [(LONGEST_TOKEN - 100, False), (LONGEST_TOKEN + 1, True)])
def test_how_long_a_token_may_be_does_not_depend_on_the_chunks(form, before, after, size, length, breaks):
    page = before + b"x" * length + after
    rewriter = PageRewriter(form, UPSTREAM + PAGE, PAGE, lambda url: url)
    page = page.replace(b"x", b"https://a/", 1)

    def run():
        return b"".join(rewriter.feed(page[at : at + size]) for at in range(0, len(page), size)) + rewriter.close()

    if breaks:
        with pytest.raises(BrokenPage):
            run()
    else:
        assert run() == page


def root_index(form, projects):
    if form is PageFormat.HTML:
        yield b"<!DOCTYPE html><html><body>\n"
        yield from (b'<a href="/rspm/pypi/latest/simple/p-%d/">p-%d</a><br>\n' % (i, i) for i in range(projects))
        yield b"</body></html>"
    else:
        yield b'{"meta": {"api-version": "1.0"}, "projects": [{"name": "first"}'
        yield from (b', {"name": "p-%d", "_last-serial": %d}' % (i, i) for i in range(projects))
        yield b"]}"


@pytest.mark.parametrize("form", PageFormat)
def test_a_root_index_passes_in_little_memory(form):
    rewriter = PageRewriter(form, f"{UPSTREAM}/pypi/latest/simple/", "/pypi/latest/simple/", localize)
    size = 0
    tracemalloc.start()
    try:
        for line in root_index(form, 5_000):
            size += len(rewriter.feed(line * 8 if line.startswith((b"<a", b", ")) else line))
        size += len(rewriter.close())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert size > 1_000_000
    assert peak < 300_000


def best_time(run, *, of):
    times = []
    for _ in range(of):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


def project_page(form, files):
    names = [f"idna-{i}.{i % 7}-cp3{i % 14}-manylinux_2_17_x86_64.whl" for i in range(files)]
    digest = "0123456789abcdef" * 4
    if form is PageFormat.HTML:
        anchor = (
            '<a href="{0}/packages/{1}/{2}#sha256={1}" data-requires-python="&gt;=3.8" '
            'data-core-metadata="sha256={1}">{2}</a><br />\n'
        )
        return "".join(anchor.format(UPSTREAM, digest, name) for name in names).encode()
    file = (
        '{{"core-metadata":{{"sha256":"{1}"}},"data-dist-info-metadata":{{"sha256":"{1}"}},"filename":"{2}","hashes":'
        '{{"sha256":"{1}"}},"provenance":null,"requires-python":">=3.8","size":12345,"upload-time":'
        '"2024-03-01T12:00:00.123456Z","url":"{0}/packages/{1}/{2}","yanked":false}}'
    )
    return f'{{"files":[{",".join(file.format(UPSTREAM, digest, name) for name in names)}]}}'.encode()


@pytest.mark.parametrize("form", PageFormat)
def test_a_page_of_three_thousand_files_takes_some_milliseconds(form):
    page = project_page(form, 3000)
    chunks = [page[at : at + 65536] for at in range(0, len(page), 65536)]

    def run():
        rewriter = PageRewriter(form, UPSTREAM + PAGE, PAGE, localize)
        result = b"".join([*map(rewriter.feed, chunks), rewriter.close()])
        assert result == page.replace(UPSTREAM.encode(), b"")

    assert best_time(run, of=5) < 0.1  # measured: a tenth of it


HOSTILE = {
    "open quotes": (PageFormat.HTML, b'<a href="x" b="', b"y "),
    "attributes": (PageFormat.HTML, b'<a href="x"', b" y"),
    "attributes with provenance": (PageFormat.HTML, b'<a href="x"', b' y data-provenance="z"'),
    "blanks in a tag": (PageFormat.HTML, b"<a ", b"\n"),
    "slashes in a tag": (PageFormat.HTML, b"<a ", b"/"),
    "less-than signs": (PageFormat.HTML, b"", b"<"),
    "tags": (PageFormat.HTML, b"", b"<p>"),
    "end tags in a script": (PageFormat.HTML, b"<script>", b"</script"),
    "dashes in a comment": (PageFormat.HTML, b"<!--", b"--"),
    "open brackets": (PageFormat.JSON, b"{", b'"a":{'),
    "flat objects": (PageFormat.JSON, b'{"x":[', b'{"a":1},'),
    "objects that are not flat": (PageFormat.JSON, b'{"files":[{', b'"a":{"b":{"url":"c"}},'),
    "backslashes": (PageFormat.JSON, b'{"files":[{"a":"', b"\\\\"),
    "escaped names": (PageFormat.JSON, b'{"files":[{', b'"\\u0075rl":"c",'),
    "names without links": (PageFormat.JSON, b'{"files":[{', b'"provenance":null,"url":1,'),
    "blanks before a colon": (PageFormat.JSON, b'{"files":[{"url"', b" "),
    "strings": (PageFormat.JSON, b'{"files":[{"a":[', b'"b",'),
    "arrays that never close": (PageFormat.JSON, b'{"files":[{"a":[', b'[1,"b",'),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("chunk_size", [1, 65536])
def test_a_hostile_page_takes_time_in_proportion_to_its_size(name, chunk_size):
    form, beginning, repeated = HOSTILE[name]
    page = beginning + repeated * (100_000 // len(repeated))

    def run():
        rewriter = PageRewriter(form, UPSTREAM + PAGE, PAGE, localize)
        try:
            for at in range(0, len(page), chunk_size):
                rewriter.feed(page[at : at + chunk_size])
            rewriter.close()
        except BrokenPage:
            pass

    assert best_time(run, of=1) < 2  # what is quadratic would take minutes
