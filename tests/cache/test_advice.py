"""Claims about the advice for a cache that is not in use: it fits the fault."""

import pytest

from ppmproxy.cache.advice import CLEAR, advice_for, is_passing


@pytest.mark.parametrize(
    ("trouble", "advice"),
    [
        ("the cache /c cannot be used at the moment: database or disk is full", "free disk space there"),
        ("the cache /c cannot be written: no space left on device", "free disk space there"),
        ("the cache /c cannot be written: Disk quota exceeded", "free disk space there"),
        ("the cache /c cannot be used at the moment: database is locked", "end the other process"),
        ("the cache /c cannot be used at the moment: disk I/O error", "check that disk"),
        ("the cache /c cannot be used at the moment: unable to open database file", "check that disk"),
        ("the cache /c cannot be used at the moment: attempt to write a readonly database", "check that disk"),
        ("the cache /c cannot be written: permission denied", "check that disk"),
        ("the cache /is locked/read-only cannot be used: file is not a database", CLEAR),
        ("database disk image is malformed", CLEAR),
    ],
)
def test_only_a_damaged_database_is_cleared(trouble, advice):
    assert advice_for(trouble).startswith(advice)


@pytest.mark.parametrize(
    ("trouble", "passing"),
    [
        ("the cache /c cannot be used at the moment: database is locked", True),
        ("the cache /c cannot be written: no space left on device", True),
        ("cannot use the cache /c: permission denied", False),
        ("the cache /c cannot be used: file is not a database", False),
    ],
)
def test_a_restart_is_for_what_does_not_pass(trouble, passing):
    assert is_passing(trouble) is passing
