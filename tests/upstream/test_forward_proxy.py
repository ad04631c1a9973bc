"""Claims about forward proxies: which one is used, what it is sent, and how its refusal is reported."""

import asyncio
import base64
import os
import time

import pytest
from proxy_client import UV
from yarl import URL

from ppmproxy.errors import ConnectionRejectedError
from ppmproxy.testing.package_manager import wheel
from ppmproxy.upstream.forward_proxy import proxy_for, split_credentials

PAGE = "/pypi/latest/simple/hello/"

PM = "https://pm.example.com/pypi/"
PROXY = "http://proxy.example.com:3128"


@pytest.fixture
def environ(monkeypatch):
    """Sets the variables given, and no others that name a proxy."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)

    def set_to(variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_to


@pytest.mark.parametrize(
    ("variables", "url", "proxy"),
    [
        ({}, PM, None),
        ({"HTTPS_PROXY": PROXY}, PM, PROXY),
        ({"https_proxy": PROXY}, PM, PROXY),
        ({"https_proxy": "http://lower:1", "HTTPS_PROXY": "http://upper:1"}, PM, "http://lower:1"),
        ({"HTTPS_PROXY": "proxy.example.com:3128"}, PM, PROXY),
        ({"HTTPS_PROXY": "https://proxy.example.com"}, PM, "https://proxy.example.com"),
        ({"HTTPS_PROXY": "http://user:pass@proxy:1"}, PM, "http://user:pass@proxy:1"),
        ({"HTTPS_PROXY": "http:3128"}, PM, "http://http:3128"),
        ({"HTTPS_PROXY": ""}, PM, None),
        ({"HTTP_PROXY": PROXY}, PM, None),
        ({"http_proxy": PROXY}, "http://files.example.com/x", PROXY),
        ({"HTTPS_PROXY": PROXY}, "http://files.example.com/x", None),
        ({"ALL_PROXY": PROXY}, PM, PROXY),
        ({"all_proxy": "http://all:1", "https_proxy": PROXY}, PM, PROXY),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "pm.example.com"}, PM, None),
        ({"HTTPS_PROXY": PROXY, "no_proxy": "example.com"}, PM, None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": ".example.com"}, PM, None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "other.com, pm.example.com"}, PM, None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "*"}, PM, None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "ample.com"}, PM, PROXY),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "localhost,127.0.0.1"}, PM, PROXY),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "pm.example.com:8443"}, "https://pm.example.com:8443/x", None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "pm.example.com:8443"}, "https://pm.example.com:9443/x", PROXY),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "10.0.0.0/8"}, "https://10.1.2.3/x", None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "localhost 10.0.0.0/8"}, "https://10.1.2.3:8443/x", None),
        ({"HTTPS_PROXY": PROXY, "no_proxy": "10.1.2.3/8"}, "https://10.4.5.6/x", None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "10.0.0.0/8"}, "https://11.1.2.3/x", PROXY),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "10.0.0.0/8"}, "https://10.example.com/x", PROXY),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "fd00::/8"}, "https://[fd12::1]/x", None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "[fd12::1]"}, "https://[fd12::1]:8443/x", None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "fd00::/8,0.0.0.0/0"}, "https://[fe80::1]/x", PROXY),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "10.0.0.0/99,/8,x/y"}, "https://10.1.2.3/x", PROXY),
    ],
)
def test_the_environment_is_read_as_everyone_reads_it(environ, variables, url, proxy):
    environ(variables)

    assert proxy_for(url, "environment") == proxy


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "[::1]", "localhost:8080", "[::1]:8080"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_upstream_on_this_machine_is_not_asked_through_a_proxy_of_the_environment(environ, scheme, host):
    environ({"HTTP_PROXY": PROXY, "HTTPS_PROXY": PROXY, "ALL_PROXY": PROXY})

    assert proxy_for(f"{scheme}://{host}/x", "environment") is None


@pytest.mark.parametrize("url", [PM, "http://localhost:8080/x"])
def test_what_the_settings_say_overrules_the_environment(environ, url):
    environ({"HTTP_PROXY": PROXY, "HTTPS_PROXY": PROXY, "NO_PROXY": "*"})

    assert proxy_for(url, "none") is None
    assert proxy_for(url, "http://other:3128") == "http://other:3128"


@pytest.mark.parametrize("proxy", ["socks5://proxy:1080", "socks5h://user:s3cret@proxy:1080", "SOCKS4://proxy"])
def test_a_proxy_that_cannot_be_used_is_named_by_its_kind_and_never_by_its_address(environ, proxy):
    environ({"ALL_PROXY": proxy})

    with pytest.raises(ConnectionRejectedError, match=r"ALL_PROXY .* pm\.example\.com: .* (socks|SOCKS)\w+") as caught:
        proxy_for(PM, "environment")

    assert "s3cret" not in caught.value.detail
    assert "ALL_PROXY" in caught.value.hint


@pytest.mark.parametrize(
    ("proxy", "mistake"),
    [
        ("http://me:s3#cret@proxy:3128", 'it contains "#", which has to be written %23'),
        ("http://me:s3\\cret@proxy:3128", "has to be written %5C"),
        ("http://domain\\me:s3cret@proxy:3128", "has to be written %5C"),
        ("http://me:s3?cret@proxy:3128", "has to be written %3F"),
        ("http://me:s3 cret@proxy:3128", "has to be written %20"),
        ("http://me:s3@cret@proxy:3128", "has to be written %40"),
        ("me:s3@cret@proxy:3128", "has to be written %40"),
        ("http://me:s3/cret@proxy:3128", "has to be written %2F"),
        ("http://me%3Ayou:s3cret@proxy:3128", "a colon"),
        ("http://me:s3cret@proxy:port", "its host or port is not valid"),
        ("http://proxy:65536", "its host or port is not valid"),
        ("http://proxy:0", "its host or port is not valid"),
        ("http://:3128", "its host or port is not valid"),
        ("http://[::1", "its host or port is not valid"),
        ("http://", "its host or port is not valid"),
        ("http:/me:s3cret@proxy:3128", 'it begins with "http:" without the two slashes'),
        ("HTTPS:proxy:3128", 'it begins with "HTTPS:" without the two slashes'),
        ("http:\\\\proxy:3128", 'it begins with "http:" without the two slashes'),
    ],
)
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_a_mistake_in_a_variable_is_reported_as_that(environ, variable, proxy, mistake):
    environ({variable: proxy})

    with pytest.raises(ConnectionRejectedError) as caught:
        proxy_for(PM, "environment")

    assert caught.value.detail.startswith(f"{variable} cannot be used for pm.example.com: ")
    assert mistake in str(caught.value)
    assert "cret" not in caught.value.detail
    assert "Package Manager" not in caught.value.detail


@pytest.mark.parametrize(
    "proxy", ["http://me:p%23%40%5C%2F@proxy:1", "http://j\u00fcrgen:\u00e9@proxy:1", "http://proxy:1/"]
)
def test_what_is_escaped_or_not_ascii_is_no_mistake(environ, proxy):
    environ({"HTTPS_PROXY": proxy})

    assert proxy_for(PM, "environment") == proxy


@pytest.mark.parametrize(
    ("proxy", "address", "credentials"),
    [
        ("http://proxy:3128", "http://proxy:3128", None),
        ("http://me@proxy:3128", "http://proxy:3128", b"me:"),
        ("http://me:p%40ss:w@proxy", "http://proxy", b"me:p@ss:w"),
        ("https://j%C3%BCrgen:%E2%82%AC@proxy", "https://proxy", "j\u00fcrgen:\u20ac".encode()),
        ("https://j\u00fcrgen:\u20ac@proxy", "https://proxy", "j\u00fcrgen:\u20ac".encode()),
        ("https://j%FCrgen:x@proxy", "https://proxy", b"j\xfcrgen:x"),
    ],
)
def test_credentials_are_sent_as_they_are_written(proxy, address, credentials):
    found, headers = split_credentials(proxy)

    expected = {"Proxy-Authorization": f"Basic {base64.b64encode(credentials).decode()}"} if credentials else {}
    assert (found, dict(headers)) == (address, expected)


# --- on the wire ---


class Tunnels:
    """A forward proxy that knows CONNECT alone, and leads every host to this machine."""

    def __init__(self, answer=b"HTTP/1.1 200 Connection established\r\n\r\n"):
        self.asked = []
        self._answer = answer
        self._pipes = set()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for pipe in list(self._pipes):
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader, writer):
        task = asyncio.current_task()
        self._pipes.add(task)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.asked.append(head)
            if " 200 " not in self._answer.decode():
                writer.write(self._answer)
                await writer.drain()
                return
            port = int(head.split()[1].rpartition(":")[2])
            there, back = await asyncio.open_connection("127.0.0.1", port)
            writer.write(self._answer)
            await asyncio.gather(_pump(reader, back), _pump(there, writer))
        except (OSError, asyncio.CancelledError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()
            self._pipes.discard(task)


async def _pump(reader, writer):
    try:
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.transport.abort()


@pytest.fixture
async def far_away(package_manager):
    """A fake Package Manager whose name only a forward proxy knows, and its URL by that name."""
    server = await package_manager(base_path="/rspm", certificate_for=("pm.invalid",))
    server.add(wheel("hello"))
    return server, server.url.replace("127.0.0.1", "pm.invalid")


async def test_the_configured_forward_proxy_is_used(far_away, upstream, proxy):
    server, url = far_away
    async with Tunnels() as tunnels:
        running = await proxy(upstream(server, url=url, proxy=tunnels.url))

        reply = await running.get(PAGE)

        assert reply.status == 200
        assert tunnels.asked[0].startswith(f"CONNECT pm.invalid:{URL(url).port} HTTP/1.1\r\n")


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
async def test_the_environments_forward_proxy_is_used(far_away, upstream, proxy, monkeypatch, variable):
    server, url = far_away
    async with Tunnels() as tunnels:
        monkeypatch.setenv(variable, tunnels.url)
        running = await proxy(upstream(server, url=url))

        reply = await running.get(PAGE)

        assert reply.status == 200
        assert len(tunnels.asked) == 1


async def test_the_forward_proxy_never_sees_the_token(far_away, upstream, proxy):
    server, url = far_away
    async with Tunnels() as tunnels:
        running = await proxy(upstream(server, url=url, proxy=tunnels.url, headers=(("X-Ingress", "secret"),)))

        await running.get(PAGE)

        assert "authorization" not in "".join(tunnels.asked).lower()
        assert "X-Ingress" not in "".join(tunnels.asked)


async def test_the_forward_proxys_own_password_goes_to_it_alone(far_away, upstream, proxy):
    server, url = far_away
    async with Tunnels() as tunnels:
        with_password = tunnels.url.replace("http://", "http://me:pass%40w%C3%B6rd@")
        running = await proxy(upstream(server, url=url, proxy=with_password))

        reply = await running.get(PAGE)

        assert reply.status == 200
        assert base64.b64encode("me:pass@w\u00f6rd".encode()).decode() in tunnels.asked[0]
        assert {seen.header("Proxy-Authorization") for seen in server.requests} == {None}


@pytest.mark.parametrize("environment", [{"NO_PROXY": "127.0.0.1"}, {"NO_PROXY": "*"}, {}])
async def test_an_upstream_on_this_machine_is_asked_directly(package_manager, proxy, monkeypatch, environment):
    server = await package_manager()
    server.add(wheel("hello"))
    async with Tunnels() as tunnels:
        monkeypatch.setenv("HTTPS_PROXY", tunnels.url)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        running = await proxy(server)

        assert (await running.get(PAGE)).status == 200
        assert tunnels.asked == []


async def test_no_forward_proxy_where_the_settings_say_none(far_away, upstream, proxy, monkeypatch):
    server, url = far_away
    async with Tunnels() as tunnels:
        monkeypatch.setenv("HTTPS_PROXY", tunnels.url)
        running = await proxy(upstream(server, url=url, proxy="none", read_timeout=0.3))

        assert (await running.get(PAGE, {"User-Agent": UV})).code == "upstream-unreachable"
        assert tunnels.asked == []


@pytest.mark.parametrize("status", ["403 Forbidden", "407 Proxy Authentication Required", "502 Bad Gateway"])
async def test_a_forward_proxy_that_refuses_is_named(far_away, upstream, proxy, status):
    server, url = far_away
    refusal = f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()
    async with Tunnels(refusal) as tunnels:
        with_password = tunnels.url.replace("http://", "http://me:hush@")
        running = await proxy(upstream(server, url=url, proxy=with_password, read_timeout=0.3))

        reply = await running.get(PAGE, {"User-Agent": UV})

        assert (reply.status, reply.code) == (424, "upstream-unreachable")
        assert "the forward proxy refuses a connection to https://pm.invalid" in reply.json()["detail"]
        assert status in reply.json()["detail"]
        assert "hush" not in reply.text()


@pytest.mark.parametrize("status", ["403 Forbidden", "407 Proxy Authentication Required"])
async def test_a_refusal_of_a_forward_proxy_is_not_asked_for_again(far_away, upstream, proxy, status):
    server, url = far_away
    async with Tunnels(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()) as tunnels:
        running = await proxy(upstream(server, url=url, proxy=tunnels.url))

        replies = await asyncio.gather(*(running.get(f"{PAGE}?{number}", {"User-Agent": UV}) for number in range(40)))

        assert {(reply.status, reply.code) for reply in replies} == {(424, "upstream-unreachable")}
        assert len(tunnels.asked) == 1


async def test_a_forward_proxy_that_is_not_there_is_named(far_away, upstream, proxy, unused_tcp_port):
    server, url = far_away
    running = await proxy(
        upstream(server, url=url, proxy=f"http://me:hush@127.0.0.1:{unused_tcp_port}", read_timeout=0.3)
    )

    reply = await running.get(PAGE, {"User-Agent": UV})

    assert reply.code == "upstream-unreachable"
    assert f"the forward proxy 127.0.0.1:{unused_tcp_port} of proxy in the settings" in reply.json()["detail"]
    assert "hush" not in reply.text()


@pytest.mark.parametrize("named", ["HTTPS_PROXY", "all_proxy", "proxy in the settings"])
async def test_an_unknown_host_of_a_forward_proxy_is_reported_at_once_with_what_names_it(
    upstream, proxy, package_manager, monkeypatch, named
):
    address = "http://me:hush@proxy.invalid:3128"
    if named.isidentifier():
        monkeypatch.setenv(named, address)
    chosen = "environment" if named.isidentifier() else address
    running = await proxy(upstream(await package_manager(), url="https://pm.invalid", proxy=chosen))
    began = time.monotonic()

    reply = await running.get(PAGE, {"User-Agent": UV})

    assert time.monotonic() - began < 9  # what may pass is tried for ten seconds
    assert (reply.status, reply.code) == (424, "upstream-unreachable")
    assert f"{named} names the forward proxy proxy.invalid:3128" in reply.json()["detail"]
    assert f"correct {named}" in reply.json()["detail"]
    assert "hush" not in reply.text()


async def test_an_untrusted_upstream_behind_a_forward_proxy_is_called_untrusted(far_away, upstream, proxy):
    server, url = far_away
    async with Tunnels() as tunnels:
        running = await proxy(upstream(server, url=url, proxy=tunnels.url, ca_file=None))

        assert (await running.get(PAGE, {"User-Agent": UV})).code == "upstream-untrusted"
