"""Claims about a look-up: what it says of each source, and the standard order."""

from ppmproxy.credentials.lookup import STANDARD_CHAIN, LookupResult, NothingFound, SourceBroken


def test_a_look_up_explains_the_result_of_each_source():
    search = LookupResult(None, (NothingFound("tokens.toml", "no entry"), SourceBroken("file /t", "cannot be read")))

    assert search.explanation() == "file /t: cannot be read; tokens.toml: no entry"
    assert (search.broken, search.nothing) == ("file /t: cannot be read", "tokens.toml: no entry")


def test_variables_that_are_not_set_are_listed_together():
    unset = [NothingFound(f"environment variable {name}", "not set") for name in ("A", "B")]

    one, both = (
        LookupResult(None, (unset[0],)),
        LookupResult(None, (unset[0], NothingFound("netrc", "no such file"), unset[1])),
    )

    assert one.explanation() == "environment variable A: not set"
    assert both.explanation() == "environment variables A, B: not set; netrc: no such file"


def test_the_standard_chain_has_this_order():
    assert list(STANDARD_CHAIN) == [
        "PPMPROXY_TOKEN",
        "PPMPROXY_TOKEN_FILE",
        "CREDENTIALS_DIRECTORY",
        "PACKAGEMANAGER_TOKEN",
        "PACKAGEMANAGER_IDENTITY_TOKEN_FILE",
        "github-actions",
        "tokens",
        "netrc",
        "keyring",
    ]
