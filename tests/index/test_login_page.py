"""Claims about `login_page`: pages for people and index pages are distinguished by their content."""

import time

import pytest

from ppmproxy.index.login_page import is_login_page, is_too_short_to_judge, is_web_page


@pytest.mark.parametrize(
    "page",
    [
        b"",
        b"<!DOCTYPE html><html><head><title>Links for idna</title></head><body><h1>Links for idna</h1></body></html>",
        b'<a href="idna/">idna</a>',
        b'<meta name="pypi:repository-version" content="1.3"><a href="idna-1.tar.gz">idna</a>',
        b'<script src="search.js"></script><a href="../../packages/1/idna-1-py3-none-any.whl#sha256=1">idna</a>',
        b"<form><input></form><A HREF='idna-1.ZIP?token=1'>idna</A>",
        b'<!-- <form action="login"> -->',
        b'<p title="<form >">',
        b"<title><script ></title>",
        b"<formula></formula>",
        b'<title>Simple index</title><script src="/a.js"></script><a href="/pypi/latest/simple/a/">a</a>',
        b"<title>root/pypi: links for flask-login</title><h1>root/pypi: links for flask-login</h1><script></script>",
        b"<h1>flask-login</h1>",
        b"<title>Package Index</title><p>python-sso, login_helper and sso.py</p>",
        b"<p>Nothing is logged in this place.</p>",
        b"<title>Links for sso-login</title><h1>Links for sso-login</h1><script></script>",
        b"<h1>Index of /simple/login/</h1><a href='../'>../</a>",
        b"<!-- sign in -->",
        b"<p>nothing here</p>",
    ],
)
def test_a_page_of_links_is_an_index_even_without_any(page):
    assert not is_login_page(page)


@pytest.mark.parametrize(
    "page",
    [
        b'<html><body><form action="/login"><input name="user"></form></body></html>',
        b'<!DOCTYPE html><div id="root"></div><script src="/app.js"></script>',
        b'<META HTTP-EQUIV="Refresh" content="0; url=/login">',
        b"<iframe src=/login></iframe>",
        b'<input\ntype="password">',
        b'<a href="/sign-in">Sign in</a><script>var page = "<a href=idna-1.whl>";</script>',
        b'<script>var page = "<a href=idna-1.whl>";',
        b'<a href="/help">help</a><form action="/login"><p title="cut',
        b'<html><head><title>Sign in</title></head><body><h1>Sign in</h1><a href="/sso">SSO</a></body></html>',
        b'<html><body><p>Please <a href="/login">log in</a></p></body></html>',
        b"<html>Login required</html>",
        b"<h1>Access denied</h1>",
        b'<form method="post"><input type=PassWord></form><a href="forgot/">forgot?</a>',
        b'<form><input type=password></form><a href="/dl/client-setup.exe">client</a>',
        b'<form action=/saml method=post><button>Sign in with SSO</button></form><a href="privacy/">privacy</a>',
        b'<script src=/app.js></script><noscript><a href="help/">help</a>',
        b'<meta http-equiv=refresh content="0;url=login/"><a href="login/">login</a>',
        b"<title>Index of Acme</title><form><input name=user></form>",
        b"<p>Logging in is needed: signing on, too.</p>",
    ],
)
def test_a_page_for_people_is_no_index(page):
    assert is_login_page(page)


@pytest.mark.parametrize(
    "page",
    [
        b'<form action="/search"><input name="q"></form><a href="a/">a</a><a href="django-login/">django-login</a>',
        b'<a href="/frob/">frob</a><a href="/flask-login/">flask-login</a>',
        b'<a href="flask-login">Flask_Login</a><p>log in to see more</p>',
        b'<a href="simple/A.b/">a-b/</a><script></script>',
    ],
)
def test_the_root_is_an_index_when_its_links_are_named_by_their_text(page):
    assert not is_login_page(page, is_root=True)


@pytest.mark.parametrize(
    "page", [b'<a href="/sso">Go on</a><p>Please sign in</p>', b"<form><input type=password></form>"]
)
def test_a_page_for_people_is_no_root_either(page):
    assert is_login_page(page, is_root=True)


@pytest.mark.parametrize(
    "part",
    [
        b'<a href="x/">x</a>',
        b"<a>",
        b"<p",
        b"<!--",
        b"<title>",
        b"sign ",
        b"<h1>" + b"x" * 300,
        b"-login",
        b"<a href='x'",
    ],
)
@pytest.mark.parametrize("end", [b"", b"<form>", b"<script></script>"])
def test_a_page_is_judged_in_one_pass(part, end):
    page = (part * (1 << 16))[: 1 << 16] + end

    began = time.process_time()
    is_login_page(page, is_root=True)

    assert time.process_time() - began < 1.5  # twice over it would be ten times as much


WEB_PAGES = [
    b"<!DOCTYPE html>",
    b"\r\n <!doctype  HTML PUBLIC>",
    b"\xef\xbb\xbf<html lang=en>",
    b"<HTML>",
    b'<?xml version="1.0"?>\n<html>',
    b"<!-- sign in --><html>",
    b"<body>",
    b"<script>",
    b"<p>x",
    b"<form/>",
    b"<center><h1>404 Not Found</h1></center>",
    b"<h1>502 Bad Gateway</h1>",
    b"<h3 class=x>No</h3>",
    b"\n<CENTER >\n",
    b"<section>",
    b"<pre>Cannot GET /x</pre>",
    b"<ul><li>",
    b"<hr>",
    b"<noscript>",
    b'<link rel="x">',
    b"<strong>No</strong>",
]
FILES = [
    b"",
    b"PK\x03\x04<html>",
    b"\x1f\x8b\x08",
    b"Metadata-Version: 2.1\nDescription: <html>",
    b'{"attestation_bundles": []}',
    b"-----BEGIN PGP SIGNATURE-----",
    b"Package: <html>",
    b"<",
    b"<htm",
    b"<htmls>",
    b"<centered>",
    b"<<center>",
    b"< center>",
    b"x<center>",
    b'<?xml version="1.0"?><rss>',
    b"<!doctype xml>",
]


@pytest.mark.parametrize("start", WEB_PAGES)
def test_a_web_page_is_one_by_its_first_tag(start):
    assert is_web_page(start)


@pytest.mark.parametrize("start", FILES)
def test_a_file_is_no_web_page_whatever_else_is_in_it(start):
    assert not is_web_page(start)


@pytest.mark.parametrize(
    ("start", "expected"),
    [(b"", True), (b" \n", True), (b"<", True), (b" <!doc", True), (b"P", False), (b"<" + b"x" * 600, False)],
)
def test_more_of_a_body_is_read_only_while_it_may_be_a_web_page(start, expected):
    assert is_too_short_to_judge(start) is expected


def test_a_body_that_looks_like_comments_without_end_is_judged_at_once():
    assert is_web_page(b"<!---->" * 100_000)
    assert not is_web_page(b"<?xml " * 100_000)
