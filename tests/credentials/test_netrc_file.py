import asyncio
import base64
import shutil

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from ppmproxy.credentials.netrc_file import parse_netrc

HOST = "127.0.0.1"
READABLE = {
    "one line": "machine 127.0.0.1 login kim password secret\n",
    "several lines": "machine 127.0.0.1\n  login kim\n\tpassword secret\n",
    "value on the next line": "machine\n127.0.0.1 login\nkim password\nsecret",
    "without a line end": "machine 127.0.0.1 login kim password secret",
    "Windows line ends": "machine 127.0.0.1\r\nlogin kim\r\npassword secret\r\n",
    "keywords in capitals": "MACHINE 127.0.0.1 Login kim PassWord secret\n",
    "comment with a blank": "# a comment\nmachine 127.0.0.1 login kim password secret\n",
    "comment without a blank": "#comment\nmachine 127.0.0.1 login kim password secret\n",
    "indented comment": "  #comment\nmachine 127.0.0.1 login kim password secret\n",
    "comment with a quote": "#don't \"\nmachine 127.0.0.1 login kim password secret\n",
    "comment within an entry": "machine 127.0.0.1\n# login x\nlogin kim\n#password x\npassword secret\n",
    "comment at the end of a line": "machine 127.0.0.1 login kim password secret # machine other\n",
    "another entry first": "machine other.example login x password y\nmachine 127.0.0.1 login kim password secret\n",
    "another entry behind": "machine 127.0.0.1 login kim password secret\nmachine other.example login x password y\n",
    "default": "default login kim password secret\n",
    "default behind another": "machine other.example login x password y\ndefault login kim password secret\n",
    "entry before the default": "machine 127.0.0.1 login kim password secret\ndefault login x password y\n",
    "two entries for the host": "machine 127.0.0.1 login kim password secret\nmachine 127.0.0.1 login x password y\n",
    "no password before the default": "machine 127.0.0.1 login x\ndefault login kim password secret\n",
    "account": "machine 127.0.0.1 login kim account acc password secret\n",
    "unknown keyword": "machine 127.0.0.1 port 8080 login kim password secret\n",
    "unknown words first": "hello world\nmachine 127.0.0.1 login kim password secret\n",
    "macro first": "macdef init\ncd /pub\nmachine 127.0.0.1 login x password y\n\n"
    "machine 127.0.0.1 login kim password secret\n",
    "macro at the end": "machine 127.0.0.1 login kim password secret\nmacdef init\ncd /pub\nmget *\n",
    "macro at the end with a blank line": "machine 127.0.0.1 login kim password secret\n\nmacdef init\ncd /pub\n\n",
    "quotes": 'machine "127.0.0.1" login "kim" password "secret"\n',
    "escapes in quotes": 'machine 127.0.0.1 login kim password "se\\cret"\n',
    "Latin-1 in another entry": "machine other.example login m\udcfcller password y\n"
    "machine 127.0.0.1 login kim password secret\n",
    "Latin-1 in a comment": "# m\udcfcller\nmachine 127.0.0.1 login kim password secret\n",
    "control character in another entry": "machine other.example login x password \x01\x02\n"
    "machine 127.0.0.1 login kim password secret\n",
}
BEYOND_CURL = {
    "byte-order mark": "\ufeffmachine 127.0.0.1 login kim password secret\n",
    "open quote in another entry": 'machine other.example login x password "y\nlogin z\n'
    "machine 127.0.0.1 login kim password secret\n",
    "macro within an entry": "machine other.example login x password y\nmacdef init\nmachine 127.0.0.1\n\n"
    "machine 127.0.0.1 login kim password secret\n",
    "default before the entry": "default login x password y\nmachine 127.0.0.1 login kim password secret\n",
    "user for login": "machine 127.0.0.1 user kim password secret\n",
    "no password in the first of two": "machine 127.0.0.1 login x\nmachine 127.0.0.1 login kim password secret\n",
}


def login_and_password(entry):
    return entry.login, entry.password.reveal() if entry.password else ""


@pytest.mark.parametrize("text", [*READABLE.values(), *BEYOND_CURL.values()], ids=[*READABLE, *BEYOND_CURL])
def test_the_entry_for_a_host_is_found(text):
    entry = parse_netrc(text).entry_for(HOST)

    assert login_and_password(entry) == ("kim", "secret")


@pytest.fixture
async def sent_by_curl(tmp_path):
    """The credentials that curl sends to a local server with a .netrc of this text."""
    if not shutil.which("curl"):
        pytest.skip("needs curl")
    received = []

    async def handle(request):
        received.append(request.headers.get("Authorization"))
        return web.Response()

    runner = web.ServerRunner(web.Server(handle, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, HOST, 0).start()

    async def send(text):
        path = tmp_path / "netrc"
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
        url = f"http://{HOST}:{runner.addresses[0][1]}/"
        process = await asyncio.create_subprocess_exec("curl", "-sq", "--noproxy", "*", "--netrc-file", str(path), url)
        assert await asyncio.wait_for(process.wait(), 20) == 0
        value = received.pop()
        return base64.b64decode(value.removeprefix("Basic ")).decode() if value else None

    yield send
    await runner.cleanup()


@pytest.mark.parametrize("text", READABLE.values(), ids=READABLE)
async def test_curl_finds_the_same_entry(sent_by_curl, text):
    assert await sent_by_curl(text) == "kim:secret"


@pytest.mark.parametrize(
    ("text", "entry", "unreadable"),
    [
        ("", None, ()),
        ("\n \n#\n", None, ()),
        ("machine other.example login x password y", None, ()),
        ("nonsense 127.0.0.1\n", None, (1,)),
        ("machine 127.0.0.1 login kim password\n", None, (1,)),
        ("machine", None, (1,)),
        ('machine 127.0.0.1 login kim password "secret\n', None, (1,)),
        ('machine 127.0.0.1\nlogin kim\npassword "secret\n', None, (3,)),
        ('machine 127.0.0.1 login "kim\\" password secret\n', None, (1,)),
        ("macdef init\nmachine 127.0.0.1 login kim password secret\n", None, ()),
        ("machine 127.0.0.1 login kim\n", ("kim", ""), ()),
        ("machine 127.0.0.1 password secret\n", ("", "secret"), ()),
        ('machine 127.0.0.1 login "k i" password "s\\"\\n\\\\"\n', ("k i", 's"\n\\'), ()),
        ("machine 127.0.0.1 login kim password #secret\n", ("kim", "#secret"), ()),
        ('machine o login "x\nmachine 127.0.0.1 login kim password s\nbad\n', ("kim", "s"), (1,)),
    ],
)
def test_an_entry_that_cannot_be_read_is_dropped_and_its_line_reported(text, entry, unreadable):
    parsed = parse_netrc(text)
    found = parsed.entry_for(HOST)

    assert (found and login_and_password(found)) == entry
    assert parsed.unreadable == unreadable


WORDS = ["machine", "default", "macdef", "login", "password", "account", HOST, "x", '"', '"a"', "\\", "#", "\n", " "]


@settings(deadline=None)
@given(st.lists(st.sampled_from(WORDS)))
def test_no_text_makes_it_fail(words):
    text = " ".join(words)

    parsed = parse_netrc(text)

    assert set(parsed.unreadable) <= set(range(1, text.count("\n") + 2))


def test_no_repr_shows_a_password():
    assert "secret" not in repr(parse_netrc(READABLE["one line"]))
