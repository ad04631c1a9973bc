"""Claims about ``--trusted-host`` in requirements files: it goes and comes with the proxy's URL."""

import pytest

from ppmproxy.auth.origin import Origin
from ppmproxy.clients.trusted_hosts import trusted_hosts_of, with_trusted_host, without_trusted_hosts

OURS = (Origin("http", "127.0.0.1", 7760), Origin("http", "localhost", 7760), Origin("http", "::1", 7760))
CANONICAL = "--index-url https://pm.example.com/pypi/latest/simple/\n"
EXTRA = "--extra-index-url https://h/s\n"
LOCAL = "--index-url http://127.0.0.1:7760/pypi/latest/simple/\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (CANONICAL + "--trusted-host 127.0.0.1\n\nsix\n", CANONICAL + "\nsix\n"),
        (CANONICAL + "--trusted-host=127.0.0.1:7760\nsix\n", CANONICAL + "six\n"),
        (CANONICAL + "--trusted-host [::1]:7760\r\nsix\r\n", CANONICAL + "six\r\n"),
        ("-i https://h/simple --trusted-host localhost\nsix\n", "-i https://h/simple\nsix\n"),
        ("--trusted-host localhost --pre\nsix\n", "--pre\nsix\n"),
        ("six\n--trusted-host 127.0.0.1", "six\n"),
        ("# --trusted-host 127.0.0.1\n", "# --trusted-host 127.0.0.1\n"),
        ("--trusted-host mirror.example.com\n", "--trusted-host mirror.example.com\n"),
        ("--trusted-host 127.0.0.1:3141\n", "--trusted-host 127.0.0.1:3141\n"),
        (
            "-i http://127.0.0.1:3141/team/pypi\n--trusted-host 127.0.0.1\n",
            "-i http://127.0.0.1:3141/team/pypi\n--trusted-host 127.0.0.1\n",
        ),
    ],
)
def test_the_proxy_s_host_goes_and_every_other_stays(text, expected):
    assert without_trusted_hosts(text, OURS) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (LOCAL + "six\n", LOCAL + "--trusted-host 127.0.0.1\nsix\n"),
        (
            LOCAL + "--extra-index-url https://h/s\n\nsix\n",
            LOCAL + "--extra-index-url https://h/s\n--trusted-host 127.0.0.1\n\nsix\n",
        ),
        (LOCAL.replace("\n", "\r\n"), LOCAL.replace("\n", "\r\n") + "--trusted-host 127.0.0.1\r\n"),
        (LOCAL.rstrip(), "--trusted-host 127.0.0.1\n" + LOCAL.rstrip()),
        (LOCAL + "--trusted-host 127.0.0.1:7760\n", LOCAL + "--trusted-host 127.0.0.1:7760\n"),
        (CANONICAL, CANONICAL),
        ("wheel @ http://127.0.0.1:7760/x.whl\n", "wheel @ http://127.0.0.1:7760/x.whl\n"),
    ],
)
def test_it_comes_next_to_the_index_option_that_needs_it(text, expected):
    result = with_trusted_host(text, OURS[0])

    assert result == expected
    assert with_trusted_host(result, OURS[0]) == result


@pytest.mark.parametrize("text", [LOCAL, LOCAL.rstrip(), LOCAL + EXTRA + "\nsix\n"])
def test_an_option_that_was_added_is_removed_again(text):
    assert without_trusted_hosts(with_trusted_host(text, OURS[0]), OURS) == text


def test_each_option_is_found_with_its_line():
    text = "six\n--trusted-host 127.0.0.1 --pre\n--trusted-host h\n"

    assert list(trusted_hosts_of(text, OURS)) == [(2, "--trusted-host 127.0.0.1")]
