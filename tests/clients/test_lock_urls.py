from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ppmproxy.auth.origin import Origin
from ppmproxy.clients.lock_urls import canonical_rewriting, local_rewriting, proxy_urls_in
from ppmproxy.config.local_address import TcpAddress, UnixAddress
from ppmproxy.config.model import Settings, Upstream
from ppmproxy.errors import ConfigError

OURS = "http://127.0.0.1:7760"
FILES = Origin("https", "files.example.com", 443)
STORE = Origin("http", "store.example.com", 8080)
RSPM = Upstream(url="https://pm.example.com/rspm", configured=True, file_hosts=(FILES, STORE))
TEAM = Upstream(name="team", url="https://team.example.com", mount="/team", configured=True, file_hosts=(FILES,))
DEEP = Upstream(name="deep", url="https://pm.example.com/deep", mount="/team/deep", configured=True)
ONE = Settings(upstreams=(RSPM,))
ALL = Settings(upstreams=(RSPM, TEAM, DEEP))

SOMEWHERE_ELSE = [
    "https://pm.example.com/rspm-other/x",
    "https://pm.example.com/rspm.old/x",
    "https://pm.example.com/rspm%20/x",
    "https://pm.example.com/rspmx",
    "https://pm.example.com/other",
    "https://pm.example.com:8443/rspm/x",
    "https://pm.example.com.evil.example/rspm/x",
    "https://notpm.example.com/rspm/x",
    "http://pm.example.com/rspm/x",
    "https://__token__:s3cret@pm.example.com/rspm/x",
    "https://files.example.com.evil.example/x",
    "http://files.example.com/x",
    "https://store.example.com:8080/x",
    "git+https://pm.example.com/rspm/x",
    "https://public.example.org/simple/",
    "https://files.example.org/packages/ab/idna.whl",
]
NOT_OURS = [
    "http://127.0.0.1:77600/x",
    "http://127.0.0.1:776/x",
    "http://127.0.0.1/x",
    "http://127.0.0.1:7760.example.com/x",
    "http://127.0.0.1:7760-x/",
    "http://127.0.0.10:7760/x",
    "http://10.127.0.0.1:7760/x",
    "https://127.0.0.1:7760/x",
    "http://localhost.example.com:7760/x",
    "http://user@127.0.0.1:7760/x",
    "git+http://127.0.0.1:7760/x",
]


def canonical(text, settings=ONE):
    return canonical_rewriting(settings).of(text)


def local(text, settings=ONE):
    return local_rewriting(settings).of(text)


LOCK_FILES = {
    "uv.lock": """\
version = 1
[[package]]
name = "idna"
source = {{ registry = "{base}/pypi/latest/simple/" }}
sdist = {{ url = "{base}/pypi/latest/packages/1/idna-3.tar.gz", hash = "sha256:{hash}", size = 1 }}
wheels = [
    {{ url = "{base}/pypi/latest/packages/1/idna%2Bx-3-py3-none-any.whl", hash = "sha256:{hash}" }},
]
[[package]]
name = "other"
source = {{ registry = "https://public.example.org/simple" }}
""",
    "pylock.toml": """\
lock-version = "1.0"
[[packages]]
name = "idna"
index = "{base}/pypi/latest/simple/"
wheels = [{{ url = '{base}/pypi/latest/packages/1/idna-3-py3-none-any.whl', hashes = {{ sha256 = "{hash}" }} }}]
""",
    "poetry.lock": """\
[[package]]
name = "idna"
files = [{{file = "idna-3.whl", hash = "sha256:{hash}"}}]

[package.source]
type = "legacy"
url = "{base}/pypi/latest/simple"
reference = "ppm"

[metadata]
content-hash = "{hash}"
""",
    "Pipfile.lock": """\
{{
    "_meta": {{
        "hash": {{"sha256": "{hash}"}},
        "sources": [{{"name": "ppm", "url": "{base}/pypi/latest/simple/", "verify_ssl": true}}]
    }},
    "default": {{"idna": {{"hashes": ["sha256:{hash}"], "index": "ppm", "version": "==3"}}}}
}}
""",
    "pdm.lock": """\
[[package]]
name = "idna"
files = [
    {{url = "{base}/pypi/latest/packages/1/idna-3-py3-none-any.whl", hash = "sha256:{hash}"}},
]
""",
    "requirements.txt": """\
--index-url {base}/pypi/latest/simple/
--extra-index-url=https://public.example.org/simple
idna==3 --hash=sha256:{hash}  # from {base}, see ({base}) and <{base}/>
wheel @ {base}/pypi/latest/packages/1/wheel-1-py3-none-any.whl#sha256={hash}
""",
}


