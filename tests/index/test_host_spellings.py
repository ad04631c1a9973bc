"""Claims about spellings of hosts: those that some client reads as the upstream's are recognised, and no others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppmproxy.index.host_spellings import LONGEST_HOST, is_spelling_of


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("pm.example.com.", "pm.example.com"),
        ("p%6d.example.com", "pm.example.com"),
        ("pm%e3%80%82example.com", "pm.example.com"),
        ("pm\uff0eexample\uff61com", "pm.example.com"),
        ("\u24df\u24dc.example.com", "pm.example.com"),
        ("p\u200bm.ex\u00adample.com", "pm.example.com"),
        ("stra\u00dfe.example.com", "xn--strae-oqa.example.com"),
        ("stra\u00dfe.example.com", "strasse.example.com"),
        ("b\u00fccher.example.com", "xn--bcher-kva.example.com"),
        ("bu\u0308cher.example.com", "xn--bcher-kva.example.com"),
        ("10.1", "10.0.0.1"),
        ("012.0.0.1", "10.0.0.1"),
        ("0xa.0.1", "10.0.0.1"),
        ("167772161.", "10.0.0.1"),
        ("0:0:0:0:0:0:0:1", "::1"),
        ("::ffff:a00:1", "10.0.0.1"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_a_host_is_read_as_another(host, known):
    assert is_spelling_of(host, known)


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("", ""),
        ("", "pm.example.com"),
        ("pm.example.org", "pm.example.com"),
        ("pm-example.com", "pm.example.com"),
        ("pm.example.com.x", "pm.example.com"),
        ("08.0.0.1", "8.0.0.1"),
        ("10.0.0.256", "10.0.1.0"),
        ("10.0.0.0.1", "10.0.0.1"),
        ("10.0.0.1", "::1"),
        ("::a00:1", "10.0.0.1"),
        ("4294967297", "0.0.0.1"),
        ("9" * (LONGEST_HOST + 1), "0.0.0.1"),
        ("\ud800", "x"),
        ("%ff%fe", "pm.example.com"),
    ],
)
def test_another_host_is_none(host, known):
    assert not is_spelling_of(host, known)


@given(st.text(max_size=40), st.sampled_from(["pm.example.com", "10.0.0.1", "::1"]))
def test_no_rubbish_fails(host, known):
    assert is_spelling_of(host, known) in {True, False}
