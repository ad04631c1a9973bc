"""Claims about requests of browsers: the page for people answers them, nothing else does, and few may act."""

import pytest

from ppmproxy.access.browsers import PAGE_ACTIONS, Visit
from ppmproxy.access.policy import allowed_hosts, check_client
from ppmproxy.config.model import Settings
from ppmproxy.errors import ForbiddenClientError

HOST = "127.0.0.1:7760"
TYPED = [("Sec-Fetch-Site", "none"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document")]
OWN = [("Sec-Fetch-Site", "same-origin")]
ACTING = [*OWN, ("Origin", f"http://{HOST}")]
PARTS = ("/-/page/events", "/-/page/script.0123456789abcdef.js", "/-/page/style.0123456789abcdef.css")


def visit(headers, raw_target="/-/", method="GET", host=HOST, allowed=()):
    """The visit; None when it is refused."""
    try:
        return check_client(
            [("Host", host), *headers], raw_target, allowed_hosts(Settings(allowed_hosts=allowed)), method
        )
    except ForbiddenClientError:
        return None


@pytest.mark.parametrize("path", ["/-/", "/-/?q=numpy", *PARTS])
def test_the_page_and_its_parts_may_be_typed_and_asked_for_by_the_page(path):
    assert visit(TYPED, path) is Visit.OWN_PAGE
    assert visit(OWN, path) is Visit.OWN_PAGE
    assert visit([], path) is Visit.NO_BROWSER


@pytest.mark.parametrize("site", ["cross-site", "same-site", "", "None", "SAME-ORIGIN", "same-origin, none"])
@pytest.mark.parametrize("path", ["/-/", *PARTS, "/", "/-/status"])
def test_another_site_reaches_no_page(path, site):
    assert visit([("Sec-Fetch-Site", site)], path) is None
    assert visit([("Sec-Fetch-Site", site), *TYPED[1:]], path) is None


@pytest.mark.parametrize("origin", ["https://evil.com", "null", "", f"http://{HOST}"])
@pytest.mark.parametrize("path", ["/-/", *PARTS, "/", "/-/status"])
def test_a_request_with_an_origin_reaches_no_page(path, origin):
    assert visit([*OWN, ("Origin", origin)], path) is None
    assert visit([*TYPED, ("Origin", origin)], path) is None
    assert visit([("Origin", origin)], path) is None


@pytest.mark.parametrize(
    "path",
    [
        *("/-/status", "/-/ready", "/-/metrics", "/-/proof", "/-/shutdown", "/-/sign-in", "/-", "/-/pages/x", "/-/pag"),
        *("/pypi/latest/simple/", "/__api__/status", "/-/files/default/x", "//-/", "/-/page", "http://127.0.0.1/-/"),
    ],
)
def test_the_page_itself_may_ask_for_nothing_else(path):
    assert visit(OWN, path) is None


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "GET"])
@pytest.mark.parametrize("headers", [OWN, ACTING, TYPED])
def test_no_browser_ends_the_daemon(method, headers):
    is_typed_address = headers is TYPED  # which is answered with 405 unless it is a POST, which takes the secret

    assert is_typed_address or visit(headers, "/-/shutdown", method) is None


# --- the address without a path ---


@pytest.mark.parametrize("path", ["/", "/?", "/?x"])
def test_a_person_who_types_the_address_without_a_path_is_sent_to_the_page(path):
    assert visit(TYPED, path) is Visit.AT_ROOT
    assert visit([*OWN, *TYPED[1:]], path) is Visit.AT_ROOT


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("POST", TYPED),
        ("GET", TYPED[:1]),
        ("GET", TYPED[:2]),
        ("GET", [*TYPED[:2], ("Sec-Fetch-Dest", "iframe")]),
        ("GET", [TYPED[0], ("Sec-Fetch-Mode", "no-cors"), TYPED[2]]),
        ("GET", [*OWN, ("Sec-Fetch-Mode", "cors"), ("Sec-Fetch-Dest", "empty")]),
    ],
)
def test_nothing_but_a_window_of_a_browser_is_sent_to_the_page(method, headers):
    assert visit(headers, "/", method) is None


def test_an_installer_s_request_for_the_root_is_no_visit():
    assert visit([], "/") is Visit.NO_BROWSER


# --- what acts ---


@pytest.mark.parametrize("path", sorted(PAGE_ACTIONS))
@pytest.mark.parametrize("host", [HOST, "localhost:7760", "[::1]:7760", "LOCALHOST:7760"])
def test_the_page_may_sign_in_and_out(path, host):
    headers = [*OWN, ("Origin", f"http://{host.lower()}")]

    assert visit(headers, path, "POST", host) is Visit.ACTION
    assert visit(headers, f"{path}?upstream=default", "POST", host) is Visit.ACTION


@pytest.mark.parametrize("path", sorted(PAGE_ACTIONS))
@pytest.mark.parametrize(
    "headers",
    [
        [],
        OWN,
        TYPED,
        [("Origin", f"http://{HOST}")],
        [*OWN, ("Origin", "http://localhost:7760")],
        [*OWN, ("Origin", "http://127.0.0.1:7761")],
        [*OWN, ("Origin", "http://127.0.0.1")],
        [*OWN, ("Origin", f"https://{HOST}")],
        [*OWN, ("Origin", "null")],
        [*OWN, ("Origin", "")],
        [*ACTING, ("Origin", f"http://{HOST}")],
        [*ACTING, *OWN],
        [("Sec-Fetch-Site", "none"), ("Origin", f"http://{HOST}")],
        [("Sec-Fetch-Site", "same-site"), ("Origin", f"http://{HOST}")],
        [("Sec-Fetch-Site", "cross-site"), ("Origin", "https://evil.com")],
    ],
)
def test_nothing_else_signs_in_or_out(path, headers):
    assert visit(headers, path, "POST") is None


def test_a_name_without_fetch_metadata_shows_the_page_and_never_acts():
    """Browsers send Sec-Fetch only to trustworthy origins, which a name of allowed_hosts over http is not."""
    name = "devbox:7760"

    assert visit([], "/-/", host=name, allowed=("devbox",)) is Visit.NO_BROWSER
    assert visit([("Origin", f"http://{name}")], "/-/sign-in", "POST", name, ("devbox",)) is None


@pytest.mark.parametrize("path", ["/-/", "/", "/-/page/events"])
def test_the_host_is_checked_first(path):
    assert visit(TYPED, path, host="evil.com:7760") is None


def test_a_refusal_to_act_names_the_commands():
    with pytest.raises(ForbiddenClientError) as raised:
        check_client([("Host", HOST)], "/-/sign-in", allowed_hosts(Settings()), "POST")

    assert "ppmproxy login" in raised.value.hint