@pytest.mark.parametrize("name", LOCK_FILES)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_lock_file_of_every_kind_goes_both_ways_and_back_byte_for_byte(name, line_end):
    theirs, ours = (
        LOCK_FILES[name].format(base=base, hash="0a" * 32).replace("\n", line_end) for base in (RSPM.url, OURS)
    )

    assert local(theirs) == ours
    assert canonical(ours) == theirs
    assert (canonical(theirs), local(ours)) == (theirs, ours)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
@pytest.mark.parametrize("rest", ["", "/", "/pypi/latest/simple/", "?x", "#y", "/a//b/%7E+x?u=http://h/"])
def test_every_way_to_write_our_address_is_ours(host, rest):
    text = f'index = "http://{host}:7760{rest}"\n'

    assert canonical(text) == f'index = "https://pm.example.com/rspm{rest}"\n'
    assert list(proxy_urls_in(text, ONE)) == [(1, f"http://{host}:7760{rest}")]


@pytest.mark.parametrize("url", SOMEWHERE_ELSE)
def test_a_url_that_resembles_the_package_manager_is_left_alone(url):
    assert local(f'a = "{url}"\n{url}') == f'a = "{url}"\n{url}'


@pytest.mark.parametrize("url", NOT_OURS)
def test_a_url_that_resembles_the_proxy_is_left_alone(url):
    text = f'a = "{url}"\n{url}'

    assert canonical(text) == text
    assert list(proxy_urls_in(text, ONE)) == []


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("https://pm.example.com/rspm/pypi/x", f"{OURS}/pypi/x"),
        ("https://team.example.com/pypi/x", f"{OURS}/team/pypi/x"),
        ("https://team.example.com", f"{OURS}/team"),
        ("https://pm.example.com/deep/x", f"{OURS}/team/deep/x"),
        ("https://files.example.com/a/b.whl#sha256=0", f"{OURS}/-/files/default/files.example.com/a/b.whl#sha256=0"),
        ("http://store.example.com:8080/c", f"{OURS}/-/files/default/http+store.example.com:8080/c"),
    ],
)
def test_each_of_several_upstreams_has_its_own_place(theirs, ours):
    assert local(f"<{theirs}>", ALL) == f"<{ours}>"
    assert canonical(f"<{ours}>", ALL) == f"<{theirs}>"


@pytest.mark.parametrize("path", ["/team/x", "/team", "/-/status", "/-", "//team/x", "/team/deep/x"])
def test_a_path_that_somebody_else_has_locally_stays_the_package_managers(path):
    assert local(f"https://pm.example.com/rspm{path}", ALL) == f"https://pm.example.com/rspm{path}"


def test_a_file_of_any_upstream_goes_back_to_its_host():
    assert canonical(f"{OURS}/-/files/team/files.example.com/a.whl", ALL) == "https://files.example.com/a.whl"


@pytest.mark.parametrize("path", ["/-/status", "/-/files/nobody/files.example.com/x", "/-/files/default/evil.com/x"])
def test_the_proxys_own_pages_are_nobody_elses_but_still_name_the_proxy(path):
    assert canonical(f"{OURS}{path}") == f"{OURS}{path}"
    assert list(proxy_urls_in(f"\n\n{OURS}{path},", ONE)) == [(3, f"{OURS}{path}")]


def test_without_an_upstream_at_the_root_the_rest_of_the_proxy_is_nobodys():
    only_team = Settings(upstreams=(TEAM,))

    assert canonical(f"{OURS}/pypi/x {OURS}/team/x {OURS}/teams/x", only_team) == (
        f"{OURS}/pypi/x https://team.example.com/x {OURS}/teams/x"
    )


def test_slashes_that_json_escapes_stay_escaped():
    ours = '{"url": "http:\\/\\/localhost:7760\\/team\\/pypi\\/x"}'

    assert canonical(ours, ALL) == '{"url": "https:\\/\\/team.example.com\\/pypi\\/x"}'
    assert local(canonical(ours, ALL), ALL) == ours.replace("localhost", "127.0.0.1")


