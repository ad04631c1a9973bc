"""Claims about second indexes and keyrings in variables: those of an upstream lead here, all others are dropped."""

import pytest

from ppmproxy.clients.leftovers import leftovers
from ppmproxy.clients.local_urls import LocalUrls
from ppmproxy.config.model import Settings, Upstream

URLS = LocalUrls.of_settings(Settings(upstreams=(Upstream(url="https://pm.example.com", configured=True),)))
HERE, THERE, OTHER = (
    f"{at}/a/simple" for at in ("http://127.0.0.1:7760", "https://pm.example.com", "https://o.example")
)


@pytest.mark.parametrize("name", ["PIP_EXTRA_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL"])
@pytest.mark.parametrize(
    ("words", "kept", "dropped"),
    [
        ("", None, None),
        (HERE, None, None),
        (THERE, HERE, ()),
        (OTHER, "", ("https://o.example",)),
        (f"{OTHER} {THERE}  {OTHER}/2 {HERE}", f"{HERE} {HERE}", ("https://o.example",)),
        ("what is this", "", ("something that is no URL",)),
    ],
)
def test_second_indexes_lead_here_or_are_dropped(name, words, kept, dropped):
    found = list(leftovers({name: words}, URLS))

    assert [(one.variable, one.value, one.dropped) for one in found] == (
        [] if kept is None else [(name, kept, dropped)]
    )


def test_a_name_before_a_url_stays():
    [found] = leftovers({"UV_INDEX": f"corp={THERE} other={OTHER}"}, URLS)

    assert (found.value, str(found)) == (f"corp={HERE}", "UV_INDEX (https://o.example)")


@pytest.mark.parametrize("name", ["PIP_KEYRING_PROVIDER", "UV_KEYRING_PROVIDER"])
def test_a_keyring_of_a_client_s_own_is_dropped_where_it_would_be_asked(name):
    found = {value: list(leftovers({name: value}, URLS)) for value in ("subprocess", "import", "disabled", "auto")}

    assert {value: [str(one) for one in leftover] for value, leftover in found.items()} == {
        "subprocess": [name],
        "import": [name],
        "disabled": [],
        "auto": [],
    }


def test_a_password_in_an_index_is_not_shown():
    [found] = leftovers({"PIP_EXTRA_INDEX_URL": "https://kim:hunter2@o.example/hunter2"}, URLS)

    assert "hunter2" not in str(found)