@pytest.mark.parametrize(
    ("listen", "base"),
    [
        ((TcpAddress("127.0.0.1", 9000),), "http://127.0.0.1:9000"),
        ((TcpAddress("::1", 9000),), "http://[::1]:9000"),
        ((TcpAddress("127.0.0.1", 80),), "http://127.0.0.1"),
        ((UnixAddress(Path("/run/x.sock")), TcpAddress("localhost", 7761)), "http://127.0.0.1:7761"),
    ],
)
def test_the_settings_say_where_we_listen_and_the_default_port_is_ours_as_well(listen, base):
    settings = Settings(listen=listen, upstreams=(RSPM,))

    assert local("https://pm.example.com/rspm/x", settings) == f"{base}/x"
    assert canonical(f"{base}/x {OURS}/y", settings) == f"{RSPM.url}/x {RSPM.url}/y"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_a_port_that_a_colleague_s_proxy_chose_is_ours_as_well(host):
    url = f"http://{host}:21001/pypi/latest/simple/idna/"

    assert canonical(url) == "https://pm.example.com/rspm/pypi/latest/simple/idna/"
    assert canonical(url.replace("/", r"\/")) == r"https:\/\/pm.example.com\/rspm\/pypi\/latest\/simple\/idna\/"
    assert list(proxy_urls_in(url, ONE)) == [(1, url)]
    assert canonical(url.replace("21001", "31001")) == url.replace("21001", "31001")
    assert canonical(url.replace("21001", "210012")) == url.replace("21001", "210012")


def test_port_80_is_ours_with_and_without_its_number():
    settings = Settings(listen=(TcpAddress("127.0.0.1", 80),), upstreams=(RSPM,))

    assert canonical("http://127.0.0.1:80/x http://localhost/y", settings) == f"{RSPM.url}/x {RSPM.url}/y"


def test_a_unix_socket_alone_is_enough_to_check_and_to_make_canonical_but_not_to_make_local():
    settings = Settings(listen=(UnixAddress(Path("/run/x.sock")),), upstreams=(RSPM,))

    assert canonical(f"{OURS}/x", settings) == f"{RSPM.url}/x"
    with pytest.raises(ConfigError):
        local_rewriting(settings)


def test_the_number_of_urls_is_reported():
    assert canonical_rewriting(ONE).count(f"{OURS}/a {OURS}/b https://public.example.org/") == 2


SOME_TEXT = (
    "-", ".", ":", "@", "+", "git+", "=", "\\/", '"', "'", " ", "\n", "\r\n", ",", "#", "?", "/", "//", "é", "\udcff",
    "x", "http://", "https://", "/team", "/deep", "/-", "/files", "/default", "/pypi/latest/simple/",
)  # fmt: skip
THEIR_PIECES = st.sampled_from(
    [
        *("https://pm.example.com/rspm", "https://pm.example.com", "https://team.example.com"),
        *("https://files.example.com", "http://store.example.com:8080", "https:\\/\\/pm.example.com\\/rspm"),
        *SOME_TEXT,
        *SOMEWHERE_ELSE,
    ]
)
THEIR_TEXTS = st.lists(THEIR_PIECES, max_size=12).map("".join)
OUR_PIECES = st.sampled_from(
    [
        *(OURS, "http:\\/\\/127.0.0.1:7760\\/x", "/-/files/default/files.example.com", "/-/status"),
        *SOME_TEXT,
        *NOT_OURS,
    ]
)
OUR_TEXTS = st.lists(OUR_PIECES, max_size=12).map("".join)


@given(THEIR_TEXTS, st.sampled_from([ONE, ALL]))
def test_canonical_undoes_local(text, settings):
    assume(canonical(text, settings) == text)

    assert canonical(local(text, settings), settings) == text


@given(OUR_TEXTS, st.sampled_from([ONE, ALL]))
def test_local_undoes_canonical(text, settings):
    assume(local(text, settings) == text)

    assert local(canonical(text, settings), settings) == text


@given(st.text())
def test_a_text_that_mentions_neither_is_untouched(text):
    assume("example.com" not in text and ":7760" not in text)

    assert canonical(text, ALL) == local(text, ALL) == text
    assert list(proxy_urls_in(text, ALL)) == []
